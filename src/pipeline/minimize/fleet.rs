//! What the adapters of a fleet have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::format::plural;

/// A layer, and the name of a module inside it: the same in all adapters of a base model.
pub type Place = (usize, String);

/// The ranks that all adapters of a fleet keep.
#[derive(Debug, Clone, PartialEq)]
pub struct Common {
    /// By place; a module that is not here is dropped.
    pub ranks: BTreeMap<Place, usize>,
    /// The one-sided confidence that each adapter was tested at.
    pub confidence: f64,
    /// The adapters that took part.
    pub adapters: usize,
}

impl fmt::Display for Common {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rank = self.ranks.values().copied().max().unwrap_or(0);
        let layers: BTreeSet<usize> = self.ranks.keys().map(|(layer, _)| *layer).collect();
        let (modules, layers) = (plural(self.ranks.len(), "module"), plural(layers.len(), "layer"));
        write!(f, "rank {rank} of {modules} in {layers} is as good for all of {}", plural(self.adapters, "adapter"))
    }
}
