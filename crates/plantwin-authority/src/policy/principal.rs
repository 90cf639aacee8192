//! Who asks.

use std::{fmt, sync::Arc};

use plantwin_model::{Role, UserSpec};

/// Whoever asks for something. Whoever lets them in has made sure of it; what they are allowed
/// follows from the policy in force when they ask, not from when they came.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Principal(Kind);

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Kind {
    User(Arc<str>),
    Owner(Role),
    Stranger(u32),
}

impl Principal {
    /// A user of the plant file.
    pub fn user(user: &UserSpec) -> Self {
        Self(Kind::User(Arc::clone(&user.name)))
    }

    /// Whoever runs the plant, in the role they choose. All owners are one person. In a plant
    /// file with users an owner who is none of them only looks.
    pub const fn owner(role: Role) -> Self {
        Self(Kind::Owner(role))
    }

    /// Somebody of whom only the operating system's number is known: they look, and no more.
    pub const fn stranger(uid: u32) -> Self {
        Self(Kind::Stranger(uid))
    }

    /// The name of a user of the plant file.
    pub fn user_name(&self) -> Option<&str> {
        match &self.0 {
            Kind::User(name) => Some(name),
            Kind::Owner(_) | Kind::Stranger(_) => None,
        }
    }

    pub(super) const fn kind(&self) -> &Kind {
        &self.0
    }
}

impl fmt::Display for Principal {
    /// As the audit names it; nobody can be a user of the names in brackets or with `=`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::User(name) => write!(f, "user:{name}"),
            Kind::Owner(_) => f.write_str("user:(owner)"),
            Kind::Stranger(uid) => write!(f, "user:uid={uid}"),
        }
    }
}
