//! What templates see as `computed`: statements about the report that need Rust, and the layout of the charts.

use minijinja::context;
use minijinja::value::{Serde, Value};

use super::{curve, frontier, layers, probability, sides, verdict, window};
use crate::format::ranges;
use crate::report::Report;
use crate::report::text::held_out::finding;
use crate::report::text::subset::removed_parts;
use crate::report::text::{alternatives, minimized};
use crate::search::Dropped;

pub fn of(report: &Report) -> Value {
    let written = report.written_on_choosing().map(|written| written.assessment);
    let others = report.alternatives.iter();
    let sides = sides::rows(report);
    context! {
        headline => verdict::headline(report),
        standing => Serde(verdict::standing(report)),
        worse => sides.iter().any(sides::SideBySide::is_worse),
        sides => Serde(&sides),
        without_layers => report.chosen.as_ref().map(|choice| choice.rule.without_layers()),
        caution => report.chosen.as_ref().and_then(|choice| choice.rule.caution()),
        changes_nothing => report.changes_nothing(),
        loss => written.map(|written| written.loss),
        gain_kept => written.and_then(|written| written.gain_kept),
        token_probability => written.map(|written| written.token_probability),
        token_accuracy => written.map(|written| written.token_accuracy),
        end_accuracy => written.and_then(|written| written.end_accuracy),
        exact_match => written.map(|written| written.exact_match),
        removed => dropped_parts(report),
        why_so_small => minimized::reason(report),
        gates => report.gates.iter().map(|gate| gate.to_string().replace('`', "")).collect::<Vec<_>>(),
        held_out => report.held_out.as_ref().map(|held_out| finding(&held_out.verdict, report)),
        names => others.clone().map(|alternative| alternative.name()).collect::<Vec<_>>(),
        wins => others.map(|alternative| alternative.wins()).collect::<Vec<_>>(),
        better => alternatives::finding(&report.alternatives),
        unseen => Serde(unseen(&report.dropped)),
        curve => Serde(curve::charts(report)),
        probability => Serde(probability::charts(report)),
        window => Serde(window::charts(report)),
        frontier => Serde(frontier::charts(report)),
        norms => Serde(layers::norms(report)),
        sizes => Serde(layers::sizes(report)),
    }
}

/// What was dropped when the boundary was chosen, as text.
fn dropped_parts(report: &Report) -> Option<String> {
    let from_below = report.window.as_ref().map(|window| ranges(&window.dropped_layers));
    report.subset.as_ref().map(|subset| removed_parts(&subset.removed)).or(from_below)
}

/// The first and the last of neighbouring boundaries that were decided in the same way without being evaluated.
fn unseen(dropped: &[Dropped]) -> Vec<(usize, usize)> {
    let unseen: Vec<&Dropped> = dropped.iter().filter(|point| point.difference.is_none()).collect();
    let runs = unseen.chunk_by(|a, b| a.holds == b.holds && a.boundary + 1 == b.boundary);
    runs.map(|run| (run[0].boundary, run[run.len() - 1].boundary)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unseen_neighbours_are_one() {
        let point = |boundary, difference, holds| Dropped {
            boundary,
            samples: 0,
            difference,
            holds,
            unguarded: false,
            helps_less: false,
        };
        let seen = point(3, Some(0.1), false);
        let dropped = [point(1, None, false), point(2, None, false), seen, point(4, None, false), point(5, None, true)];
        assert_eq!(unseen(&dropped), [(1, 2), (4, 4), (5, 5)]);
    }
}
