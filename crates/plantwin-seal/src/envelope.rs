//! A sealed message: one buffer of header, ciphertext and tag, typed by what is inside.
//!
//! The type parameter is a promise of the sender which the opener checks: the header carries the
//! message's [`Content::CONTENT_TYPE`] and is authenticated. Absent: keys. An envelope can be
//! moved, stored and routed by anybody, and is deliberately not `Clone`: there is one of it, and
//! whoever holds it is responsible for it.

use std::{fmt, marker::PhantomData};

use crate::{
    HEADER_BYTES, Header, MAX_ENVELOPE_BYTES, OVERHEAD_BYTES, SealError, header::TAG_BYTES,
};

#[cfg(test)]
mod tests;

/// A message type that may be sealed.
///
/// The number tells message types apart on the wire, so it must be unique among the types that two
/// parties exchange, and must not be reused for another layout. Add `Serialize` to seal it and
/// `DeserializeOwned` to open it.
pub trait Content {
    /// The type's number in the header.
    const CONTENT_TYPE: u16;
}

/// A sealed message of type `M`; `Sealed<[u8]>` holds plain bytes.
pub struct Sealed<M: ?Sized> {
    bytes: Vec<u8>,
    header: Header,
    content: PhantomData<fn() -> M>,
}

impl<M: ?Sized> Sealed<M> {
    /// Takes over the bytes of an envelope, checking length, version and lane and nothing else.
    ///
    /// # Errors
    /// [`SealError::Length`], [`SealError::Version`] or [`SealError::Lane`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, SealError> {
        if !(OVERHEAD_BYTES..=MAX_ENVELOPE_BYTES).contains(&bytes.len()) {
            return Err(SealError::Length(bytes.len()));
        }
        let raw = bytes.first_chunk().ok_or(SealError::Length(bytes.len()))?;
        let header = Header::decode(raw)?;
        Ok(Self { bytes, header, content: PhantomData })
    }

    /// Wraps what a sealer has just written.
    pub(crate) const fn from_parts(header: Header, bytes: Vec<u8>) -> Self {
        Self { bytes, header, content: PhantomData }
    }

    /// The bytes, for a wire, a spool or another thread.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The whole envelope's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The header. Not to be trusted before the envelope was opened.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Length of the message inside, in bytes.
    pub fn payload_len(&self) -> usize {
        self.bytes.len().saturating_sub(OVERHEAD_BYTES)
    }

    /// Ciphertext and tag.
    pub(crate) fn body(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// The header's bytes: the associated data.
    pub(crate) fn aad(&self) -> [u8; HEADER_BYTES] {
        // Decoding is strict, so encoding the parsed header gives back the bytes it came from.
        self.header.encode()
    }
}

impl<M: ?Sized> fmt::Debug for Sealed<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("header", &self.header)
            .field("payload_len", &self.payload_len())
            .finish_non_exhaustive()
    }
}

const _: () = assert!(OVERHEAD_BYTES == HEADER_BYTES + TAG_BYTES && OVERHEAD_BYTES == 64);
