//! Names and indices.
//!
//! A *name* ([`DeviceId`], [`ZoneId`], ...) is what a person writes in a plant file.
//! An *index* ([`DeviceIx`], [`PointIx`], ...) is its place in a checked [`crate::PlantSpec`]
//! and is what fast paths carry. Absent: any meaning beyond identity.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a name; the plant file checker has already refused names that are no identifiers.
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            /// The name as written in the plant file.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }
    };
}

macro_rules! index {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The place as an array index.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

name! {
    /// A device, and so its twin: unique in a plant.
    DeviceId
}
name! {
    /// A zone of a plant (IEC 62443: a grouping of devices that share trust).
    ZoneId
}
name! {
    /// An alarm in full: `device.alarm`.
    AlarmId
}

index! {
    /// Place of a device in [`crate::PlantSpec::devices`].
    DeviceIx, u32
}
index! {
    /// Place of a zone in [`crate::PlantSpec::zones`].
    ZoneIx, u16
}
index! {
    /// Place of a property in [`crate::TwinType::points`].
    PointIx, u16
}
