//! A device that holds keys: proves who it is, seals what it reports, opens what it is asked.
//!
//! The device's side of the protocol, whatever carries it: bytes that a gateway sends go in, bytes
//! to send back come out. It serves a simulated device and one that runs by itself alike, and any
//! program of a device's maker. One whose values all count can keep them until the gateway has them
//! on record ([`NativeDevice::keeping`]). Absent: the wire (a [`plantwin_adapter::Protocol`]),
//! keeping keys, the device's own doings (whoever owns this hands over a function for writes).
//!
//! ```
//! # use std::{sync::Arc, time::Duration};
//! # use plantwin_authority::pws::*;
//! # use plantwin_model::{Access, NoAudit, Unit};
//! # use plantwin_seal::{DhKey, Secret, SigningKey};
//! use plantwin_adapter::Measurement;
//! use plantwin_field::NativeDevice;
//! use plantwin_model::{PointSpec, Timestamp};
//!
//! # let now = Timestamp::from_millis(0);
//! # let day = now.plus(Duration::from_hours(24));
//! # let (root, issuer) = (SigningKey::generate()?, SigningKey::generate()?);
//! # let cert = IssuerCert::sign(&root, issuer.verifying_key(), 1, now, day).to_bytes();
//! # let (dh, secret) = (DhKey::generate()?, Secret::random()?);
//! # let certificate = GatewayCert { gateway: "hall".into(), dh: dh.public(), not_after: day }
//! #     .sign(&issuer, &cert)?;
//! # let credential =
//! #     GatewayCredential { dh, certificate: certificate.clone(), secret: secret.clone() };
//! # let revoked = Revoked::default();
//! # let gateway =
//! #     Gateway::new(root.verifying_key(), credential, revoked, Arc::new(NoAudit), now)?;
//! # let keys = DeviceKeys::generate()?;
//! # let public = keys.public();
//! # let (device, zone) = ("tank1".into(), "field".into());
//! # let me = DeviceIdentity { device, zone, keys, root: root.verifying_key(), voucher: None };
//! # let level = PointSpec {
//! #     name: "level".into(),
//! #     title: String::new(),
//! #     unit: Unit::parse("cm").map_err(|_| "a unit")?,
//! #     range: (0.0, 50.0),
//! #     start: 0.0,
//! #     access: Access::Read,
//! #     stale_after: Duration::from_secs(5),
//! #     noise: 0.0,
//! #     resolution: 0.0,
//! #     safe: None,
//! #     span: Default::default(),
//! # };
//! // Who it is comes from a `KeyFile`, its points from the twin type that the plant uses, too.
//! let points: Arc<[PointSpec]> = [level].into();
//! let mut device = NativeDevice::new(me, points, false);
//! assert!(device.seal(&Measurement::good(now, 1, &[12.4]), now).is_err(), "nobody asked it yet");
//!
//! # let (mut handshake, mut question) =
//! #     gateway.begin(&"tank1".into(), &"field".into(), "", now)?;
//! # let mut session = loop {
//! // Whatever a gateway asks is answered, until a session is up; this over any protocol.
//! let answer = device.on_exchange(&question, now, |_writes| Err("it has no knobs".to_owned()))?;
//! # question = match handshake.on_answer(&answer.bytes, now) {
//! #     Step::Send(bytes) => bytes,
//! #     Step::Ask(AuthorityNeed::Token(request)) => {
//! #         request.verify(&public, "hall", now)?;
//! #         let token = PwsToken::issue(&issuer, &cert, TokenClaims {
//! #             token_id: [1; 16],
//! #             device: request.device,
//! #             zone: "field".into(),
//! #             gateway: request.gateway,
//! #             cnf: public.cnf(),
//! #             caps: [0; 32],
//! #             policy_epoch: 1,
//! #             rev_epoch: 0,
//! #             issued: now,
//! #             expires: now.plus(Duration::from_mins(10)),
//! #         })?;
//! #         handshake.granted(Grant::make(&token, &secret, &public.dh, &certificate)?)?
//! #     }
//! #     Step::Up(session) => break session,
//! #     other => panic!("{other:?}"),
//! # };
//! # };
//! // Then it seals what it measures, and the gateway alone can read it.
//! let envelope = device.seal(&Measurement::good(now, 1, &[12.4]), now)?;
//! # assert!(!session.open_telemetry(&envelope, now)?.payload.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::sync::Arc;

use plantwin_adapter::{Measurement, Sample, print};
use plantwin_authority::{
    AuthError,
    native::{self, NativeAnswer, NativeFrame, NativeRequest, NativeSample, SAMPLES_LIMIT},
    pws::{Agent, AgentEvent, Answer, DeviceIdentity, Grant, Ticket},
};
use plantwin_model::{PointIx, PointSpec, Timestamp};
use plantwin_seal::{Lane, OriginValue, origin_digest};

use crate::kept::Kept;

/// Most envelopes that one measurement sets off: what a device has kept goes out at this rate.
const BURST: usize = 32;

/// One device with its keys.
pub struct NativeDevice {
    agent: Agent,
    points: Arc<[PointSpec]>,
    layout: [u8; 8],
    lane: Lane,
    kept: Option<Kept>,
}

