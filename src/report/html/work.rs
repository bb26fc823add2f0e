//! How the boundary was searched for, and what that took.

use super::element::Element;
use super::words::{count, plural};
use super::{Report, paragraph, part};

pub fn section(report: &Report) -> Option<Element> {
    let work = report.work.as_ref()?;
    let share = 100.0 * work.layer_tokens as f64 / work.exhaustive_layer_tokens.max(1) as f64;
    let evaluated = match report.dropped.len() {
        0 => format!("{}, each evaluated on all samples.", boundaries(report.curve.len())),
        dropped => {
            format!("{} evaluated on all samples, {dropped} decided on a part of them.", boundaries(report.curve.len()))
        }
    };
    let taken = format!(
        "The base model's weights were read {}. {} layer passes of tokens were computed, {share:.0} % of what evaluating \
         every boundary on every sample takes.",
        plural(work.passes, "time"),
        count(work.layer_tokens)
    );
    let certain = match work.error_probability {
        Some(error) => format!(
            "Ruling out boundaries early leads to another choice than evaluating everything with a probability of at most \
             {} %.",
            error * 100.0
        ),
        None => String::new(),
    };
    let section = part("search", "The search");
    let texts = [evaluated, taken, certain].into_iter().filter(|text| !text.is_empty());
    Some(section.all(texts.map(|text| paragraph("", text))))
}

fn boundaries(count: usize) -> String {
    if count == 1 { "1 boundary".into() } else { format!("{count} boundaries") }
}
