//! All rules as one value, for programs that compare them with the runtimes themselves.

use serde::Serialize;

use super::flawed::FlawRule;
use super::list::flaws::FLAW_RULES;
use super::{LoadOutcome, RUNTIMES, Remedy, Runtime};

/// What `check --list --json` writes.
#[derive(Debug, Serialize)]
pub struct Listing {
    flaws: Vec<ListedFlaw>,
    runtimes: Vec<ListedRuntime>,
}

#[derive(Debug, Serialize)]
struct ListedFlaw {
    flaw: &'static str,
    effects: Vec<ListedEffect>,
}

/// What some runtimes make of a flaw; those of the last effect are all others.
#[derive(Debug, Serialize)]
struct ListedEffect {
    runtimes: Vec<&'static str>,
    outcome: LoadOutcome,
    because: &'static str,
}

#[derive(Debug, Serialize)]
struct ListedRuntime {
    name: &'static str,
    version: &'static str,
    repository: &'static str,
    maintenance: &'static str,
    rules: Vec<ListedRule>,
}

#[derive(Debug, Serialize)]
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
            rules: rules.collect(),
        }
    }
}
