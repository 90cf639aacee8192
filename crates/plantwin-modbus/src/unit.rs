//! One unit as its link sees it: typed requests over the shared bus.
//!
//! Absent: when to ask (see `link`), exchanges of session bytes (see `session`).

use std::{fmt, sync::Arc, time::Duration};

use plantwin_adapter::{LinkError, Traffic};

use crate::{
    bus::Bus,
    native::{Ask, IDENTITY, Stamped},
    pdu::{self, Exception, Request, Table},
};

/// Why a request gave no values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// The device refused.
    Exception(Exception),
    /// The answer is no answer to the request.
    Malformed,
    /// No answer in time, or the bus has ended.
    Link(LinkError),
}

impl Failure {
    /// As the error of a write or an exchange.
    pub(crate) fn into_error(self) -> LinkError {
        match self {
            Self::Link(error) => error,
            other => LinkError::Refused(other.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exception(exception) => exception.fmt(f),
            Self::Malformed => f.write_str("its answer makes no sense"),
            Self::Link(error) => error.fmt(f),
        }
    }
}

/// A unit on a bus.
#[derive(Clone)]
pub(crate) struct Unit {
    pub(crate) bus: Arc<Bus>,
    pub(crate) number: u8,
    /// Longest wait for one answer.
    pub(crate) patience: Duration,
    pub(crate) traffic: Arc<Traffic>,
    /// For people.
    pub(crate) endpoint: String,
}

impl Unit {
    /// The same connection, another unit or patience.
    pub(crate) fn with(&self, number: u8, patience: Duration) -> Self {
        Self { number, patience, ..self.clone() }
    }

    /// One request with its answer, which is one to its function.
    async fn ask(&self, request: &Request) -> Result<Vec<u8>, Failure> {
        let function = request.function();
        let pdu = request.bytes();
        let answer = self.bus.call(self.number, pdu, self.patience, &self.traffic).await;
        let answer = answer.map_err(|error| Failure::Link(self.name_itself(error)))?;
        match answer[..] {
            [f, code] if f == function | 0x80 => {
                let exception = Exception(code);
                Err(if exception.is_silence() {
                    Failure::Link(self.late())
                } else {
                    Failure::Exception(exception)
                })
            }
            [f, ..] if f == function => Ok(answer),
            _ => Err(Failure::Malformed),
        }
    }

    /// The bus speaks of its address; a silent unit is to be told from its neighbours.
    fn name_itself(&self, error: LinkError) -> LinkError {
        match error {
            LinkError::Timeout { millis, .. } => {
                LinkError::Timeout { endpoint: self.endpoint.clone(), millis }
            }
            other => other,
        }
    }

    pub(crate) fn late(&self) -> LinkError {
        LinkError::Timeout {
            endpoint: self.endpoint.clone(),
            millis: self.patience.as_millis() as u64,
        }
    }

    /// Values of a table; bits are 0 or 1.
    pub(crate) async fn read(
        &self,
        table: Table,
        start: u16,
        count: u16,
    ) -> Result<Vec<u16>, Failure> {
        let answer = self.ask(&Request::Read { table, start, count }).await?;
        pdu::read_values(table, count, &answer).ok_or(Failure::Malformed)
    }

    /// Writes one entry with function 5 or 6, several with 15 or 16.
    pub(crate) async fn write(
        &self,
        table: Table,
        start: u16,
        values: Vec<u16>,
    ) -> Result<(), Failure> {
        let single = values.len() == 1;
        let request = Request::Write { table, start, values, single };
        let answer = self.ask(&request).await?;
        if answer == pdu::write_answer(&request) { Ok(()) } else { Err(Failure::Malformed) }
    }

    /// Whether it is one of plantwin's own devices.
    pub(crate) async fn is_native(&self) -> Result<bool, Failure> {
        let answer = self.ask(&Request::Identify { code: 1, object: 0 }).await?;
        let objects = pdu::identity(&answer).ok_or(Failure::Malformed)?;
        let has = |&(id, text): &(u8, &str)| objects.iter().any(|(i, t)| *i == id && t == text);
        Ok(IDENTITY.iter().all(has))
    }

    /// A native request with its answer.
    pub(crate) async fn native<T>(
        &self,
        ask: &Ask,
        read: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<T, Failure> {
        let answer = self.ask(&Request::Native(ask.bytes())).await?;
        read(&answer).ok_or(Failure::Malformed)
    }

    /// Values of a native device with what it says of them.
    pub(crate) async fn read_native(
        &self,
        table: Table,
        start: u16,
        count: u16,
    ) -> Result<Stamped, Failure> {
        let ask = Ask::Read { table, start, count };
        self.native(&ask, |answer| ask.read_stamped(answer)).await
    }
}
