//! The probability curve as a table with a chart of both streams.

use std::fmt::Write;

use crate::report::{ProbabilityPoint, Report};

/// Characters of the chart.
const WIDTH: usize = 40;

/// A line for each number of layers: the base model is `o`, the adapted one `●`, and `◉` where both fall together.
pub fn table(report: &Report) -> String {
    both_curves(&report.probability, report.chosen.as_ref().map(|choice| choice.boundary()))
}

fn both_curves(points: &[ProbabilityPoint], chosen: Option<usize>) -> String {
    if points.is_empty() {
        return String::new();
    }
    let highest =
        points.iter().flat_map(|point| [point.base.probability, point.adapted.probability]).fold(0.0, f64::max);
    let mut text =
        String::from("\nhow likely the true tokens are behind each layer: base model o, whole adapter ●\n\n");
    let _ = writeln!(
        text,
        "{:>9}  {:>8}  {:>8}  0{:>width$}",
        "layers",
        "base",
        "adapter",
        short(highest),
        width = WIDTH - 1
    );
    for point in points {
        let (base, adapted) = (point.base.probability, point.adapted.probability);
        let note = if Some(point.layers) == chosen { "◀ chosen" } else { "" };
        let line =
            format!("{:>9}  {base:>8.4}  {adapted:>8.4}  {} {note}", point.layers, marks(base, adapted, highest));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn marks(base: f64, adapted: f64, highest: f64) -> String {
    let place = |value: f64| (value / highest.max(f64::MIN_POSITIVE) * (WIDTH - 1) as f64).round() as usize;
    let (base, adapted) = (place(base), place(adapted));
    let mark = |column: usize| match (column == base, column == adapted) {
        (true, true) => '◉',
        (true, false) => 'o',
        (false, true) => '●',
        (false, false) => ' ',
    };
    (0..=base.max(adapted)).map(mark).collect()
}

/// The end of the axis in few characters.
fn short(value: f64) -> String {
    if value >= 0.01 { format!("{value:.2}") } else { format!("{value:.0e}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Likelihood;

    #[test]
    fn both_curves_are_seen_without_colour() {
        let likelihood = |probability| Likelihood { probability, loss: 1.0, per_sample: Vec::new() };
        let point = |(layers, (base, adapted)): (usize, (f64, f64))| ProbabilityPoint {
            layers,
            base: likelihood(base),
            adapted: likelihood(adapted),
        };
        let points: Vec<_> = [(0.0, 0.0), (0.2, 0.4), (0.5, 0.8)].into_iter().enumerate().map(point).collect();
        let text = both_curves(&points, Some(1));
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).skip(2).collect();
        assert_eq!(lines[0], "        0    0.0000    0.0000  ◉");
        assert!(lines[1].ends_with("● ◀ chosen") && lines[1].find('o') < lines[1].find('●'), "{}", lines[1]);
        assert!(text.lines().all(|line| line.chars().count() <= 80));
        assert_eq!(both_curves(&[], Some(1)), "");
        assert!(both_curves(&[point((0, (0.0, 0.0)))], None).contains('◉'), "nothing is divided by zero");
    }
}
