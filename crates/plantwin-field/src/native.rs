//! A device that holds keys: proves who it is, seals what it reports, opens what it is asked.
//!
//! The device's side of the protocol, whatever carries it: bytes that a gateway sends go in, bytes
//! to send back come out. It serves a simulated device and one that runs by itself alike, and any
//! program of a device's maker. Absent: the wire (a [`plantwin_adapter::Protocol`]), keeping keys,
//! the device's own doings (whoever owns this hands over a function for writes).

use std::sync::Arc;

use plantwin_adapter::Measurement;
use plantwin_authority::{
    AuthError,
    native::{self, NativeAnswer, NativeFrame, NativeRequest, NativeSample, SAMPLES_LIMIT},
    pws::{Agent, AgentEvent, Answer, DeviceIdentity},
};
use plantwin_model::{PointIx, PointSpec, Timestamp};
use plantwin_seal::{Lane, OriginValue, origin_digest};

/// One device with its keys.
pub struct NativeDevice {
    agent: Agent,
    points: Arc<[PointSpec]>,
    layout: [u8; 8],
    lane: Lane,
}

/// What a device has to say to a question, and what happened to it thereby.
pub struct Said {
    /// To be sent back.
    pub bytes: Vec<u8>,
    /// For the device's log.
    pub event: Option<AgentEvent>,
}

impl NativeDevice {
    /// A device with these points; `durable` if each of its values counts.
    pub fn new(identity: DeviceIdentity, points: Arc<[PointSpec]>, durable: bool) -> Self {
        let layout = native::layout(&points);
        let lane = if durable { Lane::Durable } else { Lane::Latest };
        Self { agent: Agent::new(identity), points, layout, lane }
    }

    /// Its end of the protocol.
    pub const fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Answers what a gateway asks; `write` carries out what it asks of the device, all or
    /// nothing, and says why not as a lowercase fragment.
    pub fn on_exchange(
        &mut self,
        request: &[u8],
        now: Timestamp,
        write: impl FnOnce(&[(PointIx, f64)]) -> Result<(), String>,
    ) -> Result<Said, AuthError> {
        match self.agent.on_exchange(request, now) {
            Answer::Send { bytes, event } => Ok(Said { bytes, event }),
            Answer::Request { payload, ticket } => {
                let answer = match native::from_bytes(&payload) {
                    Some(NativeRequest::Write { layout, .. }) if layout != self.layout => {
                        NativeAnswer::Refused(
                            "the plant's twin type has other points or units than this device"
                                .to_owned(),
                        )
                    }
                    Some(NativeRequest::Write { writes, .. }) => match write(&writes) {
                        Ok(()) => NativeAnswer::Done,
                        Err(reason) => NativeAnswer::Refused(reason),
                    },
                    None => NativeAnswer::Refused("no request that is known here".to_owned()),
                };
                let bytes = self.agent.reply(ticket, &native::to_bytes(&answer), now)?;
                Ok(Said { bytes, event: None })
            }
        }
    }

    /// Seals a measurement, with a digest of the device's own over each value.
    ///
    /// # Errors
    /// [`AuthError::NoSession`] while none is up: what was measured then is for the device to keep
    /// or to let go.
    pub fn seal(&mut self, measured: &Measurement, now: Timestamp) -> Result<Vec<u8>, AuthError> {
        let key = self.agent.origin_key();
        let device = self.agent.device().as_str();
        let sample = |s: &plantwin_adapter::Sample| {
            let spec = self.points.get(s.point.index())?;
            let source_time = s.source_time.unwrap_or(measured.time);
            let unit = spec.unit.to_string();
            let value = OriginValue {
                device,
                point: &spec.name,
                unit: &unit,
                sequence: measured.sequence,
                source_time,
                quality: s.quality,
                value: s.value,
            };
            Some(NativeSample {
                point: s.point,
                value: s.value,
                quality: s.quality,
                source_time,
                origin: key.map(|key| origin_digest(key, &value)),
            })
        };
        let samples = measured.samples.iter().take(SAMPLES_LIMIT).filter_map(sample).collect();
        let frame = NativeFrame { layout: self.layout, sequence: measured.sequence, samples };
        self.agent.seal_telemetry(self.lane, &native::to_bytes(&frame), now)
    }
}
