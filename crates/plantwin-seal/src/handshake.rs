//! How two actors turn the secret of their pair into a session.
//!
//! ```text
//! initiator                                responder
//!   Hello { id, nonce }            ─────▶
//!                                  ◀─────  Answer { nonce, MAC }
//!   Confirm { MAC }                ─────▶
//! ```
//!
//! From secret, both ids in their roles and both nonces BLAKE3 derives a confirmation key, a key and
//! an initialization vector for each direction, and the session's number. The MACs prove that the
//! other end knows the secret and saw the same ids and nonces; they differ by role, so a reflected
//! one proves nothing. Fresh nonces on both sides give fresh keys to every session.
//!
//! **No Diffie-Hellman, and why.** Both actors and the guardian that gave them their secret live in
//! one address space: whoever could read the secret could read the session's keys as well, so
//! X25519 would cost 60 µs a side and protect nobody. It follows that a stolen root reveals all
//! sessions of that boot. Sessions with devices are another matter and get Noise (protocol PWS/1).
//!
//! **What sealing inside one process gives**: identity and order are enforced for each hop, a message
//! cannot be taken for another's or be replayed, capability travels with the key, and the same bytes
//! may cross threads, hosts or a spool. **What it does not**: it stops nobody who can read or write
//! the memory of this process.
//! Absent: retries and timeouts. A handshake that fails is started again from the beginning.

use plantwin_model::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    Opener, PartyId, SealError, Sealer, Secret,
    epoch::{DirectionKeys, Iv},
    mac,
    primitives::derive_into,
    random_bytes, verify_mac,
};

#[cfg(test)]
mod tests;

const RESPONDER: &[u8] = b"plantwin v1 responder";
const INITIATOR: &[u8] = b"plantwin v1 initiator";

/// First message: who calls, and a fresh nonce.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    initiator: PartyId,
    nonce: [u8; 32],
}

impl Hello {
    /// Who claims to call; the answerer looks the pair's secret up by it.
    pub const fn initiator(&self) -> PartyId {
        self.initiator
    }
}

/// Second message: the responder's nonce and proof.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    nonce: [u8; 32],
    proof: [u8; 32],
}

/// Third message: the initiator's proof.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Confirm {
    proof: [u8; 32],
}

/// Both halves of an established session, as one end holds them.
#[derive(Debug)]
pub struct Session {
    /// Seals what goes to the peer.
    pub sealer: Sealer,
    /// Opens what comes from the peer.
    pub opener: Opener,
}

impl Session {
    /// The whole handshake for a guardian that holds both ends; first the session of `initiator`.
    ///
    /// # Errors
    /// [`SealError::Handshake`] if both ends are the same party; [`SealError::Random`].
    pub fn pair(
        secret: &Secret,
        initiator: PartyId,
        responder: PartyId,
        now: Timestamp,
    ) -> Result<(Self, Self), SealError> {
        let (calling, hello) = Initiator::start(secret, initiator, responder)?;
        let (answering, answer) = Responder::answer(secret, responder, &hello)?;
        let (ours, confirm) = calling.finish(&answer, now)?;
        Ok((ours, answering.finish(&confirm, now)?))
    }
}

/// The calling side, waiting for an [`Answer`].
#[derive(Debug)]
pub struct Initiator {
    secret: Secret,
    me: PartyId,
    peer: PartyId,
    nonce: [u8; 32],
}

impl Initiator {
    /// Begins a handshake of `me` with `peer`.
    ///
    /// # Errors
    /// [`SealError::Handshake`] if both are the same party; [`SealError::Random`].
    pub fn start(secret: &Secret, me: PartyId, peer: PartyId) -> Result<(Self, Hello), SealError> {
        if me == peer {
            return Err(SealError::Handshake);
        }
        let nonce = random_bytes()?;
        Ok((Self { secret: secret.clone(), me, peer, nonce }, Hello { initiator: me, nonce }))
    }

