//! The options of a server that runs already, and whether an adapter fits into its buffers.

use std::collections::BTreeSet;

use super::plan::ServerPlan;
use super::{ModulePlace, ServedAdapter, ServerBuffers};
use crate::adapter::targets::last_segment;
use crate::audit::runtimes::memory::{BufferGrain, BufferRules};

/// What the options of a server say about its buffers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenOptions {
    /// The names of what has buffers; `None` for everything.
    modules: Option<BTreeSet<String>>,
    rank: Option<usize>,
}

/// What of an adapter does not fit into the buffers of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Misfit {
    /// The modules without a buffer, by layer and name, or the types of modules.
    pub left_out: Vec<String>,
    /// Whether its rank is above that of the buffers.
    pub rank_is_higher: bool,
}

impl Misfit {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl GivenOptions {
    /// Reads the options of a command line, of which others are passed over. As the servers do, it takes the last of several, and
    /// `_` for `-`. What is wrong with a rank that the server would not take is the end of a sentence.
    pub fn parse(rules: &BufferRules, flags: &str) -> Result<Self, String> {
        let words: Vec<&str> = flags.split_whitespace().flat_map(|word| word.splitn(2, '=')).collect();
        let values = |option: &str| {
            let place = words.iter().rposition(|word| word.replace('_', "-") == option)?;
            Some(words[place + 1..].iter().take_while(|word| !word.starts_with("--")).copied())
        };
        let name = |name: &str| match rules.grain {
            BufferGrain::Modules => name.to_string(),
            BufferGrain::ModuleTypes => last_segment(name).into(),
        };
        let modules = values(rules.modules).map(|names| names.map(name).collect::<BTreeSet<_>>());
        let rank = match values(rules.rank).map(|mut values| values.next().unwrap_or_default()) {
            Some(given) => {
                let is_one = |rank: &usize| *rank > 0 && (rules.ranks.is_empty() || rules.ranks.contains(rank));
                let rank = given.parse().ok().filter(is_one);
                Some(rank.ok_or_else(|| format!("it takes no `{} {given}`{}", rules.rank, ranks_of(rules)))?)
            }
            None => None,
        };
        Ok(Self { modules: modules.filter(|names| rules.everything.is_none_or(|all| !names.contains(all))), rank })
    }

    /// What the server allocates. A rank that is not given is the runtime's, or else that of the adapters.
    pub fn plan(&self, buffers: &ServerBuffers, adapters: &[&ServedAdapter]) -> ServerPlan {
        let highest = adapters.iter().map(|adapter| adapter.rank).max().unwrap_or(0);
        let rank = self.rank.or(buffers.rules.default_rank).unwrap_or(highest);
        let has_buffer = |place: &usize| self.modules.as_ref().is_none_or(|names| named(buffers, *place, names));
        ServerPlan { buffers: (0..buffers.all.len()).filter(has_buffer).collect(), rank }
    }
}

/// The ranks that there are, as the end of a sentence.
fn ranks_of(rules: &BufferRules) -> String {
    let ranks = rules.ranks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if ranks.is_empty() { String::new() } else { format!(": there are {ranks}") }
}

/// Whether an option that has these names gives a module a buffer: by its whole name, its type, or a type that was merged into it.
fn named(buffers: &ServerBuffers, place: usize, names: &BTreeSet<String>) -> bool {
    let (buffer, rules) = (&buffers.all[place], buffers.rules);
    let parts = rules.merged.iter().find(|(name, _)| *name == buffer.module_type()).map_or(&[][..], |(_, parts)| parts);
    names.contains(&buffer.name)
        || names.contains(buffer.module_type())
        || parts.iter().any(|part| names.contains(*part))
}

impl ServerPlan {
    /// What of an adapter does not fit into these buffers.
    pub fn misfit(&self, buffers: &ServerBuffers, adapter: &ServedAdapter) -> Misfit {
        let has_type = |name: &&str| self.buffers.iter().any(|&place| buffers.all[place].module_type() == *name);
        let has_module =
            |module: &&ModulePlace| buffers.place_of(module).is_some_and(|place| self.buffers.contains(&place));
        let left_out = match buffers.rules.grain {
            BufferGrain::Modules => {
                adapter.modules.iter().filter(|module| !has_module(module)).map(ToString::to_string).collect()
            }
            BufferGrain::ModuleTypes => {
                buffers.types_of(adapter).into_iter().filter(|name| !has_type(name)).map(String::from).collect()
            }
        };
        Misfit { left_out, rank_is_higher: adapter.rank > self.rank }
    }
}
