//! What `--minimize` kept, and the sizes that were measured.

use std::fmt::Write;

use crate::format::{bytes, percent};
use crate::report::Report;
use crate::report::minimized::{FrontierPoint, KeptType, Minimized, SampleRole};

/// The frontier as a table, and what is kept of each type of module.
pub fn table(report: &Report) -> String {
    let Some(minimized) = &report.minimized else { return String::new() };
    let mut text = String::from(
        "\n     bytes  modules  ranks  measured on    costs more than the whole adapter (at most; allowed)\n",
    );
    for point in &minimized.frontier {
        let _ = writeln!(text, "{}", line(point));
    }
    let reason = reason(report).map(|reason| format!("written: {reason}\n")).unwrap_or_default();
    text + &reason + &finding(minimized)
}

/// Why this size is written.
pub fn reason(report: &Report) -> Option<String> {
    let (minimized, options) = (report.minimized.as_ref()?, report.options.as_ref()?);
    let (confidence, margin) = (percent(options.confidence), percent(options.margin));
    Some(match minimized.objective {
        _ if minimized.kept.is_empty() => "nothing smaller can be shown to be as good".into(),
        "loss" => "what matters most to the loss fits into this size".into(),
        _ => format!(
            "the smallest size that gives up, with {confidence} % confidence, at most {margin} % of the adapter's gain in {}, on {} samples \
             that had no part in the search",
            options.judged_by(),
            minimized.testing_samples
        ),
    })
}

fn line(point: &FrontierPoint) -> String {
    let role = match point.role {
        SampleRole::Ranking => "ranking",
        SampleRole::Testing => "testing",
    };
    let against = point.against.iter().map(|one| {
        let most = one.difference_at_most.map_or("-".into(), |most| format!("{most:+.4}"));
        format!("{} {:+.4} ({most}; {:.4})", one.measure.short(), one.difference, one.margin)
    });
    let against = against.collect::<Vec<_>>().join("  ");
    let verdict = match point.holds {
        Some(true) if point.chosen => "  written",
        Some(true) => "  holds",
        Some(false) => "  cannot be shown to hold",
        None if point.chosen => "  written",
        None => "",
    };
    let FrontierPoint { bytes: size, modules, ranks, samples, .. } = point;
    format!("{:>10}  {modules:>7}  {ranks:>5}  {samples:>3} {role}  {against}{verdict}", bytes(*size))
}

/// What is kept, in one sentence.
fn finding(minimized: &Minimized) -> String {
    if minimized.kept.is_empty() {
        return "everything is kept as it is\n".into();
    }
    let kept = minimized.kept.iter().filter(|kept| kept.kept > 0).map(of_type).collect::<Vec<_>>().join(", ");
    let dropped: Vec<&str> =
        minimized.kept.iter().filter(|kept| kept.kept == 0).map(|kept| kept.name.as_str()).collect();
    let dropped = if dropped.is_empty() { String::new() } else { format!("; nothing of {}", dropped.join(", ")) };
    format!("kept: {kept}{dropped}\n")
}

/// `12 of 30 q_proj with 31 of 240 ranks`
fn of_type(kept: &KeptType) -> String {
    let KeptType { name, modules, kept, ranks, ranks_before, .. } = kept;
    let modules = if kept == modules { format!("{modules} {name}") } else { format!("{kept} of {modules} {name}") };
    format!("{modules} with {ranks} of {ranks_before} ranks")
}
