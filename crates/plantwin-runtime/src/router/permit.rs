//! What the policy says to a device's line about its paths.

use std::sync::Arc;

use plantwin_authority::policy::{PathRight, PolicyDesk};
use plantwin_model::DeviceIx;

use crate::line::PathPermit;

/// The paths of one device, as the policy in force permits them.
pub(crate) struct Permits {
    policy: Arc<PolicyDesk>,
    device: DeviceIx,
}

impl Permits {
    pub(crate) const fn new(policy: Arc<PolicyDesk>, device: DeviceIx) -> Self {
        Self { policy, device }
    }

    fn right(&self, rank: usize) -> PathRight {
        self.policy.policy().permits_path(self.device, rank)
    }
}

impl PathPermit for Permits {
    fn refusal(&self, rank: usize) -> Option<String> {
        (self.right(rank) == PathRight::Closed)
            .then(|| "the policy does not permit this path: no conduit carries it".to_owned())
    }

    fn write_refusal(&self, rank: usize) -> Option<String> {
        (self.right(rank) != PathRight::Full)
            .then(|| "the policy lets nothing be written on the path in use".to_owned())
    }
}
