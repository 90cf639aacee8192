//! How many sessions the embedded broker keeps for clients that are away.
//!
//! Each may hold megabytes, and the library keeps as many as are asked for. Here each user may
//! have some for each of its devices, and clients without a user one for each device that has none
//! and [`SPARE`] together. Who wants one more is refused and may come without. Absent: plantwin's
//! own connections, whose sessions are as many as its devices; how long a session lasts
//! ([`crate::bounds`]).

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock},
};

use mqtt5::{
    broker::{DynamicStorage, StorageBackend as _, storage::ClientSession},
    packet::connect::ConnectPacket,
};
use tokio::{
    sync::Mutex,
    time::{Duration, Instant},
};

/// Sessions for strangers: half a gigabyte if each is as full as it may be.
const SPARE: usize = 32;
/// Sessions of a user for each of its devices: one more while it changes its client id.
const EACH: usize = 2;
/// How long a client that was let in may take until its session is on record; the library gives it
/// as long for all of its greeting. Tests do not wait so long.
const GREETING: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
/// Shortest time between two searches for sessions that have ended, so that who is refused over
/// and over costs little.
const SEARCH: Duration = Duration::from_secs(1);

/// Client ids by when they were let in.
#[derive(Default)]
struct Kept {
    ids: HashMap<String, Instant>,
    searched: Option<Instant>,
}

/// The sessions that were promised.
#[derive(Default)]
pub(crate) struct Sessions {
    /// Devices by user.
    devices: HashMap<Option<String>, usize>,
    kept: Mutex<HashMap<Option<String>, Kept>>,
    /// Where the broker has them.
    storage: OnceLock<Arc<DynamicStorage>>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions(..)")
    }
}

impl Sessions {
    /// Makes room for a device of this user.
    pub(crate) fn admit(&mut self, user: Option<&str>) {
        *self.devices.entry(user.map(str::to_owned)).or_default() += 1;
    }

    /// Tells where the broker keeps them. Until then those that ended count too.
    pub(crate) fn look_into(&self, storage: Arc<DynamicStorage>) {
        // There is one for each broker, and it is told once.
        let _ = self.storage.set(storage);
    }

    /// Whether a client of this user may come: it wants no session beyond its connection, or there
    /// is room for it.
    pub(crate) async fn may_keep(&self, user: Option<&str>, connect: &ConnectPacket) -> bool {
        let asked = ClientSession::expiry_from_connect(connect);
        if asked == Some(0) {
            return true;
        }
        let user = user.map(str::to_owned);
        let devices = self.devices.get(&user).copied().unwrap_or_default();
        let most = if user.is_none() { devices + SPARE } else { devices * EACH };
        let mut kept = self.kept.lock().await;
        let own = kept.entry(user).or_default();
        let id = &connect.client_id;
        if !own.ids.contains_key(id) && own.ids.len() >= most {
            self.search(own).await;
            if own.ids.len() >= most {
                return false;
            }
        }
        own.ids.insert(id.clone(), Instant::now());
        true
    }

    /// Forgets the sessions that have ended.
    async fn search(&self, kept: &mut Kept) {
        let Some(storage) = self.storage.get() else { return };
        let now = Instant::now();
        if kept.searched.is_some_and(|last| now - last < SEARCH) {
            return;
        }
        kept.searched = Some(now);
        let mut ended = Vec::new();
        for (id, since) in &kept.ids {
            let session = storage.get_session(id).await;
            let lasts = |s: ClientSession| s.expiry_interval != Some(0);
            // One that cannot be looked up may still be there.
            let is_there = session.map_or(true, |session| session.is_some_and(lasts));
            if !is_there && now - *since > GREETING {
                ended.push(id.clone());
            }
        }
        for id in ended {
            kept.ids.remove(&id);
        }
    }
}
