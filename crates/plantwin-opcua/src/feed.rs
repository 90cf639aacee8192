//! From notifications of a subscription to frames.
//!
//! All changes of one notification that belong to one measurement make one [`Frame`]. Where a
//! server numbers its measurements (`PREFIX.sequence`), a value belongs to the number that bears
//! the same source time; values of other times come first, without a number. Each envelope of a
//! sealed device is an event of its own, in the order in which they came. Absent: waiting; the
//! link's driver takes the events out after each step of the library.

use std::sync::{Arc, Mutex, PoisonError};

use opcua::{
    client::{MonitoredItemMap, OnSubscriptionNotificationCore},
    types::{
        DataChangeNotification, DataValue, NotificationMessage, StatusChangeNotification,
        StatusCode, Variant, match_extension_object_owned,
    },
};
use plantwin_adapter::{Frame, LinkError, LinkEvent, SEALED_LIMIT, Sample};
use plantwin_model::{Clock, Flaw, PointIx, Quality, Timestamp};
use smallvec::SmallVec;

use crate::value::{is_device_gone, number, quality, timestamp};

/// Which point a monitored item belongs to; its client handle is its place here plus one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Slot {
    Point(PointIx),
    Sequence,
    /// Envelopes of a sealed device.
    Sealed,
}

/// Events that came with the library's last step.
pub(crate) type Pending = Arc<Mutex<Vec<LinkEvent>>>;

/// Turns notifications into events.
pub(crate) struct Feed {
    slots: Vec<Slot>,
    /// Per slot: whether the device behind the server was last said to be unreachable.
    gone: Vec<bool>,
    pending: Pending,
    clock: Arc<dyn Clock>,
    /// Whether a keep-alive says that the last values still hold: so on servers that report by
    /// exception, but not on ours, which number every measurement; and of a sealed device nothing
    /// holds that is not sealed.
    by_exception: bool,
}

impl Feed {
    /// For monitored items with these slots.
    pub(crate) fn new(slots: Vec<Slot>, pending: Pending, clock: Arc<dyn Clock>) -> Self {
        let by_exception = !slots.contains(&Slot::Sequence) && !slots.contains(&Slot::Sealed);
        Self { gone: vec![false; slots.len()], slots, pending, clock, by_exception }
    }

    fn push(&self, event: LinkEvent) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// One notification's changes, as (client handle, value).
    pub(crate) fn changes(&mut self, changes: impl Iterator<Item = (u32, DataValue)>) {
        let received = self.clock.now();
        let mut samples: Vec<Sample> = Vec::new();
        let mut numbers: Vec<(Option<Timestamp>, u64)> = Vec::new();
        for (handle, change) in changes {
            let Some(ix) = (handle as usize).checked_sub(1) else { continue };
            let Some(&slot) = self.slots.get(ix) else { continue };
            let code = change.status();
            self.gone[ix] = is_device_gone(code);
            if code == StatusCode::BadWaitingForInitialData {
                continue;
            }
            match slot {
                Slot::Point(point) => samples.push(sample(point, &change)),
                Slot::Sequence => {
                    if let Some(Variant::UInt64(n)) = change.value {
                        numbers.push((change.source_timestamp.and_then(timestamp), n));
                    }
                }
                Slot::Sealed => self.envelope(received, change),
            }
        }
        if self.gone.iter().all(|&gone| gone) {
            self.push(LinkEvent::Closed(LinkError::Closed(
                "the server has no communication with the device".to_owned(),
            )));
            return;
        }
        self.frames(received, samples, numbers);
    }

    fn envelope(&self, received: Timestamp, change: DataValue) {
        // A bad status without bytes says that the device is away, which is no envelope.
        let Some(Variant::ByteString(bytes)) = change.value else { return };
        let envelope = bytes.value.unwrap_or_default();
        if envelope.is_empty() || envelope.len() > SEALED_LIMIT {
            tracing::warn!(bytes = envelope.len(), "no envelope has this length, dropped");
            return;
        }
        self.push(LinkEvent::Sealed { received, envelope, receipt: None });
    }

    fn frames(
        &self,
        received: Timestamp,
        samples: Vec<Sample>,
        mut numbers: Vec<(Option<Timestamp>, u64)>,
    ) {
        numbers.sort_unstable_by_key(|&(_, n)| n);
        // A clock that stands still may give several measurements one time: the last one counts.
        let owner = |s: &Sample| numbers.iter().rposition(|&(time, _)| time == s.source_time);
        let of = |ix: Option<usize>| -> SmallVec<[Sample; 4]> {
            samples.iter().filter(|s| owner(s) == ix).copied().collect()
        };
        let rest = of(None);
        if !rest.is_empty() {
            self.push(LinkEvent::Frame(Frame { received, sequence: None, samples: rest }));
        }
        for (ix, &(_, sequence)) in numbers.iter().enumerate() {
            let sequence = Some(sequence);
            self.push(LinkEvent::Frame(Frame { received, sequence, samples: of(Some(ix)) }));
        }
    }
}

/// A changed value of a point.
fn sample(point: PointIx, change: &DataValue) -> Sample {
    let value = change.value.as_ref().and_then(number);
    let quality = match (value, quality(change.status())) {
        (None, Quality::Good | Quality::Uncertain(_)) => Quality::Bad(Flaw::Malformed),
        (_, quality) => quality,
    };
    let source_time = change.source_timestamp.and_then(timestamp);
    Sample { point, value: value.unwrap_or(f64::NAN), quality, source_time }
}

impl OnSubscriptionNotificationCore for Feed {
    fn on_subscription_notification(
        &mut self,
        notification: NotificationMessage,
        _: MonitoredItemMap<'_>,
    ) {
        let data = notification.notification_data.unwrap_or_default();
        if data.is_empty() && self.by_exception {
            self.push(LinkEvent::Alive);
        }
        for object in data {
            match_extension_object_owned!(object,
                v: DataChangeNotification => {
                    let items = v.monitored_items.into_iter().flatten();
                    self.changes(items.map(|item| (item.client_handle, item.value)));
                },
                v: StatusChangeNotification => {
                    self.push(LinkEvent::Closed(LinkError::Closed(
                        format!("the server ended the subscription: {}", v.status),
                    )));
                },
            );
        }
    }
}
