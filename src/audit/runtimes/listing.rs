//! All rules as one value, for programs that compare them with the runtimes themselves.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::flawed::FlawRule;
use super::list::flaws::FLAW_RULES;
use super::memory::BufferRules;
use super::{LoadOutcome, RUNTIMES, Remedy, Runtime};
use crate::model::family::Outside;

/// What `check --list --json` writes.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listing {
    flaws: Vec<ListedFlaw>,
    runtimes: Vec<ListedRuntime>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ListedFlaw {
    flaw: &'static str,
    effects: Vec<ListedEffect>,
}

/// What some runtimes make of a flaw; those of the last effect are all others.
#[derive(Debug, Serialize, JsonSchema)]
struct ListedEffect {
    runtimes: Vec<&'static str>,
    outcome: LoadOutcome,
    because: &'static str,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ListedRuntime {
    name: &'static str,
    version: &'static str,
    repository: &'static str,
    maintenance: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    buffers: Option<ListedBuffers>,
    rules: Vec<ListedRule>,
}

/// How a runtime allocates buffers, as far as its source can be compared with it.
#[derive(Debug, Serialize, JsonSchema)]
struct ListedBuffers {
    decoders: &'static [&'static str],
    merged: BTreeMap<&'static str, &'static [&'static str]>,
    /// The decoders whose embedding, or whose head, can have a buffer.
    embedding: &'static [&'static str],
    head: &'static [&'static str],
    multimodal_stack: &'static str,
    multimodal: &'static [&'static str],
    ranks: &'static [usize],
    default_rank: Option<usize>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ListedRule {
    /// The fact in words.
    fact: String,
    outcome: LoadOutcome,
    because: &'static str,
    /// Values of a server option that the rule names.
    #[serde(skip_serializing_if = "<[usize]>::is_empty")]
    values: &'static [usize],
    file: &'static str,
}

impl Listing {
    pub fn new() -> Self {
        Self {
            flaws: FLAW_RULES.iter().map(|rule| ListedFlaw::of(rule)).collect(),
            runtimes: RUNTIMES.iter().map(|runtime| ListedRuntime::of(runtime)).collect(),
        }
    }
}

impl Default for Listing {
    fn default() -> Self {
        Self::new()
    }
}

impl ListedFlaw {
    fn of(rule: &'static FlawRule) -> Self {
        let names = |those: &[&'static Runtime]| those.iter().map(|one| one.name).collect();
        let known = rule.known.iter().map(|(those, effect)| (names(those), *effect));
        let effect = |(runtimes, (outcome, because)): (Vec<&'static str>, super::flawed::FlawEffect)| ListedEffect {
            runtimes,
            outcome,
            because: because.words(),
        };
        Self { flaw: rule.words, effects: known.chain([(Vec::new(), rule.others)]).map(effect).collect() }
    }
}

impl ListedRuntime {
    fn of(runtime: &'static Runtime) -> Self {
        let rules = runtime.rules.iter().flat_map(|rule| {
            rule.facts.iter().map(|fact| ListedRule {
                fact: fact.to_string(),
                outcome: rule.outcome,
                because: rule.effect,
                values: if let Remedy::Serve(_, values) = rule.remedy { values } else { &[] },
                file: rule.source,
            })
        });
        Self {
            name: runtime.name,
            version: runtime.version,
            repository: runtime.repository,
            maintenance: runtime.maintenance.words(),
            buffers: runtime.memory.buffers().map(ListedBuffers::of),
            rules: rules.collect(),
        }
    }
}

impl ListedBuffers {
    fn of(rules: &'static BufferRules) -> Self {
        let vocabulary = |wanted: Outside| {
            let found = rules.vocabulary.iter().find(|(outside, _)| *outside == wanted);
            found.map_or(&[][..], |(_, decoders)| decoders)
        };
        Self {
            decoders: rules.decoders,
            merged: rules.merged.iter().copied().collect(),
            embedding: vocabulary(Outside::Embedding),
            head: vocabulary(Outside::Head),
            multimodal_stack: rules.multimodal.0,
            multimodal: rules.multimodal.1,
            ranks: rules.ranks,
            default_rank: rules.default_rank,
        }
    }
}
