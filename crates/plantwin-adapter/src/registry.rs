//! The protocols of a build, by name.

use std::sync::Arc;

use crate::{Protocol, ProtocolSchema};

/// All protocols that this build speaks. The CLI fills it, one explicit line each.
#[derive(Clone, Default)]
pub struct Registry(Vec<Arc<dyn Protocol>>);

impl Registry {
    /// No protocol.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a protocol.
    pub fn with(mut self, protocol: impl Protocol + 'static) -> Self {
        self.0.push(Arc::new(protocol));
        self
    }

    /// The protocol of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Protocol>> {
        self.0.iter().find(|p| p.schema().name == name)
    }

    /// All protocols in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Protocol>> {
        self.0.iter()
    }

    /// Schemas for the file checker.
    pub fn schemas(&self) -> Vec<&'static ProtocolSchema> {
        self.0.iter().map(|p| p.schema()).collect()
    }
}
