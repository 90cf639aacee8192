//! The control socket of a running plant, spoken to directly: one JSON value a line.
//!
//! Quicker than starting `plantwin status`, and it tells a connection that broke from an answer.
//! Absent: asking again (whoever calls decides).

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

/// Longest wait for an answer; the plant itself answers a request within 10 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The device took it.
    Done,
    /// Not sent.
    Refused(String),
    /// Sent, and shown not to have acted.
    Failed(String),
    /// Not sent in time.
    Expired,
    /// Nothing tells.
    Unknown(String),
}

impl Outcome {
    fn read(value: &Value) -> Option<Self> {
        match value.as_str() {
            Some("done") => return Some(Self::Done),
            Some("expired") => return Some(Self::Expired),
            _ => {}
        }
        let (kind, what) = value.as_object()?.iter().next()?;
        let reason = what["reason"].as_str()?.to_owned();
        match kind.as_str() {
            "refused" => Some(Self::Refused(reason)),
            "failed" => Some(Self::Failed(reason)),
            "unknown" => Some(Self::Unknown(reason)),
            _ => None,
        }
    }
}

/// A question that was asked.
pub struct Asked(UnixStream);

impl Asked {
    /// The answer.
    pub fn answer(self) -> io::Result<Value> {
        let mut line = String::new();
        if BufReader::new(self.0).read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// The answer, if it is an outcome.
    pub fn outcome(self) -> Option<Outcome> {
        Outcome::read(&self.answer().ok()?["outcome"])
    }
}

/// The way to one plant.
#[derive(Clone, Debug)]
pub struct Control(PathBuf);

impl Control {
    /// Of the plant with this data folder.
    pub fn of(data: &Path) -> Self {
        Self(data.join("control.sock"))
    }

    /// Asks, without waiting for the answer.
    pub fn ask(&self, what: &Value) -> io::Result<Asked> {
        let mut stream = UnixStream::connect(&self.0)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.write_all(format!("{what}\n").as_bytes())?;
        Ok(Asked(stream))
    }

    /// The whole state.
    pub fn status(&self) -> Option<Value> {
        self.ask(&json!({ "ask": "status" })).and_then(Asked::answer).ok()
    }

    /// Writes a point under a key.
    pub fn write(&self, key: u128, device: &str, point: &str, value: f64) -> io::Result<Asked> {
        let write = json!({ "write": { "device": device, "point": point, "value": value } });
        let key = format!("{key:032x}");
        self.ask(&json!({ "ask": "request", "role": "engineer", "key": key, "request": write }))
    }

    /// Acknowledges an alarm.
    pub fn acknowledge(&self, alarm: &str) -> Option<Outcome> {
        let request = json!({ "acknowledge": { "alarm": alarm } });
        let ask = json!({ "ask": "request", "role": "operator", "request": request });
        self.ask(&ask).ok()?.outcome()
    }
}