/// Bytes that are to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// Number of the frame within, of a device that keeps its frames.
    pub sequence: Option<u64>,
    /// As they go over the wire.
    pub bytes: Vec<u8>,
}

/// What a device has to say to a question, and what happened to it thereby.
pub struct Said {
    /// To be sent back.
    pub bytes: Vec<u8>,
    /// For the device's log.
    pub event: Option<AgentEvent>,
}

impl NativeDevice {
    /// What a device sends in place of an envelope while it has no session, once a period: it says
    /// nothing but that somebody is there, so that its gateway keeps the line up and asks again.
    /// Nobody takes it for an envelope.
    pub const WAITING: &'static [u8] = b"PWS/1 waiting for a session";

    /// A device with these points; `durable` if each of its values counts.
    pub fn new(identity: DeviceIdentity, points: Arc<[PointSpec]>, durable: bool) -> Self {
        let layout = native::layout(&points);
        let lane = if durable { Lane::Durable } else { Lane::Latest };
        Self { agent: Agent::new(identity), points, layout, lane, kept: None }
    }

    /// Keeps up to so many frames until the gateway has them on record: then nothing is lost that
    /// was measured without a session, or sealed in one that a gateway does not know any more
    /// because it was started anew. Of a device that is not durable nothing is kept.
    #[must_use]
    pub fn keeping(mut self, frames: usize) -> Self {
        self.kept = (self.lane == Lane::Durable).then(|| Kept::new(frames));
        self
    }

    /// Frames that it had to let go unsent because more came than it may keep.
    pub fn let_go(&self) -> u64 {
        self.kept.as_ref().map_or(0, Kept::let_go)
    }

    /// Its end of the protocol.
    pub const fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Takes a grant that came by hand, in place of an older one. It is of use to the gateway that
    /// it is for, and until half of its token's life is over. Gives what the device's log is told.
    pub fn take_grant(&mut self, grant: &Grant, now: Timestamp) -> AgentEvent {
        match self.agent.take(grant, now) {
            Ok(expires) => AgentEvent::TokenTaken { expires },
            Err(error) => AgentEvent::Refused(error),
        }
    }

    /// Answers what a gateway asks; `write` carries out what it asks of the device, all or
    /// nothing, and says why not as a lowercase fragment.
    pub fn on_exchange(
        &mut self,
        request: &[u8],
        now: Timestamp,
        write: impl FnOnce(&[(PointIx, f64)]) -> Result<(), String>,
    ) -> Result<Said, AuthError> {
        self.on_exchange_over(0, request, now, write)
    }

    /// The same, of a device that is reached over several ways: over which one.
    pub fn on_exchange_over(
        &mut self,
        way: u16,
        request: &[u8],
        now: Timestamp,
        write: impl FnOnce(&[(PointIx, f64)]) -> Result<(), String>,
    ) -> Result<Said, AuthError> {
        match self.agent.on_exchange(request, now) {
            Answer::Send { bytes, event } => {
                if let (Some(kept), Some(AgentEvent::SessionUp { continued, .. })) =
                    (&mut self.kept, &event)
                {
                    kept.session_up(way, *continued, now);
                }
                Ok(Said { bytes, event })
            }
            Answer::Request { payload, ticket } => {
                let done = match self.asked(&payload, &ticket) {
                    Ok(Asked::Write(writes)) => write(&writes),
                    Ok(Asked::Note { after, discard }) => {
                        self.received(way, after, discard);
                        Ok(())
                    }
                    Err(reason) => Err(reason),
                };
                let answer = match done {
                    Ok(()) => NativeAnswer::Done,
                    Err(reason) => NativeAnswer::Refused(reason),
                };
                let bytes = self.agent.reply(ticket, &native::to_bytes(&answer), now)?;
                Ok(Said { bytes, event: None })
            }
        }
    }

    fn received(&mut self, way: u16, after: Option<(u64, u32)>, discard: bool) {
        let points = &self.points;
        if let Some(kept) = &mut self.kept {
            kept.received(way, after, discard, |frame| print(&said(points, frame)));
        }
    }

    /// What is to be done, if it may be now.
    fn asked(&mut self, payload: &[u8], ticket: &Ticket) -> Result<Asked, String> {
        let refuse = |why: &str| Err(why.to_owned());
        let Some(request) = native::from_bytes(payload) else {
            return refuse("no request that is known here");
        };
        let layout = match &request {
            NativeRequest::Write { layout, .. } | NativeRequest::MakeSafe { layout, .. } => layout,
            NativeRequest::Received { after, discard } => {
                return Ok(Asked::Note { after: *after, discard: *discard });
            }
        };
        if !self.agent.has_turn(ticket) {
            return refuse("a later request came before it");
        }
        if *layout != self.layout {
            return refuse("the plant's twin type has other points or units than this device");
        }
        match request {
            NativeRequest::Write { until, .. } if ticket.age() > until => {
                refuse("it came too late")
            }
            NativeRequest::Write { .. } if !ticket.allows_commands() => {
                refuse("the session's token is over, and good for reading alone")
            }
            NativeRequest::Write { writes, .. } => Ok(Asked::Write(writes)),
            // Neither the token's end nor its own age keeps this one back, so that nothing but what
            // the device itself declares may come in by it.
            NativeRequest::MakeSafe { writes, .. } => match self.unsafe_one(&writes) {
                Some(why) => Err(why),
                None => Ok(Asked::Write(writes)),
            },
            NativeRequest::Received { after, discard } => Ok(Asked::Note { after, discard }),
        }
    }

