//! Which twins the list shows: an index that is made anew only when filter or set changed.
//!
//! Absent: the twins themselves; the list reads only those that are on the screen.

use plantwin_model::{PlantView, TwinView};

use super::index::TwinIndex;
use crate::text;

/// Longest filter text in characters.
const LONGEST: usize = 64;

/// The filter and what passes it.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// Lowercase; empty: everything passes.
    text: String,
    /// Place of the only zone to show.
    zone: Option<usize>,
    /// Places of the twins that pass, ascending.
    visible: Vec<u32>,
    /// How many twins were looked at in all.
    #[cfg(test)]
    pub(crate) examined: usize,
}

impl Filter {
    /// The text, lowercase.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The zone.
    pub(crate) fn zone(&self) -> Option<usize> {
        self.zone
    }

    /// Places of the twins that pass.
    pub(crate) fn visible(&self) -> &[u32] {
        &self.visible
    }

    /// Whether anything is filtered out by intent.
    pub(crate) fn is_active(&self) -> bool {
        !self.text.is_empty() || self.zone.is_some()
    }

    /// Adds a character; only what passed so far is looked at again.
    pub(crate) fn push(&mut self, c: char, view: &PlantView, index: &TwinIndex) {
        if self.text.chars().count() < LONGEST {
            self.text.extend(c.to_lowercase());
            let candidates = std::mem::take(&mut self.visible);
            self.keep(candidates.into_iter(), view, index);
        }
    }

    /// Takes the last character away.
    pub(crate) fn pop(&mut self, view: &PlantView, index: &TwinIndex) {
        if self.text.pop().is_some() {
            self.rebuild(view, index);
        }
    }

    /// Drops text and zone.
    pub(crate) fn clear(&mut self, view: &PlantView, index: &TwinIndex) {
        if self.is_active() {
            self.text.clear();
            self.zone = None;
            self.rebuild(view, index);
        }
    }

    /// Drops the text.
    pub(crate) fn clear_text(&mut self, view: &PlantView, index: &TwinIndex) {
        if !self.text.is_empty() {
            self.text.clear();
            self.rebuild(view, index);
        }
    }

    /// Shows one zone, or all.
    pub(crate) fn set_zone(&mut self, zone: Option<usize>, view: &PlantView, index: &TwinIndex) {
        if self.zone != zone {
            self.zone = zone;
            self.rebuild(view, index);
        }
    }

    /// Looks at every twin again.
    pub(crate) fn rebuild(&mut self, view: &PlantView, index: &TwinIndex) {
        if self.zone.is_some_and(|z| z >= index.zones().len()) {
            self.zone = None;
        }
        self.visible.clear();
        self.keep(0..view.twins.len() as u32, view, index);
    }

    fn keep(&mut self, candidates: impl Iterator<Item = u32>, view: &PlantView, index: &TwinIndex) {
        let mut passed = std::mem::take(&mut self.visible);
        for ix in candidates {
            #[cfg(test)]
            {
                self.examined += 1;
            }
            let in_zone = self.zone.is_none_or(|z| index.zone(ix as usize) == Some(z));
            if in_zone
                && (self.text.is_empty()
                    || view.twins.get(ix as usize).is_some_and(|t| self.matches(t)))
            {
                passed.push(ix);
            }
        }
        self.visible = passed;
    }

    fn matches(&self, twin: &TwinView) -> bool {
        [twin.id.as_str(), twin.zone.as_str(), &twin.kind]
            .iter()
            .any(|s| text::contains(s, &self.text))
    }
}
