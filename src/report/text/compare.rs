//! Reports side by side for the terminal.

use std::fmt::Write;

use crate::format::{bytes, percent_text, ranges};
use crate::printable::OneLine;
use crate::report::compare::{ComparedReport, ReportComparison, ReportDifference};

/// What shows a figure of a report.
type Cell<'a> = Box<dyn Fn(&ComparedReport) -> Option<String> + 'a>;

/// The differences, those that make figures incomparable first; the figures; and what each report kept, dropped and warns of.
pub fn comparison(comparison: &ReportComparison) -> String {
    let differences = comparison.differences.iter().map(|difference| differing(difference, &comparison.reports));
    let mut text: String = differences.collect();
    if !text.is_empty() {
        text.push('\n');
    }
    text += &table(comparison);
    comparison.reports.iter().for_each(|report| text += &details(report));
    text
}

fn differing(difference: &ReportDifference, reports: &[ComparedReport]) -> String {
    let mut text = match difference.incomparable {
        [] => format!("not the same {}\n", difference.what),
        figures => format!("NOT COMPARABLE: {}, because of {}\n", figures.join(", "), other(difference.what)),
    };
    for (report, value) in reports.iter().zip(&difference.values) {
        let _ = writeln!(text, "  {}  {}", report.label, OneLine(value));
    }
    text
}

/// `another base model`, `other samples`
fn other(what: &str) -> String {
    if what.ends_with('s') { format!("other {what}") } else { format!("another {what}") }
}

/// The columns that at least one report has a figure for.
fn table(comparison: &ReportComparison) -> String {
    let loss = |value: Option<f64>| value.map(|loss| format!("{loss:.4}"));
    let mut columns: Vec<(String, Cell)> = vec![
        ("size".into(), Box::new(|report| report.bytes_after.map(bytes))),
        ("saved".into(), Box::new(|report| report.saved().map(percent_text))),
        ("loss".into(), Box::new(move |report| loss(report.loss))),
        ("to whole".into(), Box::new(|report| report.difference.map(|loss| format!("{loss:+.4}")))),
        ("at most".into(), Box::new(|report| report.difference_at_most.map(|loss| format!("{loss:+.4}")))),
        ("gain".into(), Box::new(|report| report.gain_kept.map(percent_text))),
        ("prob.".into(), Box::new(|report| report.token_probability.map(percent_text))),
        ("held out".into(), Box::new(move |report| loss(report.held_out_loss))),
    ];
    for metric in comparison.metrics() {
        let score = move |report: &ComparedReport| report.score(metric).map(|score| format!("{score:.1}"));
        columns.push((OneLine(metric).to_string(), Box::new(score)));
    }
    let mut lines: Vec<String> = std::iter::once(String::new())
        .chain(comparison.reports.iter().map(|report| report.label.clone()))
        .map(|label| format!("{label:<2}"))
        .collect();
    for (name, cell) in columns {
        let cells: Vec<Option<String>> = comparison.reports.iter().map(cell).collect();
        if cells.iter().all(Option::is_none) {
            continue;
        }
        let cells = std::iter::once(name).chain(cells.into_iter().map(|cell| cell.unwrap_or("—".into())));
        let cells: Vec<String> = cells.collect();
        let width = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
        lines.iter_mut().zip(cells).for_each(|(line, cell)| *line += &format!("  {cell:>width$}"));
    }
    lines.join("\n") + "\n"
}

fn details(report: &ComparedReport) -> String {
    let mut text = format!("\n{}  {}: {}\n", report.label, OneLine(&report.name), OneLine(&report.adapter));
    let kept = match (&report.kept_layers, report.boundary, report.ranks) {
        (None, ..) => "nothing is written".into(),
        (_, _, Some(ranks)) => format!("kept: {} of {} ranks", ranks.kept, ranks.before),
        (Some(kept), Some(boundary), _) => format!("kept: boundary {boundary}, layers {}", ranges(kept)),
        (Some(kept), None, _) => format!("kept: layers {}", ranges(kept)),
    };
    let _ = writeln!(text, "   {kept}");
    if report.kept_layers.is_some() {
        let dropped = if report.dropped.is_empty() { "nothing".into() } else { report.dropped.join("; ") };
        let _ = writeln!(text, "   dropped or changed: {}", OneLine(dropped));
    }
    for warning in &report.warnings {
        let _ = writeln!(text, "   warning: {}", OneLine(warning));
    }
    text
}
