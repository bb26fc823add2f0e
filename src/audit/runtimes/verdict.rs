//! Rules and facts put together: what each runtime makes of an adapter, and why.

use schemars::JsonSchema;
use serde::Serialize;

use super::facts::{Subject, highest_rank};
use super::{Outcome, Remedy, Rule, Runtime};
use crate::export::Format;

/// What a runtime makes of an adapter.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Verdict {
    pub name: &'static str,
    /// The version whose files were read.
    pub version: &'static str,
    /// The worst of the reasons; `loads` without one.
    pub verdict: Outcome,
    /// The worst first. Those of the outcome `loads` are conditions, told only where there is nothing worse.
    pub reasons: Vec<Reason>,
}

/// Why a runtime does not simply load an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Reason {
    pub what: String,
    pub outcome: Outcome,
    /// What can be done about it, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The file of the runtime that says so, with its version.
    pub source: String,
}

/// What each of `runtimes` makes of a PEFT folder.
pub fn check(subject: &Subject, runtimes: &[&'static Runtime]) -> Vec<Verdict> {
    runtimes.iter().map(|runtime| verdict(runtime, reasons(subject, runtime, |_| false))).collect()
}

/// What each of `runtimes` makes of an adapter in another form, of which nothing else is known.
pub fn check_form(form: Format, runtimes: &[&'static Runtime]) -> Vec<Verdict> {
    runtimes.iter().map(|runtime| verdict(runtime, unread(form, runtime).into_iter().collect())).collect()
}

/// Why a runtime does not simply load a PEFT folder, but for what is `mended`.
pub(super) fn reasons(subject: &Subject, runtime: &Runtime, mended: impl Fn(&Rule) -> bool) -> Vec<Reason> {
    if let Some(reason) = unread(Format::Peft, runtime) {
        return vec![reason];
    }
    let rank = highest_rank(subject.adapter);
    let reason = |rule: &Rule| {
        let evidence = subject.evidence(rule.fact)?;
        let what = if evidence.is_empty() { rule.effect.into() } else { format!("{evidence}: {}", rule.effect) };
        Some(Reason { what, outcome: rule.outcome, remedy: rule.remedy.say(rank), source: runtime.cite(rule.source) })
    };
    let mut reasons: Vec<Reason> = runtime.rules.iter().filter(|rule| !mended(rule)).filter_map(reason).collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.outcome));
    // On what condition it loads does not matter where it does not.
    if reasons.first().is_some_and(|worst| worst.outcome != Outcome::Loads) {
        reasons.retain(|reason| reason.outcome != Outcome::Loads);
    }
    reasons
}

/// The reason why a runtime does not read a form, if it does not.
pub(super) fn unread(form: Format, runtime: &Runtime) -> Option<Reason> {
    if runtime.reads.contains(&form) {
        return None;
    }
    let best = *runtime.reads.first()?;
    Some(Reason {
        what: format!("{} is not read", form_name(form)),
        outcome: Outcome::Refuses,
        remedy: Remedy::Format(best).say(0),
        source: runtime.cite(runtime.source),
    })
}

fn form_name(form: Format) -> &'static str {
    match form {
        Format::Peft => "a PEFT folder",
        Format::Gguf => "a LoRA GGUF file",
        Format::Mlx => "an MLX-LM folder",
    }
}

fn verdict(runtime: &Runtime, reasons: Vec<Reason>) -> Verdict {
    let verdict = reasons.iter().map(|reason| reason.outcome).max().unwrap_or(Outcome::Loads);
    Verdict { name: runtime.name, version: runtime.version, verdict, reasons }
}
