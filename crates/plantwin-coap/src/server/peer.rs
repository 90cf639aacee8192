//! Who a client is to a server.
//!
//! Absent: how a key is proven (see `doors`).

use std::net::SocketAddr;

use crate::dtls::OVERHEAD;

/// A client. The same address without a proven key, or with another one, is somebody else: an
/// address can be forged.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) at: SocketAddr,
    /// Number of the key that it has proven to hold by DTLS.
    pub(crate) key: Option<u16>,
}

impl Peer {
    /// Bytes of a message with the record around it, if any.
    pub(crate) fn on_the_wire(self, message: usize) -> usize {
        if self.key.is_some() { message + OVERHEAD } else { message }
    }
}

impl From<SocketAddr> for Peer {
    fn from(at: SocketAddr) -> Self {
        Self { at, key: None }
    }
}

impl From<([u8; 4], u16)> for Peer {
    fn from(at: ([u8; 4], u16)) -> Self {
        SocketAddr::from(at).into()
    }
}
