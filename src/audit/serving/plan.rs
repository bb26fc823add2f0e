//! The buffers and the rank that a server is told to allocate, and the options that say so.

use std::collections::BTreeSet;

use super::{Buffers, ServedAdapter};

/// What each slot of a server holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPlan {
    /// The places of the buffers in [`Buffers::all`].
    pub buffers: BTreeSet<usize>,
    pub rank: usize,
}

impl ServerPlan {
    /// The least that serves all of these adapters; `None` if there are none, or the runtime has no place or no rank for one.
    pub fn for_adapters(buffers: &Buffers, adapters: &[&ServedAdapter]) -> Option<Self> {
        let needed = adapters.iter().map(|adapter| buffers.needed_by(adapter)).collect::<Option<Vec<_>>>()?;
        let rank = buffers.rules.rank_for(adapters.iter().map(|adapter| adapter.rank).max()?)?;
        Some(Self { buffers: needed.into_iter().flatten().collect(), rank })
    }

    /// The bytes of a slot, on one device.
    pub fn bytes(&self, buffers: &Buffers, value_bytes: u64) -> u64 {
        buffers.values(&self.buffers) * self.rank as u64 * value_bytes
    }

    /// The options of the server.
    pub fn flags(&self, buffers: &Buffers) -> String {
        let rules = buffers.rules;
        let names = buffers.names(&self.buffers).join(" ");
        format!("{} {} {} {} {names}", rules.enable, rules.rank, self.rank, rules.modules)
    }
}
