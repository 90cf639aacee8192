//! Bytes really sent and received, counted by the adapter where it meets the socket.
//!
//! Counted are the bytes of the protocol itself (application layer, with TLS or DTLS records if
//! any); `plantwin-energy` adds what IP and the radio put around them. "Up" is from the device
//! to plantwin.

use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Shared counters of one link.
#[derive(Debug, Default)]
pub struct Traffic {
    up_bytes: AtomicU64,
    up_packets: AtomicU64,
    down_bytes: AtomicU64,
    down_packets: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TrafficSnapshot {
    /// Bytes from the device.
    pub up_bytes: u64,
    /// Messages (datagrams, or writes to a stream) from the device.
    pub up_packets: u64,
    /// Bytes to the device.
    pub down_bytes: u64,
    /// Messages to the device.
    pub down_packets: u64,
}

impl Traffic {
    /// Counts one message from the device.
    pub fn up(&self, bytes: usize) {
        self.up_bytes.fetch_add(bytes as u64, Relaxed);
        self.up_packets.fetch_add(1, Relaxed);
    }

    /// Counts one message to the device.
    pub fn down(&self, bytes: usize) {
        self.down_bytes.fetch_add(bytes as u64, Relaxed);
        self.down_packets.fetch_add(1, Relaxed);
    }

    /// Reads all counters.
    pub fn snapshot(&self) -> TrafficSnapshot {
        TrafficSnapshot {
            up_bytes: self.up_bytes.load(Relaxed),
            up_packets: self.up_packets.load(Relaxed),
            down_bytes: self.down_bytes.load(Relaxed),
            down_packets: self.down_packets.load(Relaxed),
        }
    }
}
