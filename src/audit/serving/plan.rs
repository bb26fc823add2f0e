//! The buffers and the rank that a server is told to allocate, and the options that say so.

use std::collections::BTreeSet;

use super::{ServedAdapter, ServerBuffers};

/// What each slot of a server holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPlan {
    /// The places of the buffers in [`ServerBuffers::all`].
    pub buffers: BTreeSet<usize>,
    pub rank: usize,
}

impl ServerPlan {
    /// The least that serves all of these adapters; `None` if there are none, or the runtime has no place or no rank for one.
    pub fn for_adapters(buffers: &ServerBuffers, adapters: &[&ServedAdapter]) -> Option<Self> {
        let needed = adapters.iter().map(|adapter| buffers.needed_by(adapter)).collect::<Option<Vec<_>>>()?;
        let rank = buffers.rules.rank_for(adapters.iter().map(|adapter| adapter.rank).max()?)?;
        Some(Self { buffers: needed.into_iter().flatten().collect(), rank })
    }

    /// What a server allocates for adapters of this rank if no option limits it; `None` if it takes no such rank.
    pub fn unlimited(buffers: &ServerBuffers, rank: usize) -> Option<Self> {
        let least = buffers.rules.default_rank.unwrap_or(0);
        Some(Self { buffers: (0..buffers.all.len()).collect(), rank: buffers.rules.rank_for(rank)?.max(least) })
    }

    /// The bytes of a slot, on one device.
    pub fn bytes(&self, buffers: &ServerBuffers, value_bytes: u64) -> u64 {
        buffers.values(&self.buffers) * self.rank as u64 * value_bytes
    }

    /// The options of the server.
    pub fn flags(&self, buffers: &ServerBuffers) -> String {
        let rules = buffers.rules;
        let names = buffers.names(&self.buffers).join(" ");
        format!("{} {} {} {} {names}", rules.enable, rules.rank, self.rank, rules.modules)
    }
}
