//! The scale, and the alternatives to what is written, as a table.

use std::fmt::Write;

use crate::format;
use crate::format::{bytes, ranges};
use crate::report::{Alternative, Report};

/// Characters of the column with the layers.
const LAYERS: usize = 17;

/// The scale of what is kept, in one line.
pub fn scale(report: &Report) -> String {
    let Some(scale) = &report.scale else { return String::new() };
    let mut text = format!("scale {}: {}; loss {:.4}", format::scale(scale.scale), scale.reason, scale.assessment.loss);
    if let Some(gain) = scale.assessment.gain_kept {
        let _ = write!(text, ", {:.1} % of the adapter's gain kept", gain * 100.0);
    }
    text + "\n"
}

/// All alternatives, what is written first, and whether one of the others is better.
pub fn table(report: &Report) -> String {
    let alternatives = &report.alternatives;
    let Some(first) = alternatives.first() else { return String::new() };
    let held_out = first.held_out.is_some();
    let heading = if held_out { "held out" } else { "" };
    let mut text = format!("\n{:<24} {:<LAYERS$} {:>9} {:>8} {heading:>9}", "alternative", "layers", "size", "loss");
    text.truncate(text.trim_end().len());
    text.push('\n');
    for alternative in alternatives {
        let held_out = alternative.held_out.as_ref().map_or(String::new(), |found| format!("{:.4}", found.loss));
        let mut note = if alternative.written { "◀" } else { "" };
        if alternative.wins() {
            note = "better";
        }
        let line = format!(
            "{:<24} {:<LAYERS$} {:>9} {:>8.4} {held_out:>9} {note}",
            alternative.name(),
            shortened(&ranges(&alternative.layers)),
            bytes(alternative.bytes),
            alternative.samples.loss,
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// A list of layers, shortened to the width of its column.
fn shortened(layers: &str) -> String {
    if layers.len() <= LAYERS {
        return layers.into();
    }
    let end = layers[..LAYERS - 1].rfind(", ").unwrap_or(LAYERS - 1);
    format!("{}, …", &layers[..end])
}

/// The alternative that is better than what is written, in one sentence.
pub fn finding(alternatives: &[Alternative]) -> Option<String> {
    let loss = |alternative: &Alternative| alternative.held_out.as_ref().unwrap_or(&alternative.samples).loss;
    let written = alternatives.iter().find(|alternative| alternative.written)?;
    let winning = alternatives.iter().filter(|alternative| alternative.wins());
    let best = winning.min_by(|a, b| loss(a).total_cmp(&loss(b)))?;
    let on = if best.held_out.is_some() { "the held-out samples" } else { "the samples" };
    let (name, others) =
        (best.name(), if best.kept.is_other_layers() { "; `--search subset` looks for such" } else { "" });
    Some(format!(
        "`{name}` is surely better on {on} than what is written, `{}`: loss {:.4} instead of {:.4}{others}",
        written.name(),
        loss(best),
        loss(written)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_fit_their_column() {
        assert_eq!(shortened("0-18"), "0-18");
        assert_eq!(shortened("0-2, 5, 7-8, 12, 20-29"), "0-2, 5, 7-8, …");
        assert!(shortened("0, 2, 4, 6, 8, 10, 12, 14").chars().count() <= LAYERS + 1);
    }
}
