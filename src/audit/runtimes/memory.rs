//! What memory a runtime takes for adapters: that of their tensors, or buffers that it allocates before it has any.
//!
//! How a runtime allocates is data (`list/buffers.rs`); [`serving`](crate::audit::serving) computes from it what a server with
//! certain adapters has to allocate, and which options tell it so.

use crate::model::family::Outside;

/// What a runtime allocates for adapters.
#[derive(Debug)]
pub enum AdapterMemory {
    /// The tensors that an adapter has.
    Tensors,
    /// Buffers of the same sizes for each of a fixed number of adapters (a slot), when it starts.
    Buffers(&'static BufferRules),
    /// Nobody has looked it up.
    Unknown,
}

impl AdapterMemory {
    /// The rules of the buffers, if the runtime has buffers.
    pub fn buffers(&self) -> Option<&'static BufferRules> {
        if let AdapterMemory::Buffers(rules) = self { Some(*rules) } else { None }
    }

    /// The end of the sentence "For adapters it allocates …"; `None` if nobody has looked it up.
    pub fn words(&self) -> Option<&'static str> {
        match self {
            AdapterMemory::Tensors => Some("the tensors that they have"),
            AdapterMemory::Buffers(rules) => Some(rules.grain.words()),
            AdapterMemory::Unknown => None,
        }
    }
}

/// How a runtime allocates buffers.
///
/// A slot takes (inputs + outputs) · rank values for each module of the base model that has a buffer; the rank is that of the
/// server, whatever an adapter has.
#[derive(Debug)]
pub struct BufferRules {
    pub grain: BufferGrain,
    /// The decoders of which it is known, by `model_type`.
    pub decoders: &'static [&'static str],
    /// Modules of the base model that are one module of the runtime: its name, and theirs.
    pub merged: &'static [(&'static str, &'static [&'static str])],
    /// What outside the layers can have a buffer, and the decoders for which it can.
    pub vocabulary: &'static [(Outside, &'static [&'static str])],
    /// The multimodal models whose decoder stands elsewhere in the runtime: the stack of its layers, and the `model_type`s.
    pub multimodal: (&'static str, &'static [&'static str]),
    /// The option that switches adapters on.
    pub enable: &'static str,
    /// The option that names what has buffers.
    pub modules: &'static str,
    /// The value of `modules` that means everything; `None` if leaving out the option does.
    pub everything: Option<&'static str>,
    /// The option for the rank of the buffers.
    pub rank: &'static str,
    /// The ranks that it takes, from the smallest; any, if there are none.
    pub ranks: &'static [usize],
    /// The rank without that option; `None` if it is the largest of the adapters.
    pub default_rank: Option<usize>,
    /// What the server does with an adapter that has other modules, as the end of the sentence "The server …".
    pub excess: &'static str,
    /// The file that shows it.
    pub source: &'static str,
}

/// What an option can give buffers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BufferGrain {
    /// Single modules, and types of modules in all layers.
    Modules,
    /// Types of modules in all layers only.
    ModuleTypes,
}

impl BufferGrain {
    fn words(self) -> &'static str {
        match self {
            BufferGrain::Modules => "buffers when it starts, for all modules or for those that an option names",
            BufferGrain::ModuleTypes => "buffers when it starts, for types of modules in all layers",
        }
    }
}

impl BufferRules {
    /// The smallest rank that the option takes and that is at least `needed`; `None` if it takes none so large.
    pub fn rank_for(&self, needed: usize) -> Option<usize> {
        if self.ranks.is_empty() { Some(needed) } else { self.ranks.iter().copied().find(|&rank| rank >= needed) }
    }

    /// The name that the runtime has for the last segment of a module's name.
    pub fn merged_name<'a>(&self, segment: &'a str) -> &'a str {
        let merged = self.merged.iter().find(|(_, parts)| parts.contains(&segment));
        merged.map_or(segment, |(name, _)| name)
    }
}
