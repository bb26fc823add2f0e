//! The answer in one sentence: what is left of the adapter, and the gravest objection to it.

use serde::Serialize;

use super::filters::plural;
use crate::format::bytes;
use crate::report::{Output, Report};

/// How a result is to be taken; the page colours its first sentence by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Nothing speaks against it.
    Good,
    /// A warning wants to be read.
    Doubtful,
    /// It is worse than the whole adapter or the base model, or a gate failed.
    Bad,
}

/// The end of the sentence by the code of a warning, the gravest first, and how the result is to be taken then.
const OBJECTIONS: [(&str, Standing, &str); 7] = [
    ("worse-than-base", Standing::Bad, "but the adapter is worse than the base model"),
    ("lower-scores", Standing::Bad, "but generated answers are worse"),
    ("gives-up-probability", Standing::Bad, "but true tokens are less likely"),
    ("fewer-correct", Standing::Bad, "but fewer answers are correct"),
    ("runs-on", Standing::Bad, "but answers run on"),
    ("prefix-helps", Standing::Doubtful, "but the whole adapter is not shown to help"),
    ("unproven-help", Standing::Doubtful, "but the samples do not show that the adapter helps"),
];

/// The sentence, without an end.
pub fn headline(report: &Report) -> String {
    let result = result(report);
    let objection = objection(report).map_or(String::new(), |(_, end)| format!(", {end}"));
    match failed_gates(report) {
        0 => result + &objection,
        1 => format!("A gate failed: {result}{objection}"),
        failed => format!("{failed} gates failed: {result}{objection}"),
    }
}

/// How the sentence is to be taken.
pub fn standing(report: &Report) -> Standing {
    let is_refused = report.chosen.as_ref().is_some_and(|choice| choice.boundary() == 0);
    match objection(report) {
        _ if is_refused || failed_gates(report) > 0 => Standing::Bad,
        Some((standing, _)) => standing,
        None if report.warnings.is_empty() => Standing::Good,
        None => Standing::Doubtful,
    }
}

fn failed_gates(report: &Report) -> usize {
    report.gates.iter().filter(|gate| !gate.passed).count()
}

/// The first objection that a warning stands for. Boundary 0 is an objection itself.
fn objection(report: &Report) -> Option<(Standing, &'static str)> {
    let has = |code: &str| report.warnings.iter().any(|warning| warning.code == code);
    let found = OBJECTIONS.into_iter().find(|(code, ..)| has(code));
    found.filter(|_| report.output.is_some()).map(|(_, standing, end)| (standing, end))
}

/// What is left of the adapter.
fn result(report: &Report) -> String {
    let all = report.adapter.layers.len();
    let kept = match (&report.chosen, &report.output) {
        (Some(choice), _) if choice.boundary() == 0 => return "The adapter does not help on these samples".into(),
        (_, None) => return "No boundary was chosen".into(),
        (_, Some(output)) if report.minimized.as_ref().is_some_and(|minimized| !minimized.kept.is_empty()) => {
            format!("{} of {} are kept", bytes(output.bytes_after), bytes(output.bytes_before))
        }
        (_, Some(output)) => match output.kept_layers.len() {
            1 if all == 1 => "The only layer is kept".into(),
            kept if kept == all => format!("All {all} layers are kept"),
            1 => format!("1 of {all} layers is kept"),
            kept => format!("{kept} of {} are kept", plural(all, "layer", None)),
        },
    };
    kept + &report.output.as_ref().and_then(saved).map_or(String::new(), |saved| format!(", {saved}"))
}

/// `17 % smaller`; `None` where the sizes are the same.
fn saved(output: &Output) -> Option<String> {
    let saved = 100.0 * (1.0 - output.bytes_after as f64 / output.bytes_before.max(1) as f64);
    let decimals = if saved.abs() < 10.0 { 1 } else { 0 };
    let word = if saved < 0.0 { "larger" } else { "smaller" };
    (output.bytes_after != output.bytes_before).then(|| format!("{:.decimals$} % {word}", saved.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::AdapterInput;
    use crate::report::warnings::{Finding, WARNINGS};

    fn report(codes: &[&str]) -> Report {
        let (path, layers) = ("a".into(), (0..30).collect());
        let adapter = AdapterInput { path, files: vec![], rank: None, alpha: None, layers, not_copied: vec![] };
        let output = Output {
            kept_layers: (0..18).collect(),
            stacks: None,
            tensors_before: 60,
            tensors_after: 36,
            bytes_before: 1000,
            bytes_after: 600,
            format: None,
        };
        let warnings = codes.iter().map(|code| Finding::new("a finding").coded(code)).collect();
        Report { output: Some(output), warnings, ..Report::of(adapter) }
    }

    #[test]
    fn the_gravest_warning_is_part_of_the_sentence() {
        let plain = "18 of 30 layers are kept, 40 % smaller";
        assert_eq!((headline(&report(&[])), standing(&report(&[]))), (plain.into(), Standing::Good));
        let few = report(&["few-samples"]);
        assert_eq!((headline(&few), standing(&few)), (plain.into(), Standing::Doubtful));
        let worse = report(&["lower-scores", "runs-on", "few-samples"]);
        assert_eq!(headline(&worse), format!("{plain}, but generated answers are worse"));
        assert_eq!(standing(&worse), Standing::Bad);
    }

    #[test]
    fn objections_are_warnings() {
        for (code, ..) in OBJECTIONS {
            assert!(WARNINGS.iter().any(|(known, _)| *known == code), "{code}");
        }
    }
}
