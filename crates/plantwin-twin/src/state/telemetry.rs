//! Durable telemetry: every frame of the device is told once, in order, and what is missing is
//! said.
//!
//! Absent: recording (the runtime), and confirming to the device (its line).

use plantwin_adapter::{Frame, Sample};
use plantwin_model::{Quality, Timestamp};
use plantwin_seal::OriginDigest;

use super::{Effect, Effects, Held, TwinCore};
use crate::{
    MAX_RECEIPTS, Reading, Refused, Session, Telemetry, TelemetrySample, TwinEvent, TwinPlan,
};

impl Telemetry {
    /// Of a frame, with room for its samples and none of them yet.
    pub(super) fn of(frame: &Frame, receipt: Option<u64>) -> Self {
        Self {
            receipt,
            sequence: frame.sequence,
            received: frame.received,
            samples: Vec::with_capacity(frame.samples.len()),
            duplicate: false,
            missing: 0,
            recorded: None,
        }
    }

    /// Adds a value as the session judged it, with the device's digest as long as it is still of
    /// what is told: with another time, or another doubt than the device's own, nobody could tell
    /// it from a lie.
    pub(super) fn add(
        &mut self,
        sample: &Sample,
        opened: &Result<Reading, Refused>,
        origin: Option<OriginDigest>,
    ) {
        self.samples.push(match opened {
            Ok(reading) => TelemetrySample {
                point: reading.point(),
                value: Some(reading.value()),
                quality: reading.quality(),
                source_time: reading.source_time(),
                origin: origin.filter(|_| is_said(sample, reading)),
            },
            Err(refused) => TelemetrySample {
                point: refused.point,
                value: None,
                quality: Quality::Bad(refused.flaw),
                source_time: sample.source_time.unwrap_or(self.received),
                origin,
            },
        });
    }

    /// Adds all values of a frame that say nothing of now.
    pub(super) fn record(&mut self, plan: &TwinPlan, held: &Held) {
        let Held { frame, origin, .. } = held;
        for (i, sample) in frame.samples.iter().enumerate() {
            if let Some(spec) = plan.device.kind.points.get(sample.point.index()) {
                let origin = origin.get(i).copied().flatten();
                self.add(sample, &Session::open(sample, spec, frame.received), origin);
            }
        }
    }
}

/// Whether the reading has the device's own time, and its quality is the device's own or, where
/// that was good, ours.
fn is_said(sample: &Sample, reading: &Reading) -> bool {
    let own_time = sample.source_time.is_none_or(|time| time == reading.source_time());
    own_time && (sample.quality == reading.quality() || sample.quality == Quality::Good)
}

impl TwinCore {
    pub(super) fn tell_telemetry(&mut self, mut telemetry: Telemetry, out: &mut Effects) {
        if !telemetry.duplicate {
            telemetry.missing += std::mem::take(&mut self.missing);
        }
        out.push(Effect::Tell(TwinEvent::Telemetry(telemetry)));
    }

    /// Keeps a frame until the session opens: the first values often overtake its answer.
    pub(super) fn hold(&mut self, plan: &TwinPlan, held: &Held, out: &mut Effects) {
        let held = held.clone();
        if plan.durable() {
            if self.session.is_refused() {
                self.held.push(held);
                return self.release_held(plan, out);
            }
            if self.held.len() >= MAX_RECEIPTS {
                // The line never has more receipts than this unconfirmed, so one without gives
                // way; nobody but us has it, and it is counted.
                let unkept = self.held.iter().position(|h| h.receipt.is_none());
                let Some(place) = unkept else {
                    self.missing += held.unseen();
                    return;
                };
                self.missing += self.held.remove(place).unseen();
            }
            self.held.push(held);
        } else if self.path.is_some() && (self.held.is_empty() || !held.frame.is_past()) {
            // The newest is kept, but none of the past in place of a live one.
            self.held.clear();
            self.held.push(held);
        }
    }

    /// The session is open: what waited for it is taken, in order.
    pub(super) fn take_held(&mut self, plan: &TwinPlan, now: Timestamp, out: &mut Effects) {
        for held in std::mem::take(&mut self.held) {
            self.take_frame(plan, &held, now, out);
        }
    }

    /// The session will not open: frames that the device keeps come again over the next connection,
    /// the others are lost and counted. The line hears of the former: it would wait for ever for
    /// what nobody confirms, and take nothing more.
    pub(super) fn release_held(&mut self, plan: &TwinPlan, out: &mut Effects) {
        let held = std::mem::take(&mut self.held);
        if plan.durable() {
            self.missing += held.iter().map(Held::unseen).sum::<u64>();
        }
        let receipts: Vec<u64> = held.iter().filter_map(|h| h.receipt).collect();
        if !receipts.is_empty() {
            out.push(Effect::LetGo { receipts });
        }
    }
}

impl Held {
    /// 1 if nothing else will tell that this frame was lost: the device does not keep it, and no
    /// number is missing in its sequence.
    fn unseen(&self) -> u64 {
        u64::from(self.receipt.is_none() && self.frame.sequence.is_none())
    }
}
