//! The plant file that a newcomer begins with.
//!
//! Absent: writing it to disk.

use thiserror::Error;

use super::quantity::{is_name, quoted};

/// Why no starter plant was made.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum StarterError {
    /// The name is none.
    #[error("name the plant `{0}`: a letter, then letters, digits, `_` or `-`, at most 64")]
    Name(String),
}

/// A small plant file with comments, named `name`: a tank line of three simulated devices.
pub fn starter_plant(name: &str) -> Result<String, StarterError> {
    if !is_name(name, true) {
        return Err(StarterError::Name(quoted(name)));
    }
    Ok(include_str!("starter.toml").replacen("NAME", name, 1))
}
