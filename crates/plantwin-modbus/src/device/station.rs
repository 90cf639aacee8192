//! What one server answers: requests of a connection in, answers out.
//!
//! Absent: sockets (see `device`).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use plantwin_adapter::{DeviceMessage, Traffic};
use tokio::{
    sync::{
        mpsc,
        oneshot::{self, error::TryRecvError},
    },
    time::timeout,
};

use super::image::Image;
use crate::{
    native::{Ask, CHUNK, IDENTITY, Progress, SERVER, SESSION_LIMIT},
    pdu::{self, Exception, Request, Table},
};

/// Exchanges of one connection under way; the oldest gives way to a new one.
const EXCHANGES: usize = 64;
/// Longest that a device may think about a write.
const THINKING: Duration = Duration::from_secs(10);
/// Longest reason of a refusal, bytes.
const REASON: usize = 200;

/// A played device.
pub(super) struct Played {
    pub(super) image: Mutex<Image>,
    pub(super) requests: mpsc::Sender<DeviceMessage>,
    pub(super) traffic: Arc<Traffic>,
}

impl Played {
    pub(super) fn image(&self) -> MutexGuard<'_, Image> {
        // Nothing that panics runs under the lock.
        self.image.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All played devices of a server.
#[derive(Default)]
pub(super) struct Station {
    pub(super) units: BTreeMap<u8, Arc<Played>>,
    pub(super) names: BTreeMap<String, u8>,
}

/// What becomes of a request.
pub(super) enum Outcome {
    /// This answer.
    Now(Vec<u8>),
    /// An answer once the device has made up its mind.
    Later(BoxFuture<'static, Vec<u8>>),
    /// No answer at all.
    Silence,
}

/// Session bytes on their way, of one connection.
struct Exchange {
    unit: u8,
    id: u16,
    stage: Stage,
}

enum Stage {
    /// Parts arrive.
    Coming { total: usize, bytes: Vec<u8> },
    /// The device thinks.
    Thinking(oneshot::Receiver<Result<Vec<u8>, String>>),
    /// It has answered.
    Done(Result<Vec<u8>, String>),
}

/// One client's connection.
pub(super) struct Client {
    station: Arc<Station>,
    exchanges: VecDeque<Exchange>,
}

impl Client {
    pub(super) fn new(station: Arc<Station>) -> Self {
        Self { station, exchanges: VecDeque::new() }
    }

    /// Handles a message to a unit.
    pub(super) fn handle(&mut self, unit: u8, message: &[u8]) -> Outcome {
        let function = message.first().copied().unwrap_or(0);
        let refuse = |exception| Outcome::Now(pdu::refusal(function, exception));
        let request = Request::parse(message);
        if unit == SERVER {
            return match request {
                Ok(Request::Identify { code, object }) => identify(code, object),
                Ok(Request::Native(body)) => match Ask::parse(&body) {
                    Some(ask @ Ask::Locate(_)) => self.locate(&ask),
                    _ => refuse(Exception::ILLEGAL_DATA_VALUE),
                },
                Ok(_) => refuse(Exception::GATEWAY_TARGET),
                Err(exception) => refuse(exception),
            };
        }
        let Some(played) = self.station.units.get(&unit).cloned() else {
            return refuse(Exception::GATEWAY_TARGET);
        };
        if !played.image().up {
            return Outcome::Silence;
        }
        match request {
            Err(exception) => refuse(exception),
            Ok(Request::Read { table, start, count }) => {
                match played.image().read(table, start, count) {
                    Ok(values) => Outcome::Now(pdu::read_answer(table, &values)),
                    Err(exception) => refuse(exception),
                }
            }
            Ok(request @ Request::Write { .. }) => write(played, request),
            Ok(Request::Identify { code, object }) => identify(code, object),
            Ok(Request::Native(body)) => match Ask::parse(&body) {
                None => refuse(Exception::ILLEGAL_DATA_VALUE),
                Some(ask) => match self.native(unit, &played, &ask) {
                    Ok(answer) => Outcome::Now(answer),
                    Err(exception) => refuse(exception),
                },
            },
        }
    }

    fn locate(&self, ask: &Ask) -> Outcome {
        let Ask::Locate(name) = ask else { return Outcome::Silence };
        match self.station.names.get(name) {
            Some(&unit) => Outcome::Now(ask.located(unit)),
            None => Outcome::Now(pdu::refusal(pdu::NATIVE, Exception::ILLEGAL_DATA_ADDRESS)),
        }
    }

    fn native(&mut self, unit: u8, played: &Played, ask: &Ask) -> Result<Vec<u8>, Exception> {
        match ask {
            Ask::Locate(_) => Err(Exception::ILLEGAL_DATA_VALUE),
            Ask::Read { table, start, count } => {
                Ok(ask.stamped(&played.image().read_native(*table, *start, *count)?))
            }
            Ask::Put { id, total, offset, bytes } => {
                self.put(unit, played, *id, (*total).into(), (*offset).into(), bytes)?;
                Ok(ask.taken())
            }
            Ask::Get { id, offset } => {
                let progress = self.get(unit, *id, usize::from(*offset))?;
                Ok(ask.progress(&progress))
            }
        }
    }

