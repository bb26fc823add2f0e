//! The page of several reports side by side.

use minijinja::value::Serde;
use minijinja::{Error, context};

use crate::error::{PageError, Result};
use crate::report::compare::ReportComparison;

/// The whole page. It fails where the template does not fit the comparison, which is a bug.
pub fn page(comparison: &ReportComparison) -> Result<String> {
    Ok(render(comparison).map_err(PageError)?)
}

fn render(comparison: &ReportComparison) -> std::result::Result<String, Error> {
    let environment = super::templates()?;
    let headline = headline(comparison);
    let reports = &comparison.reports;
    let metrics = comparison.metrics();
    let scores: Vec<Vec<Option<f64>>> =
        reports.iter().map(|report| metrics.iter().map(|metric| report.score(metric)).collect()).collect();
    let context = context! {
        headline => headline.as_str(),
        is_bad => !headline.ends_with("compared"),
        differences => Serde(&comparison.differences),
        reports => Serde(reports),
        saved => reports.iter().map(|report| report.saved()).collect::<Vec<_>>(),
        has_held_out => reports.iter().any(|report| report.held_out_loss.is_some()),
        metrics => metrics.iter().map(ToString::to_string).collect::<Vec<_>>(),
        scores,
    };
    let main = environment.get_template("compare")?.render(context)?;
    super::document(&environment, &headline, &[super::TOOLS], main)
}

/// How many reports there are, and which of their figures must not be compared.
fn headline(comparison: &ReportComparison) -> String {
    let mut figures: Vec<&str> = Vec::new();
    for figure in comparison.differences.iter().flat_map(|difference| difference.incomparable) {
        if !figures.contains(figure) {
            figures.push(figure);
        }
    }
    let compared = format!("{} reports compared", comparison.reports.len());
    if figures.is_empty() { compared } else { format!("{compared}, but not their {}", figures.join(", ")) }
}
