//! The adapter after each step, as a table.

use std::fmt::Write;

use crate::choice::Assessment;
use crate::format::bytes;
use crate::printable::OneLine;
use crate::report::{Report, StepDone};
use crate::rewrite::RankSummary;

/// The table of the steps between empty lines; empty without steps.
pub fn table(report: &Report) -> String {
    let steps = &report.steps;
    if steps.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{}", rows(steps, |step| step.losses.as_ref()));
    if steps.iter().any(|step| step.held_out.is_some()) {
        let _ = write!(text, "on held-out samples:\n{}", rows(steps, |step| step.held_out.as_ref()));
    }
    for step in steps.iter().filter(|step| step.step == "rank" && differ(&step.ranks)) {
        let _ = writeln!(text, "ranks: {}", OneLine(step.ranks.iter().map(ranks).collect::<Vec<_>>().join(", ")));
    }
    text.extend(steps.iter().map(|step| step.details.to_string()));
    text + "\n"
}

fn rows(steps: &[StepDone], losses: impl Fn(&StepDone) -> Option<&Assessment>) -> String {
    let is_evaluated = steps.iter().any(|step| losses(step).is_some());
    let mut head = format!("{:<16} {:>9} {:>9}", "step", "size", "ΔW change");
    if is_evaluated {
        head += &format!(" {:>8} {:>9} {:>10} {:>8}", "loss", "gain kept", "difference", "at most");
    }
    let mut text = head + "\n";
    for step in steps {
        let change = step.change.as_ref().map_or("—".into(), |change| percent(change.relative));
        let _ = write!(text, "{:<16} {:>9} {change:>9}", name(step), bytes(step.bytes));
        if let Some(losses) = losses(step) {
            let gain = losses.gain_kept.map_or("—".into(), |gain| format!("{:.1} %", gain * 100.0));
            let most = losses.difference_at_most.map_or("—".into(), |most| format!("{most:+.4}"));
            let _ = write!(text, " {:>8.4} {gain:>9} {:>+10.4} {most:>8}", losses.loss, losses.difference);
        }
        text.push('\n');
    }
    text
}

/// The step and its setting.
pub fn name(step: &StepDone) -> String {
    match &step.setting {
        Some(setting) => format!("{} {setting}", step.step),
        None => step.step.clone(),
    }
}

/// A share as text, with enough digits for a small one.
pub fn percent(share: f64) -> String {
    // Rounding errors of f64 do not count as a change.
    const ROUNDING: f64 = 1e-12;
    let percent = if share < ROUNDING { 0.0 } else { share * 100.0 };
    if percent == 0.0 || percent >= 0.1 { format!("{percent:.1} %") } else { format!("{percent:.0e} %") }
}

fn differ(summaries: &[RankSummary]) -> bool {
    let ranks = || summaries.iter().flat_map(|summary| [summary.least, summary.most]);
    ranks().min() != ranks().max()
}

/// The ranks of one type of module: `q_proj 2-8, 4.3 on average`.
pub fn ranks(summary: &RankSummary) -> String {
    let RankSummary { module_type, least, most, mean, .. } = summary;
    if least == most {
        format!("{module_type} {most}")
    } else {
        format!("{module_type} {least}-{most} (mean {mean:.1})")
    }
}
