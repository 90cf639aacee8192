//! What is said over the control socket: one JSON value a line.

use std::{collections::BTreeMap, sync::Arc};

use plantwin_authority::{
    policy::Explanation,
    registry::{AuthorityOp, AuthorityReply},
};
use plantwin_model::{
    Action, AlarmView, CommandKey, LinkView, NorthboundView, Outcome, PlantView, Request, Role,
    SetAsideView, SpoolView, Timestamp, TwinTable, TwinView, TypeView, ZoneView,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Longest line of a request, in bytes.
pub(crate) const REQUEST_LIMIT: usize = 64 * 1024;

/// Said by a client, once per connection.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    #[serde(flatten)]
    pub(crate) ask: Ask,
    /// Who says it, if not whom the operating system names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) proof: Option<Proof>,
}

impl From<Ask> for Question {
    fn from(ask: Ask) -> Self {
        Self { ask, proof: None }
    }
}

/// A user's name and passphrase.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Proof {
    pub(crate) user: String,
    #[serde(with = "wiped")]
    pub(crate) passphrase: Zeroizing<String>,
}

/// Text that is wiped from memory when it is done with.
mod wiped {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(
        text: &Zeroizing<String>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(from).map(Zeroizing::new)
    }
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proof").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub(crate) enum Ask {
    /// The whole state, once.
    Status,
    /// A line per change of one twin.
    Tap { twin: String },
    /// Snapshots for a console.
    Attach,
    /// Whether somebody may do something; without a time: now.
    CanI {
        who: String,
        action: Action,
        what: String,
        #[serde(default)]
        value: Option<f64>,
        #[serde(default)]
        at: Option<Timestamp>,
    },
    /// Take policy, users and conduits of the plant's file anew.
    ReloadPolicy,
    /// Ask the authority.
    Authority { op: Box<AuthorityOp> },
    /// Act.
    Request {
        /// The role that the owner of a plant without users chooses; of no account otherwise.
        role: Role,
        /// Makes asking again harmless.
        #[serde(default)]
        key: Option<CommandKey>,
        request: Request,
    },
}

/// Said by the server.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(crate) enum Say {
    /// First answer to attach: what never changes.
    Hello(Box<Hello>),
    /// What changed since the last one; also the heartbeat.
    Update(Box<Update>),
    /// Answer to a request.
    Outcome { outcome: Outcome },
    /// Answer to whether somebody may.
    Explained { explanation: Explanation },
    /// The policy was taken; what else changed in the file was not.
    Reloaded { epoch: u64, left: Vec<String> },
    /// What the authority answered.
    Authority { reply: Box<AuthorityReply> },
    /// What it did not do, with a short name of the reason.
    AuthorityRefused { code: String, text: String },
    /// Not done, for lack of rights.
    Refused { text: String },
    /// The question made no sense.
    Error { text: String },
}

/// What never changes while a plant runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) plant: String,
    pub(crate) zones: Vec<ZoneView>,
    pub(crate) types: BTreeMap<String, TypeView>,
    pub(crate) endpoints: Vec<(String, String)>,
}

/// A change.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Update {
    pub(crate) now: Timestamp,
    pub(crate) uptime_s: f64,
    pub(crate) revision: u64,
    pub(crate) twins: Vec<(usize, Arc<TwinView>)>,
    /// Present when they changed.
    pub(crate) alarms: Option<Arc<[AlarmView]>>,
    pub(crate) counters: Arc<BTreeMap<String, u64>>,
    #[serde(default)]
    pub(crate) spool: Option<SpoolView>,
    #[serde(default)]
    pub(crate) northbound: Option<Arc<NorthboundView>>,
    /// Present when they changed.
    #[serde(default)]
    pub(crate) set_aside: Option<Arc<[SetAsideView]>>,
}

impl Hello {
    pub(crate) fn of(view: &PlantView) -> Self {
        Self {
            plant: view.plant.to_string(),
            zones: view.zones.to_vec(),
            types: BTreeMap::clone(&view.types),
            endpoints: view.endpoints.to_vec(),
        }
    }

    pub(crate) fn into_view(self) -> PlantView {
        PlantView {
            link: LinkView::Live,
            zones: self.zones.into(),
            types: Arc::new(self.types),
            endpoints: self.endpoints.into(),
            ..PlantView::empty(&self.plant)
        }
    }
}

impl Update {
    /// What changed in `view` since `before`.
    pub(crate) fn between(before: Option<&PlantView>, view: &PlantView) -> Self {
        let since = before.map_or(0, |b| b.revision);
        let changed = |(ix, twin): (usize, &Arc<TwinView>)| {
            (before.is_none() || twin.revision > since).then(|| (ix, Arc::clone(twin)))
        };
        let same_alarms = before.is_some_and(|b| Arc::ptr_eq(&b.alarms, &view.alarms));
        let same_letters = before.is_some_and(|b| Arc::ptr_eq(&b.set_aside, &view.set_aside));
        Self {
            now: view.now,
            uptime_s: view.uptime_s,
            revision: view.revision,
            twins: view.twins.iter().enumerate().filter_map(changed).collect(),
            alarms: (!same_alarms).then(|| Arc::clone(&view.alarms)),
            counters: Arc::clone(&view.counters),
            spool: view.spool,
            northbound: view.northbound.clone(),
            set_aside: (!same_letters).then(|| Arc::clone(&view.set_aside)),
        }
    }

    /// Applies it.
    pub(crate) fn apply(self, view: &mut PlantView) {
        view.now = self.now;
        view.uptime_s = self.uptime_s;
        view.revision = self.revision;
        view.counters = self.counters;
        view.spool = self.spool;
        view.northbound = self.northbound;
        if let Some(letters) = self.set_aside {
            view.set_aside = letters;
        }
        if let Some(alarms) = self.alarms {
            view.alarms = alarms;
        }
        let mut twins = std::mem::take(&mut view.twins);
        for (ix, twin) in self.twins {
            if ix < twins.len() {
                twins.set(ix, twin);
            } else {
                push(&mut twins, twin);
            }
        }
        view.twins = twins;
    }
}

fn push(twins: &mut TwinTable, twin: Arc<TwinView>) {
    twins.push(twin);
}