    /// A part of a request; the last one sends it to the device.
    fn put(
        &mut self,
        unit: u8,
        played: &Played,
        id: u16,
        total: usize,
        offset: usize,
        part: &[u8],
    ) -> Result<(), Exception> {
        let invalid = Exception::ILLEGAL_DATA_VALUE;
        if total > SESSION_LIMIT {
            return Err(invalid);
        }
        if offset == 0 {
            self.exchanges.retain(|e| (e.unit, e.id) != (unit, id));
            if self.exchanges.len() == EXCHANGES {
                self.exchanges.pop_front();
            }
            let stage = Stage::Coming { total, bytes: Vec::new() };
            self.exchanges.push_back(Exchange { unit, id, stage });
        }
        let exchange = self.exchanges.iter_mut().find(|e| (e.unit, e.id) == (unit, id));
        let exchange = exchange.ok_or(invalid)?;
        let Stage::Coming { total: expected, bytes } = &mut exchange.stage else {
            return Err(invalid);
        };
        if *expected != total || bytes.len() != offset || bytes.len() + part.len() > total {
            return Err(invalid);
        }
        bytes.extend(part);
        if bytes.len() < total {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        let request = std::mem::take(bytes);
        let sent = played.requests.try_send(DeviceMessage::Exchange { request, reply });
        if sent.is_err() {
            self.exchanges.retain(|e| (e.unit, e.id) != (unit, id));
            return Err(Exception::SERVER_DEVICE_BUSY);
        }
        exchange.stage = Stage::Thinking(answer);
        Ok(())
    }

    /// How an exchange stands, with the answer from `offset` on.
    fn get(&mut self, unit: u8, id: u16, offset: usize) -> Result<Progress, Exception> {
        let ix = self.exchanges.iter().position(|e| (e.unit, e.id) == (unit, id));
        let ix = ix.ok_or(Exception::ILLEGAL_DATA_VALUE)?;
        let stage = &mut self.exchanges[ix].stage;
        if let Stage::Thinking(answer) = stage {
            let outcome = match answer.try_recv() {
                Err(TryRecvError::Empty) => return Ok(Progress::Pending),
                Err(TryRecvError::Closed) => Err("the device gave no answer".to_owned()),
                Ok(Ok(bytes)) if bytes.len() > SESSION_LIMIT => {
                    Err(format!("its answer is longer than {SESSION_LIMIT} bytes"))
                }
                Ok(outcome) => outcome,
            };
            *stage = Stage::Done(outcome);
        }
        let (progress, last) = match stage {
            Stage::Done(Ok(bytes)) => {
                let rest = bytes.get(offset..).ok_or(Exception::ILLEGAL_DATA_VALUE)?;
                let part = &rest[..rest.len().min(CHUNK)];
                let total = bytes.len() as u16;
                (Progress::Answer { total, bytes: part.to_vec() }, part.len() == rest.len())
            }
            Stage::Done(Err(reason)) => {
                let mut reason = reason.clone();
                reason.truncate(reason.floor_char_boundary(REASON));
                (Progress::Refused(reason), true)
            }
            _ => return Err(Exception::ILLEGAL_DATA_VALUE),
        };
        if last {
            self.exchanges.remove(ix);
        }
        Ok(progress)
    }
}

fn identify(code: u8, object: u8) -> Outcome {
    let objects = match code {
        // One object by its number.
        4 => IDENTITY.iter().filter(|(id, _)| *id == object).copied().collect(),
        _ => IDENTITY.to_vec(),
    };
    Outcome::Now(if objects.is_empty() {
        pdu::refusal(43, Exception::ILLEGAL_DATA_ADDRESS)
    } else {
        pdu::identity_answer(code, &objects)
    })
}

fn write(played: Arc<Played>, request: Request) -> Outcome {
    let function = request.function();
    let (table, start, values): (Table, u16, &[u16]) = match &request {
        Request::Write { table, start, values, .. } => (*table, *start, values),
        _ => return Outcome::Silence,
    };
    let writes = match played.image().writes(table, start, values) {
        Ok(writes) => writes,
        Err(exception) => return Outcome::Now(pdu::refusal(function, exception)),
    };
    let work = async move {
        for (point, value) in writes {
            let (reply, taken) = oneshot::channel();
            let message = DeviceMessage::Write { point, value, reply };
            if played.requests.try_send(message).is_err() {
                return Err(Exception::SERVER_DEVICE_BUSY);
            }
            match timeout(THINKING, taken).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(reason))) => {
                    tracing::debug!(%reason, "a write was refused");
                    return Err(Exception::ILLEGAL_DATA_VALUE);
                }
                Ok(Err(_)) => return Err(Exception::SERVER_DEVICE_FAILURE),
                Err(_) => return Err(Exception::SERVER_DEVICE_BUSY),
            }
        }
        Ok(())
    };
    let answer = async move {
        match work.await {
            Ok(()) => pdu::write_answer(&request),
            Err(exception) => pdu::refusal(function, exception),
        }
    };
    Outcome::Later(answer.boxed())
}