    /// Checks the responder's proof. The session may be used at once; the peer opens nothing before
    /// it has the [`Confirm`].
    ///
    /// # Errors
    /// [`SealError::Handshake`] if the proof does not hold.
    pub fn finish(self, answer: &Answer, now: Timestamp) -> Result<(Session, Confirm), SealError> {
        let schedule = Schedule::new(&self.secret, self.me, self.peer, &self.nonce, &answer.nonce);
        schedule.check(RESPONDER, &answer.proof)?;
        let confirm = Confirm { proof: schedule.proof(INITIATOR) };
        let Schedule { session, to_responder, to_initiator, .. } = schedule;
        let sealer = Sealer::new(self.me, self.peer, session, to_responder, now);
        let opener = Opener::new(self.me, self.peer, session, to_initiator);
        Ok((Session { sealer, opener }, confirm))
    }
}

/// The answering side, waiting for a [`Confirm`].
#[derive(Debug)]
pub struct Responder {
    schedule: Schedule,
    me: PartyId,
    peer: PartyId,
}

impl Responder {
    /// Answers a [`Hello`]; `secret` must be that of `me` and the hello's initiator.
    ///
    /// # Errors
    /// [`SealError::Handshake`] if the hello bears our own id (a reflection); [`SealError::Random`].
    pub fn answer(
        secret: &Secret,
        me: PartyId,
        hello: &Hello,
    ) -> Result<(Self, Answer), SealError> {
        if hello.initiator == me {
            return Err(SealError::Handshake);
        }
        let nonce = random_bytes()?;
        let schedule = Schedule::new(secret, hello.initiator, me, &hello.nonce, &nonce);
        let answer = Answer { nonce, proof: schedule.proof(RESPONDER) };
        Ok((Self { schedule, me, peer: hello.initiator }, answer))
    }

    /// Checks the initiator's proof.
    ///
    /// # Errors
    /// [`SealError::Handshake`] if the proof does not hold.
    pub fn finish(self, confirm: &Confirm, now: Timestamp) -> Result<Session, SealError> {
        self.schedule.check(INITIATOR, &confirm.proof)?;
        let Schedule { session, to_responder, to_initiator, .. } = self.schedule;
        let sealer = Sealer::new(self.me, self.peer, session, to_initiator, now);
        let opener = Opener::new(self.me, self.peer, session, to_responder);
        Ok(Session { sealer, opener })
    }
}

/// All that a handshake derives.
#[derive(Debug)]
struct Schedule {
    confirmation: Secret,
    to_responder: DirectionKeys,
    to_initiator: DirectionKeys,
    session: u64,
}

impl Schedule {
    fn new(
        secret: &Secret,
        initiator: PartyId,
        responder: PartyId,
        initiator_nonce: &[u8; 32],
        responder_nonce: &[u8; 32],
    ) -> Self {
        let mut out = Zeroizing::new([0; 128]);
        derive_into(
            "plantwin v1 mailbox session",
            &[
                secret.expose(),
                &initiator.0.to_le_bytes(),
                &responder.0.to_le_bytes(),
                initiator_nonce,
                responder_nonce,
            ],
            &mut *out,
        );
        Self {
            confirmation: Secret::new(cut(&out, 0)),
            to_responder: DirectionKeys {
                key: Secret::new(cut(&out, 32)),
                iv: Iv::new(cut(&out, 64)),
            },
            to_initiator: DirectionKeys {
                key: Secret::new(cut(&out, 76)),
                iv: Iv::new(cut(&out, 108)),
            },
            session: u64::from_le_bytes(cut(&out, 120)),
        }
    }

    fn proof(&self, role: &[u8]) -> [u8; 32] {
        mac(&self.confirmation, &[role])
    }

    fn check(&self, role: &[u8], proof: &[u8; 32]) -> Result<(), SealError> {
        verify_mac(&self.confirmation, &[role], proof).map_err(|_| SealError::Handshake)
    }
}

/// `N` bytes of the derived material; the offsets above are constants within it.
fn cut<const N: usize>(material: &[u8; 128], at: usize) -> [u8; N] {
    let mut piece = [0; N];
    piece.copy_from_slice(&material[at..at + N]);
    piece
}
