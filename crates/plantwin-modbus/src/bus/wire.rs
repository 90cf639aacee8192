//! The task of a bus: sends what the schedule grants, pairs answers with requests.
//!
//! Absent: who is next (see `schedule`), what messages mean.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use plantwin_adapter::{LinkError, Traffic};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};

use super::{Job, State, schedule::Next};
use crate::{
    frame::{Adu, HEADER},
    pdu::{Exception, PDU},
};

/// Requests given up that are remembered, so that even a late answer is counted for its unit. It
/// changes nothing else: a unit that answers too late each time has no claim to a full share.
const REMEMBERED: usize = 64;

/// Requests given up, one after the other with nothing heard from anybody, that end the bus: the
/// connection itself may be dead, which TCP notices only after minutes. More than a link bears, so
/// that a unit alone on its bus is told by its own link that it is silent.
const SILENT: u32 = 5;

/// A request that was sent.
struct Asked {
    transaction: u16,
    unit: u8,
    sent: Instant,
    job: Job,
    /// End of the bus's exclusive time for it; `None` once it is over.
    hold_until: Option<Instant>,
}

/// A request that was sent and given up.
struct Missed {
    transaction: u16,
    unit: u8,
    traffic: Arc<Traffic>,
}

struct Wire {
    state: Arc<State>,
    stream: TcpStream,
    next_transaction: u16,
    /// At most one per unit, of which at most one holds the bus.
    asked: Vec<Asked>,
    missed: VecDeque<Missed>,
    /// Requests given up since something was heard.
    silent: u32,
}

/// Serves the bus until its connection ends or the task is dropped.
pub(super) async fn run(stream: TcpStream, state: Arc<State>) {
    let mut wire = Wire {
        state: Arc::clone(&state),
        stream,
        next_transaction: 0,
        asked: Vec::new(),
        missed: VecDeque::new(),
        silent: 0,
    };
    let Err(error) = wire.serve().await;
    tracing::debug!(endpoint = %state.endpoint, %error, "bus ended");
    state.ended.send_replace(Some(error.clone()));
    let sent = wire.asked.into_iter().map(|a| a.job);
    let waiting = state.schedule().drain();
    for job in sent.chain(waiting) {
        let _ = job.reply.send(Err(error.clone()));
    }
}

impl Wire {
    async fn serve(&mut self) -> Result<Infallible, LinkError> {
        let mut buffer = Vec::with_capacity(2 * (HEADER + PDU));
        loop {
            self.expire()?;
            let granted = self.grant().await?;
            let timers = self.asked.iter().map(|a| {
                let end = a.sent + a.job.patience;
                a.hold_until.map_or(end, |hold| hold.min(end))
            });
            let wake = timers.chain(granted).min();
            // All three can be dropped half-way without losing anything. What has come is looked at
            // first, so that an answer counts which came before its time was over; it cannot hold
            // up the others, because times and turns are looked at in each round.
            tokio::select! {
                biased;
                read = self.stream.read_buf(&mut buffer) => {
                    match read {
                        Ok(0) => return Err(LinkError::Closed("the other side hung up".to_owned())),
                        Ok(_) => {}
                        Err(error) => return Err(closed(&error)),
                    }
                    while let Some(adu) = Adu::take(&mut buffer).map_err(LinkError::Closed)? {
                        self.answer(adu);
                    }
                }
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
                () = self.state.wake.notified() => {}
            }
        }
    }

    /// Sends what is granted; says when to try again where something must wait.
    async fn grant(&mut self) -> Result<Option<Instant>, LinkError> {
        loop {
            if self.asked.iter().any(|a| a.hold_until.is_some()) {
                return Ok(None);
            }
            let waiting = |job: &Job| (!job.reply.is_closed()).then_some(job.patience);
            let next = self.state.schedule().next(Instant::now(), waiting);
            match next {
                Next::Wait(until) => return Ok(until),
                Next::Grant { unit, job, hold } => self.send(unit, job, hold).await?,
            }
        }
    }

    async fn send(&mut self, unit: u8, job: Job, hold: Duration) -> Result<(), LinkError> {
        let transaction = self.next_transaction;
        self.next_transaction = transaction.wrapping_add(1);
        let bytes = Adu { transaction, unit, pdu: job.pdu.clone() }.bytes();
        let late = || LinkError::Timeout {
            endpoint: self.state.endpoint.clone(),
            millis: job.patience.as_millis() as u64,
        };
        let written = timeout(job.patience, self.stream.write_all(&bytes)).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(closed(&error)),
            // Half a frame is out: the stream is of no use any more.
            Err(_) => return Err(late()),
        }
        job.traffic.down(bytes.len());
        let sent = Instant::now();
        self.asked.push(Asked { transaction, unit, sent, job, hold_until: Some(sent + hold) });
        Ok(())
    }

    /// Ends holds and patience that are over.
    fn expire(&mut self) -> Result<(), LinkError> {
        let now = Instant::now();
        let mut ix = 0;
        while ix < self.asked.len() {
            let asked = &mut self.asked[ix];
            if asked.hold_until.is_some_and(|until| until <= now) {
                asked.hold_until = None;
                self.state.schedule().overdue(asked.unit);
            }
            if now >= asked.sent + asked.job.patience {
                let Asked { transaction, unit, job, .. } = self.asked.swap_remove(ix);
                self.state.schedule().given_up(unit);
                if self.missed.len() == REMEMBERED {
                    self.missed.pop_front();
                }
                self.missed.push_back(Missed { transaction, unit, traffic: job.traffic });
                let error = LinkError::Timeout {
                    endpoint: self.state.endpoint.clone(),
                    millis: job.patience.as_millis() as u64,
                };
                let _ = job.reply.send(Err(error.clone()));
                self.silent += 1;
                if self.silent >= SILENT {
                    return Err(error);
                }
                continue;
            }
            ix += 1;
        }
        Ok(())
    }

    /// Hands an answer to whoever asked.
    fn answer(&mut self, adu: Adu) {
        self.silent = 0;
        let bytes = HEADER + adu.pdu.len();
        let is = |transaction, unit| transaction == adu.transaction && unit == adu.unit;
        if let Some(ix) = self.asked.iter().position(|a| is(a.transaction, a.unit)) {
            let Asked { unit, sent, job, .. } = self.asked.swap_remove(ix);
            job.traffic.up(bytes);
            let silence = matches!(adu.pdu[..], [function, code]
                if function & 0x80 != 0 && Exception(code).is_silence());
            if silence {
                // The gateway speaks, but for a device that does not.
                self.state.schedule().given_up(unit);
            } else {
                self.state.schedule().answered(unit, sent.elapsed());
            }
            let _ = job.reply.send(Ok(adu.pdu));
        } else if let Some(ix) = self.missed.iter().position(|m| is(m.transaction, m.unit))
            && let Some(missed) = self.missed.remove(ix)
        {
            missed.traffic.up(bytes);
        }
        // Anything else was never asked for.
    }
}

fn closed(error: &std::io::Error) -> LinkError {
    LinkError::Closed(error.to_string().to_lowercase())
}
