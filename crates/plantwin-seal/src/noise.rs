//! Noise: how a device and its gateway, who share no memory, come to a session.
//!
//! `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s` (Noise Protocol Framework, revision 34) by `snow`. Who
//! begins knows the other's static key; who answers learns the beginner's key from the first
//! message, and only then can tell which pre-shared key belongs to it. Both directions' keys of
//! the resulting [`Session`] are derived from Noise's split and the handshake's hash, so that
//! they belong to this handshake alone. Inside Noise the hash stays BLAKE2s: BLAKE3 is no Noise
//! function.
//!
//! The first message can be replayed by anybody who recorded it: its payload must command
//! nothing. Nothing that arrives is believed before its tag holds, and a refused second message
//! leaves the beginner as it was. Absent: whose keys are trusted, tokens, framing, time limits
//! of a session (see the authority).

use std::fmt;

use plantwin_model::Timestamp;
use serde::{Deserialize, Serialize};
use snow::{Builder, HandshakeState, params::NoiseParams};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    Opener, PartyId, SealError, Sealer, Secret, Session, derive_key,
    epoch::{DirectionKeys, Iv},
    primitives::derive_into,
    random_bytes,
};

#[cfg(test)]
mod tests;

const IK: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const N: &str = "Noise_N_25519_ChaChaPoly_BLAKE2s";
/// What the first message adds to its payload, in bytes: two keys and two tags.
const FIRST_OVERHEAD: usize = 32 + 48 + 16;
/// What the second message and a sealed box add, in bytes: a key and a tag.
const KEY_AND_TAG: usize = 32 + 16;
/// Longest payload of a handshake message, in bytes.
pub const PAYLOAD_LIMIT: usize = 4096;

/// A secret X25519 key (RFC 7748): wiped when dropped, never printed.
#[derive(Clone)]
pub struct DhKey(StaticSecret);

/// The public half of a [`DhKey`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DhPublic([u8; 32]);

impl DhKey {
    /// A fresh key.
    pub fn generate() -> Result<Self, SealError> {
        let seed = Zeroizing::new(random_bytes::<32>()?);
        Ok(Self::from_bytes(&seed))
    }

    /// The key of these 32 bytes; they are clamped as RFC 7748 asks.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(StaticSecret::from(*bytes))
    }

    /// The secret, for storing it under protection. Named so that it stands out in review.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The public half.
    pub fn public(&self) -> DhPublic {
        DhPublic(PublicKey::from(&self.0).to_bytes())
    }
}

impl DhPublic {
    /// Takes over a key's bytes. One of small order is refused when it is used.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What a finished handshake gives to one end.
#[derive(Debug)]
pub struct Established {
    /// Seals to the peer and opens from it.
    pub session: Session,
    /// Hash over all that was said: a signature over it belongs to this handshake alone.
    pub hash: [u8; 32],
}

/// Who began, waiting for the second message.
pub struct Initiator(HandshakeState);

impl Initiator {
    /// Begins: the first message carries `payload`, readable by the holder of `peer` alone.
    ///
    /// # Errors
    /// [`SealError::Length`] for more than [`PAYLOAD_LIMIT`] bytes, [`SealError::Handshake`].
    pub fn start(
        my: &DhKey,
        peer: &DhPublic,
        prologue: &[u8],
        psk: &Secret,
        payload: &[u8],
    ) -> Result<(Self, Vec<u8>), SealError> {
        refuse_small_order(peer)?;
        let state = Builder::new(params(IK)?)
            .prologue(prologue)
            .and_then(|b| b.local_private_key(my.expose()))
            .and_then(|b| b.remote_public_key(peer.as_bytes()))
            .and_then(|b| b.psk(2, psk.expose()))
            .and_then(Builder::build_initiator);
        let mut state = state.map_err(refused)?;
        let message = write(&mut state, payload, FIRST_OVERHEAD)?;
        Ok((Self(state), message))
    }

    /// Reads the second message. After an error it waits for the true one.
    ///
    /// # Errors
    /// [`SealError::Length`]; [`SealError::Handshake`] if the message is not by the holder of the
    /// peer's key and of the pre-shared key, belongs to another handshake, or was read before.
    pub fn finish(
        &mut self,
        second: &[u8],
        me: PartyId,
        peer: PartyId,
        now: Timestamp,
    ) -> Result<(Vec<u8>, Established), SealError> {
        let payload = read(&mut self.0, second, KEY_AND_TAG)?;
        Ok((payload, establish(&mut self.0, true, me, peer, now)?))
    }
}

/// Who was called and has read the first message.
pub struct Responder(HandshakeState);

impl Responder {
    /// Reads a first message: who sent it by its key, and what it carries. Neither is proved
    /// before the beginner's next sealed message is opened: this one may be a replay.
    ///
    /// # Errors
    /// [`SealError::Length`]; [`SealError::Handshake`] if it was not made for this key and
    /// prologue.
    pub fn read(
        my: &DhKey,
        prologue: &[u8],
        first: &[u8],
    ) -> Result<(Self, DhPublic, Vec<u8>), SealError> {
        // The sender's ephemeral key stands in front.
        let (ephemeral, _) = first.split_first_chunk().ok_or(SealError::Length(first.len()))?;
        refuse_small_order(&DhPublic(*ephemeral))?;
        let state = Builder::new(params(IK)?)
            .prologue(prologue)
            .and_then(|b| b.local_private_key(my.expose()))
            .and_then(Builder::build_responder);
        let mut state = state.map_err(refused)?;
        let payload = read(&mut state, first, FIRST_OVERHEAD)?;
        let peer = state.get_remote_static().and_then(|key| key.first_chunk::<32>());
        let peer = DhPublic(*peer.ok_or(SealError::Handshake)?);
        refuse_small_order(&peer)?;
        Ok((Self(state), peer, payload))
    }

