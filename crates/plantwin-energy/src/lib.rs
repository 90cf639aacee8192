//! What talking costs a device.
//!
//! Adapters count the bytes and messages of their protocol; a [`Transport`] adds what IP, UDP or
//! TCP put around them; a [`Profile`] turns that into [`Joules`] at the device's end; a [`Ledger`]
//! adds up and compares with a budget. Everything is seen from the device: *tx* is what it sends.
//!
//! The figures are estimates, good for comparing protocols on one device and for seeing a budget
//! shrink; every coefficient says where it comes from and how far it may be off. Absent:
//! retransmissions by the radio, handshakes (adapters count their bytes like any others),
//! encryption (below 4 µJ per message on a Cortex-M4, less than the bytes it adds), deciding
//! what is worth sending.
//!
//! ```
//! use std::time::Duration;
//! use plantwin_energy::{Joules, Ledger, Profile, Traffic, Transport};
//!
//! let radio = Profile::by_name("esp32c3-wifi").unwrap();
//! let mut ledger = Ledger::new(Some(Joules::new(5_000.0)?));
//! // One MQTT publication of 51 bytes, acknowledged by 4.
//! let exchange = Traffic { tx_bytes: 51, tx_messages: 1, rx_bytes: 4, rx_messages: 1 };
//! let spent = ledger.spend(radio, Transport::Tcp, exchange);
//! ledger.idle(radio, Duration::from_secs(1));
//! assert!(spent.get() > 0.006 && spent.get() < 0.007);
//! assert!(ledger.hours_left().unwrap() > 150.0);
//! # Ok::<(), plantwin_energy::EnergyError>(())
//! ```

mod error;
mod joules;
mod ledger;
mod profile;
mod table;
mod transport;

#[cfg(test)]
mod tests;

pub use error::EnergyError;
pub use joules::Joules;
pub use ledger::Ledger;
pub use profile::{Coefficient, Confidence, Cost, Profile};
pub use transport::{Traffic, Transport, Wire};
