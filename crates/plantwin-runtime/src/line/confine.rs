//! Whether a device is confined, as its twin tells its line.
//!
//! Kept beside the orders and not among them: it must not be refused because the line is busy,
//! and only the newest word counts. Absent: why.

use plantwin_model::PointIx;
use tokio::sync::watch;

/// The newest word.
#[derive(Clone, Default, Debug, PartialEq)]
pub(crate) struct Confinement {
    /// Whether the device is confined.
    pub(crate) confined: bool,
    /// What brings it to its safe state: written at once, and on each connection to come if the
    /// device can be told anything without a session.
    pub(crate) safe: Vec<(PointIx, f64)>,
}

/// The twin's end.
#[derive(Clone, Debug)]
pub(crate) struct Confiner(watch::Sender<Confinement>);

impl Confiner {
    /// An end for the twin, and one for the line.
    pub(crate) fn new() -> (Self, watch::Receiver<Confinement>) {
        let (tell, hear) = watch::channel(Confinement::default());
        (Self(tell), hear)
    }

    /// `Some`: confined, after these writes. `None`: free.
    pub(crate) fn tell(&self, safe: Option<Vec<(PointIx, f64)>>) {
        let confined = safe.is_some();
        self.0.send_replace(Confinement { confined, safe: safe.unwrap_or_default() });
    }
}
