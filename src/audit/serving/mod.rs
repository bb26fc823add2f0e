//! What a server with certain adapters has to allocate for them, and the options that make it allocate no more.
//!
//! Servers with buffers ([`BufferRules`](super::runtimes::memory::BufferRules)) allocate the same for each slot, whatever the adapter
//! in it has. So layers and ranks that an adapter no longer has save nothing there until the server is told of it: [`plan`]
//! makes the options for all adapters that it will serve, [`given`] checks adapters against the options of a server, and
//! [`fleet`] is what the user sees of it.

mod buffers;
pub mod fleet;
pub mod given;
pub mod plan;
mod served;

use schemars::JsonSchema;
use serde::Serialize;

use super::runtimes::base_facts::BaseFacts;
use super::runtimes::{RUNTIMES, Runtime};
pub use buffers::ServerBuffers;
pub use fleet::{FleetMember, PlannedAdapter, ServerSetup, ServingPlan, SlotPlan};
pub use given::GivenOptions;
pub use plan::ServerPlan;
pub use served::{ModulePlace, ServedAdapter};

/// The bytes of a value in buffers: servers run models in 16 bits unless they are told otherwise.
pub const VALUE_BYTES: u64 = 2;

/// What one adapter costs a server with buffers, per slot, on one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SlotMemory {
    pub runtime: &'static str,
    /// Where no option limits the buffers, in values of 16 bits.
    pub unlimited_bytes: u64,
    /// With the options for the adapter before it was made smaller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole_bytes: Option<u64>,
    /// With the options for this adapter.
    pub bytes: u64,
    /// These options.
    pub flags: String,
}

impl SlotMemory {
    /// What an adapter costs a runtime with buffers; `None` if the runtime has none, or the base model or a module of the
    /// adapter is not known there.
    pub fn of(runtime: &Runtime, base: &BaseFacts, adapter: &ServedAdapter) -> Option<Self> {
        let buffers = ServerBuffers::of(runtime.memory.buffers()?, base)?;
        let plan = ServerPlan::for_adapters(&buffers, &[adapter])?;
        Some(Self {
            runtime: runtime.name,
            unlimited_bytes: ServerPlan::unlimited(&buffers, adapter.rank)?.bytes(&buffers, VALUE_BYTES),
            whole_bytes: None,
            bytes: plan.bytes(&buffers, VALUE_BYTES),
            flags: plan.flags(&buffers),
        })
    }

    /// What an adapter costs each runtime with buffers, and what `whole`, of which it was made, would.
    pub fn of_smaller(base: &BaseFacts, whole: &ServedAdapter, smaller: &ServedAdapter) -> Vec<Self> {
        let of_runtime = |runtime: &&Runtime| {
            let whole_bytes = Self::of(runtime, base, whole).map(|whole| whole.bytes);
            Some(Self { whole_bytes, ..Self::of(runtime, base, smaller)? })
        };
        RUNTIMES.iter().filter_map(of_runtime).collect()
    }
}