    /// Why these are not the device's own safe state, if they are not.
    fn unsafe_one(&self, writes: &[(PointIx, f64)]) -> Option<String> {
        writes.iter().find_map(|&(point, value)| {
            let Some(spec) = self.points.get(point.index()) else {
                return Some("no such point".to_owned());
            };
            let (name, unit) = (&spec.name, &spec.unit);
            match spec.safe {
                Some(safe) if safe.to_bits() == value.to_bits() => None,
                Some(safe) => Some(format!(
                    "{value} {unit} is not the safe value of {name}, which is {safe} {unit} here: \
                     give the plant and the device the same type"
                )),
                None => Some(format!(
                    "{name} has no safe value here: give the plant and the device the same type"
                )),
            }
        })
    }

    /// Seals a measurement: [`Self::frame`] and [`Self::seal_frame`].
    ///
    /// # Errors
    /// [`AuthError::NoSession`] while none is up: what was measured then is for the device to keep
    /// or to let go.
    pub fn seal(&mut self, measured: &Measurement, now: Timestamp) -> Result<Vec<u8>, AuthError> {
        self.seal_frame(&self.frame(measured), now)
    }

    /// What is to be sent over this way now that this was measured, in order: the envelope of it,
    /// and of a device that keeps its frames those before it that are still to be sent. Where there
    /// is nothing to send, for want of a session, because another way carries the frames, or while
    /// the gateway is about to say what it has, it is [`Self::WAITING`].
    pub fn report(&mut self, measured: &Measurement, way: u16, now: Timestamp) -> Vec<Envelope> {
        let waiting = || Envelope { sequence: None, bytes: Self::WAITING.to_vec() };
        let Some(kept) = &mut self.kept else {
            let sealed = self.seal(measured, now);
            let envelope = |bytes| Envelope { sequence: None, bytes };
            return vec![sealed.map_or_else(|_| waiting(), envelope)];
        };
        kept.add(measured);
        if !kept.carries(way, now) {
            return vec![waiting()];
        }
        let mut envelopes = Vec::new();
        while envelopes.len() < BURST {
            let Some(frame) = self.kept.as_ref().and_then(Kept::next) else { break };
            let (sequence, frame) = (frame.sequence, self.frame(frame));
            let Ok(bytes) = self.seal_frame(&frame, now) else {
                envelopes.push(waiting());
                break;
            };
            envelopes.push(Envelope { sequence: Some(sequence), bytes });
            if let Some(kept) = &mut self.kept {
                kept.sent(sequence);
            }
        }
        envelopes
    }

    /// An envelope that [`Self::report`] gave could not be sent over this way, nor those after it.
    pub fn failed(&mut self, way: u16, envelope: &Envelope) {
        if let (Some(kept), Some(sequence)) = (&mut self.kept, envelope.sequence) {
            kept.failed(way, sequence);
        }
    }

    /// A measurement that [`Self::report`] will be asked for later or never: a device that keeps its
    /// frames has it from now on. Whether it is one.
    pub fn keep(&mut self, measured: &Measurement) -> bool {
        if let Some(kept) = &mut self.kept {
            kept.add(measured);
        }
        self.kept.is_some()
    }

    /// What the device says of a measurement, with a digest of its own over each value.
    pub fn frame(&self, measured: &Measurement) -> NativeFrame {
        let key = self.agent.origin_key();
        let device = self.agent.device().as_str();
        let sample = |s: &Sample| {
            let spec = self.points.get(s.point.index())?;
            let source_time = s.source_time?;
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
        let samples = said(&self.points, measured).iter().filter_map(sample).collect();
        NativeFrame { layout: self.layout, sequence: measured.sequence, samples }
    }

    /// Seals what the device says, for its gateway alone.
    ///
    /// # Errors
    /// [`AuthError::NoSession`] while none is up.
    pub fn seal_frame(
        &mut self,
        frame: &NativeFrame,
        now: Timestamp,
    ) -> Result<Vec<u8>, AuthError> {
        self.agent.seal_telemetry(self.lane, &native::to_bytes(frame), now)
    }
}

/// What a gateway asks of a device.
enum Asked {
    /// To write these points.
    Write(Vec<(PointIx, f64)>),
    /// To note what was received.
    Note { after: Option<(u64, u32)>, discard: bool },
}

/// The values that a device tells, each with its time.
fn said(points: &[PointSpec], measured: &Measurement) -> Vec<Sample> {
    let known =
        measured.samples.iter().take(SAMPLES_LIMIT).filter(|s| s.point.index() < points.len());
    known.map(|s| Sample { source_time: s.source_time.or(Some(measured.time)), ..*s }).collect()
}
