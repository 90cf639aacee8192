//! One poll: all points of a device in as few requests as the protocol allows.
//!
//! Absent: when to poll, and what its failure means for the link.

use std::sync::Arc;

use plantwin_adapter::{Frame, LinkError, Sample};
use plantwin_model::{Clock, Flaw, Quality, Timestamp};
use smallvec::SmallVec;

use crate::{
    bus::Bus,
    config::PointMap,
    native::{self, Flag, Stamped},
    pdu::Exception,
    plan::{self, Block},
    unit::{Failure, Unit},
};

/// Registers of a block, with the stamp of a native device.
struct Values {
    registers: Vec<u16>,
    stamp: Option<Stamped>,
}

/// Polls one device.
pub(super) struct Poller {
    unit: Unit,
    native: bool,
    points: Vec<PointMap>,
    blocks: Vec<Block>,
    clock: Arc<dyn Clock>,
}

impl Poller {
    pub(super) fn new(
        unit: Unit,
        native: bool,
        points: Vec<PointMap>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mut poller = Self { unit, native, points, blocks: Vec::new(), clock };
        poller.plan(plan::GAP);
        poller
    }

    pub(super) fn bus(&self) -> Arc<Bus> {
        Arc::clone(&self.unit.bus)
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.unit.endpoint
    }

    fn plan(&mut self, gap: u16) {
        let limit = if self.native { native::READ } else { u16::MAX };
        self.blocks = plan::plan(&self.points, gap, limit);
    }

    /// Reads everything; what was read before a failure is in the frame all the same.
    pub(super) async fn poll(&mut self) -> (Option<Frame>, Option<LinkError>) {
        let mut samples = SmallVec::new();
        let mut sequences = Vec::new();
        let mut split = false;
        let mut failed = None;
        for block in &self.blocks {
            match self.read(block).await {
                Ok(values) => {
                    sequences.push(values.stamp.as_ref().map(|s| s.sequence));
                    samples.extend(
                        block.points.iter().filter_map(|&ix| self.sample(ix, block, &values)),
                    );
                }
                Err(Failure::Link(error)) => {
                    failed = Some(error);
                    break;
                }
                Err(failure) => {
                    sequences.push(None);
                    let no_such = failure == Failure::Exception(Exception::ILLEGAL_DATA_ADDRESS);
                    split |= block.gaps && no_such;
                    let flaw = match failure {
                        Failure::Malformed => Flaw::Malformed,
                        _ => Flaw::DeviceReported,
                    };
                    let bad = |&ix: &usize| Sample {
                        point: self.points[ix].point,
                        value: f64::NAN,
                        quality: Quality::Bad(flaw),
                        source_time: None,
                    };
                    samples.extend(block.points.iter().map(bad));
                }
            }
        }
        if split {
            // Perhaps only the registers between the points do not exist.
            self.plan(0);
        }
        // One number stands for all only if all blocks are of the same measurement.
        let sequence = sequences.first().copied().flatten();
        // A device that has measured nothing yet has counted nothing either.
        let sequence = sequence.filter(|_| !samples.is_empty());
        let sequence = sequence.filter(|s| sequences.iter().all(|other| *other == Some(*s)));
        let answered = failed.is_none() || !samples.is_empty();
        let frame = answered.then(|| Frame { received: self.clock.now(), sequence, samples });
        (frame, failed)
    }

    async fn read(&self, block: &Block) -> Result<Values, Failure> {
        let Block { table, start, count, .. } = *block;
        if self.native {
            let stamped = self.unit.read_native(table, start, count).await?;
            Ok(Values { registers: stamped.registers.clone(), stamp: Some(stamped) })
        } else {
            Ok(Values { registers: self.unit.read(table, start, count).await?, stamp: None })
        }
    }

    /// The sample of a point in a block; `None` while the device has no value for it.
    fn sample(&self, ix: usize, block: &Block, values: &Values) -> Option<Sample> {
        let map = &self.points[ix];
        let from = usize::from(map.register - block.start);
        let range = from..from + usize::from(map.codec.format.width());
        let value = map.codec.decode(values.registers.get(range.clone())?)?;
        let (mut quality, mut source_time) = (Quality::Good, None);
        if let Some(stamp) = &values.stamp {
            quality = match stamp.flaws.get(range)?.iter().max()? {
                Flag::Good => Quality::Good,
                Flag::Uncertain => Quality::Uncertain(Flaw::DeviceReported),
                Flag::Bad => Quality::Bad(Flaw::DeviceReported),
                Flag::NoValue => return None,
            };
            source_time = Some(Timestamp(stamp.time));
        }
        Some(Sample { point: map.point, value, quality, source_time })
    }
}