    /// Answers with the pre-shared key that belongs to the beginner.
    ///
    /// # Errors
    /// [`SealError::Length`] for more than [`PAYLOAD_LIMIT`] bytes, [`SealError::Handshake`].
    pub fn answer(
        mut self,
        psk: &Secret,
        payload: &[u8],
        me: PartyId,
        peer: PartyId,
        now: Timestamp,
    ) -> Result<(Vec<u8>, Established), SealError> {
        self.0.set_psk(2, psk.expose()).map_err(refused)?;
        let second = write(&mut self.0, payload, KEY_AND_TAG)?;
        Ok((second, establish(&mut self.0, false, me, peer, now)?))
    }
}

/// Seals `plain` so that only the holder of `to` can open it, and only under the same context.
/// Says nothing of who sealed it.
///
/// # Errors
/// [`SealError::Length`] for more than [`PAYLOAD_LIMIT`] bytes, [`SealError::Handshake`].
pub fn seal_to(to: &DhPublic, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
    refuse_small_order(to)?;
    let state = Builder::new(params(N)?)
        .prologue(context)
        .and_then(|b| b.remote_public_key(to.as_bytes()))
        .and_then(Builder::build_initiator);
    write(&mut state.map_err(refused)?, plain, KEY_AND_TAG)
}

/// Opens what [`seal_to`] made for this key under the same context.
///
/// # Errors
/// [`SealError::Length`], [`SealError::Handshake`].
pub fn open_from(my: &DhKey, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let state = Builder::new(params(N)?)
        .prologue(context)
        .and_then(|b| b.local_private_key(my.expose()))
        .and_then(Builder::build_responder);
    read(&mut state.map_err(refused)?, sealed, KEY_AND_TAG)
}

fn params(name: &str) -> Result<NoiseParams, SealError> {
    name.parse().map_err(refused)
}

/// Why Noise refused is for nobody but a developer to know.
fn refused(_: snow::Error) -> SealError {
    SealError::Handshake
}

/// A key whose products are zero for everybody would take the peer out of the secret.
fn refuse_small_order(key: &DhPublic) -> Result<(), SealError> {
    let probe = StaticSecret::from([1; 32]).diffie_hellman(&PublicKey::from(key.0));
    if probe.was_contributory() { Ok(()) } else { Err(SealError::PublicKey) }
}

fn write(
    state: &mut HandshakeState,
    payload: &[u8],
    overhead: usize,
) -> Result<Vec<u8>, SealError> {
    if payload.len() > PAYLOAD_LIMIT {
        return Err(SealError::Length(payload.len()));
    }
    let mut message = vec![0; payload.len() + overhead];
    let written = state.write_message(payload, &mut message).map_err(refused)?;
    message.truncate(written);
    Ok(message)
}

fn read(state: &mut HandshakeState, message: &[u8], overhead: usize) -> Result<Vec<u8>, SealError> {
    if !(overhead..=PAYLOAD_LIMIT + overhead).contains(&message.len()) {
        return Err(SealError::Length(message.len()));
    }
    let mut payload = vec![0; message.len()];
    match state.read_message(message, &mut payload) {
        Ok(length) => payload.truncate(length),
        Err(error) => {
            payload.zeroize();
            return Err(refused(error));
        }
    }
    Ok(payload)
}

/// Turns a finished handshake into a session; `first` for who began.
fn establish(
    state: &mut HandshakeState,
    first: bool,
    me: PartyId,
    peer: PartyId,
    now: Timestamp,
) -> Result<Established, SealError> {
    if !state.is_handshake_finished() || me == peer {
        return Err(SealError::Handshake);
    }
    let hash = *state.get_handshake_hash().first_chunk::<32>().ok_or(SealError::Handshake)?;
    let (to_second, to_first) = state.dangerously_get_raw_split();
    let (to_second, to_first) = (Zeroizing::new(to_second), Zeroizing::new(to_first));
    let number = derive_key("plantwin v1 device session number", &[&hash]);
    let session = u64::from_le_bytes(*number.expose().first_chunk().ok_or(SealError::Handshake)?);
    let (sends, receives) = if first { (to_second, to_first) } else { (to_first, to_second) };
    let session = Session {
        sealer: Sealer::new(me, peer, session, direction(&sends, &hash), now),
        opener: Opener::new(me, peer, session, direction(&receives, &hash)),
    };
    Ok(Established { session, hash })
}

fn direction(split: &[u8; 32], hash: &[u8; 32]) -> DirectionKeys {
    let mut out = Zeroizing::new([0; 44]);
    derive_into("plantwin v1 device session", &[split, hash], &mut *out);
    let (mut key, mut iv) = ([0; 32], [0; 12]);
    key.copy_from_slice(&out[..32]);
    iv.copy_from_slice(&out[32..]);
    let keys = DirectionKeys { key: Secret::new(key), iv: Iv::new(iv) };
    key.zeroize();
    iv.zeroize();
    keys
}

impl fmt::Debug for DhKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DhKey(.., {:?})", self.public())
    }
}

impl fmt::Debug for DhPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g, h, i, ..] = self.0;
        write!(f, "DhPublic({:016x})", u64::from_be_bytes([a, b, c, d, e, g, h, i]))
    }
}

impl fmt::Debug for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Initiator(..)")
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Responder(..)")
    }
}
