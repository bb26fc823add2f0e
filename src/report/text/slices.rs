//! The figures of what is written on each slice of the samples, for the terminal.

use crate::format::percent_text;
use crate::printable::OneLine;
use crate::report::Report;

/// A table with a line for each slice; empty without slices.
pub fn table(report: &Report) -> String {
    let Some(field) = report.options.as_ref().and_then(|options| options.slice_by.as_ref()) else {
        return String::new();
    };
    let lines = report.slices.iter().map(|slice| {
        let assessment = &slice.assessment;
        let most = assessment.difference_at_most.map_or("unknown".into(), |most| format!("{most:+.4}"));
        format!(
            "{:>20} {:>8}  {:.4} {:+.4} (at most {most})  {}\n",
            OneLine(&slice.name).to_string(),
            slice.samples,
            assessment.loss,
            assessment.difference,
            percent_text(assessment.token_probability)
        )
    });
    let lines: String = lines.collect();
    if lines.is_empty() {
        return String::new();
    }
    let field = OneLine(field).to_string();
    format!(
        "\n{field:>20} {:>8}  loss and difference from the whole adapter's, probability of a true token\n{lines}",
        "samples"
    )
}
