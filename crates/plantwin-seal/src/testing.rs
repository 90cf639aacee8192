//! What the tests of several modules share: two parties, a message, short hands.

use plantwin_model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Content, KeyDistributor, Lane, PartyId, Sealed, Sealer, Session};

pub(crate) const TANK: PartyId = PartyId(0x1111);
pub(crate) const PUMP: PartyId = PartyId(0x2222);

/// A message as a twin might send it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) point: u16,
    pub(crate) text: String,
}

impl Content for Report {
    const CONTENT_TYPE: u16 = 0x0102;
}

pub(crate) fn report(point: u16) -> Report {
    Report { point, text: format!("point {point}") }
}

/// A moment of plant time, in seconds.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

/// The tank's and the pump's ends of a fresh session, begun at second 0.
pub(crate) fn sessions() -> (Session, Session) {
    let secret = KeyDistributor::new().unwrap().pair_secret(TANK, PUMP);
    Session::pair(&secret, TANK, PUMP, at(0)).unwrap()
}

pub(crate) fn seal(sealer: &mut Sealer, point: u16, seconds: i64) -> Sealed<Report> {
    sealer.seal(&report(point), Lane::Durable, None, at(seconds)).unwrap()
}

/// A second copy, as somebody who recorded the wire would hold it.
pub(crate) fn copy<M>(sealed: &Sealed<M>) -> Sealed<M> {
    Sealed::from_bytes(sealed.as_bytes().to_vec()).unwrap()
}

/// A type of the same size whose content type differs.
#[derive(PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Other(pub(crate) u16);

impl Content for Other {
    const CONTENT_TYPE: u16 = 0x0103;
}
