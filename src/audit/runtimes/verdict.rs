//! Rules, facts and flaws put together: what each runtime makes of an adapter, and why.

use schemars::JsonSchema;
use serde::Serialize;

use super::facts::{AdapterFacts, highest_rank};
use super::flawed::Gravity;
use super::{LoadOutcome, LoadRule, Remedy, Runtime};
use crate::audit::flaws::Flaw;
use crate::export::Format;

/// What a runtime makes of an adapter.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RuntimeVerdict {
    pub name: &'static str,
    /// The version whose files were read.
    pub version: &'static str,
    /// The worst of the reasons; `loads` without one.
    pub verdict: LoadOutcome,
    /// The worst first. Those of the outcome `loads` are conditions, given only where there is nothing worse.
    pub reasons: Vec<LoadReason>,
}

/// Why a runtime does not simply load an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LoadReason {
    pub what: String,
    pub outcome: LoadOutcome,
    /// What can be done about it, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The file of the runtime that says so, with its version.
    pub source: String,
}

/// What a runtime makes of a PEFT folder.
pub(in crate::audit) fn of(runtime: &'static Runtime, facts: &AdapterFacts) -> RuntimeVerdict {
    verdict(runtime, reasons(facts, runtime, |_| false))
}

/// What each of `runtimes` makes of an adapter in another format, of which nothing else is known.
pub fn check_format(format: Format, runtimes: &[&'static Runtime]) -> Vec<RuntimeVerdict> {
    runtimes.iter().map(|runtime| verdict(runtime, unread(format, runtime).into_iter().collect())).collect()
}

/// Why a runtime does not simply load a PEFT folder, but for the reasons whose remedy is `applied`.
pub(super) fn reasons(facts: &AdapterFacts, runtime: &Runtime, applied: impl Fn(Remedy) -> bool) -> Vec<LoadReason> {
    if let Some(reason) = unread(Format::Peft, runtime) {
        return vec![reason];
    }
    let rank = highest_rank(facts.adapter);
    let of_rule = |rule: &'static LoadRule| {
        rule.facts.iter().filter_map(|fact| facts.evidence(*fact)).map(move |evidence| LoadReason {
            what: if evidence.is_empty() { rule.effect.into() } else { format!("{evidence}: {}", rule.effect) },
            outcome: rule.outcome,
            remedy: rule.remedy.say(rank),
            source: runtime.cite(rule.source),
        })
    };
    let of_flaw = |flaw: &Flaw| match flaw.gravity() {
        Gravity::Wrong(rule) if !applied(rule.remedy) => {
            let (outcome, what) = flaw.effect_in(runtime)?;
            let remedy = rule.remedy.say(rank).filter(|_| outcome != LoadOutcome::Loads);
            Some(LoadReason { what, outcome, remedy, source: runtime.cite(runtime.source) })
        }
        _ => None,
    };
    let rules = runtime.rules.iter().filter(|rule| !applied(rule.remedy));
    let mut reasons: Vec<LoadReason> =
        facts.flaws().iter().filter_map(of_flaw).chain(rules.flat_map(of_rule)).collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.outcome));
    // Conditions for loading do not matter where it does not load.
    if reasons.first().is_some_and(|worst| worst.outcome != LoadOutcome::Loads) {
        reasons.retain(|reason| reason.outcome != LoadOutcome::Loads);
    }
    reasons
}

/// The reason why a runtime does not read a format, if it does not.
pub(super) fn unread(format: Format, runtime: &Runtime) -> Option<LoadReason> {
    if runtime.reads.contains(&format) {
        return None;
    }
    let best = *runtime.reads.first()?;
    Some(LoadReason {
        what: format!("{} is not read", format.description()),
        outcome: LoadOutcome::Refuses,
        remedy: Remedy::Format(best).say(0),
        source: runtime.cite(runtime.source),
    })
}

fn verdict(runtime: &Runtime, reasons: Vec<LoadReason>) -> RuntimeVerdict {
    let verdict = reasons.iter().map(|reason| reason.outcome).max().unwrap_or(LoadOutcome::Loads);
    RuntimeVerdict { name: runtime.name, version: runtime.version, verdict, reasons }
}
