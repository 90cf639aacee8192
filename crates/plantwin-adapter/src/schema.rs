//! What a protocol may be told in a plant file, as data.
//!
//! The file checker reads this to find unknown keys, wrong types and addresses used twice
//! without knowing any protocol. The types live in the model, because checking is its work.

pub use plantwin_model::{ProtocolSchema, SettingKind, SettingSchema};
