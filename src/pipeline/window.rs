//! The search for layers that can be dropped from below, when a boundary is chosen: what is kept is a window of layers.

use super::evaluator::{Candidate, Evaluator};
use crate::choice::controls::Kept;
use crate::choice::rules::BEST;
use crate::choice::{self, Basis, Choice, ChoiceOptions};
use crate::error::Result;
use crate::measure::{Curve, DropSide, Measurement, OnProgress, Point, Work};
use crate::report::window::{DroppedWindow, WindowChoice, WindowPoint};
use crate::search::{self, Continuation, Dropped};

/// Drops layers from below as long as the rule accepts the rest of what `boundary` keeps; with what that cost.
pub fn find(
    evaluator: &Evaluator,
    boundary: usize,
    on_progress: OnProgress,
) -> Result<(Candidate, WindowChoice, Work)> {
    let request = evaluator.request.by_stage();
    let options = options(&request.choice);
    let side = DropSide::Below { boundary };
    let continuation = Continuation {
        adapted: evaluator.adapted,
        samples: evaluator.samples,
        side,
        known: known(evaluator, boundary, side),
    };
    let search = request.search.unwrap_or_default();
    let (curve, dropped) = search::go_on(continuation, &options, search, &request.compute, on_progress)?;
    let choice = choose(&curve, &dropped, boundary, &options);
    // A point keeps the highest layers below the boundary; one above it is the whole adapter.
    let kept = choice.boundary();
    let all = evaluator.below(boundary);
    let selection = side.profile(kept, evaluator.layers());
    let drops_layers = choice.admitted && kept <= boundary && selection.layers().len() < all.selection.layers().len();
    let candidate = match curve.at(kept).cloned().filter(|_| drops_layers) {
        Some(measurement) => Candidate { kept: Kept::Window, selection, measurement, ..all },
        None => all,
    };
    let report = describe(evaluator, boundary, (&curve, &dropped), &candidate);
    Ok((candidate, report, curve.work))
}

/// The rule that judges windows. One that does not look at losses says nothing about them; then the best of those that hold the
/// guard is taken.
fn options(choice: &ChoiceOptions) -> ChoiceOptions {
    match choice.rule.basis() {
        Basis::Losses => choice.clone(),
        Basis::Probability | Basis::User => ChoiceOptions { rule: BEST, ..choice.clone() },
    }
}

/// What the curve of boundaries knows: the base model, the boundary and the whole adapter.
fn known(evaluator: &Evaluator, boundary: usize, side: DropSide) -> Vec<Point> {
    let points = side.points(evaluator.adapter());
    let (curve, whole) = (evaluator.curve, evaluator.whole().measurement);
    let all = points.range(..=boundary).next_back().copied().zip(curve.at(boundary).cloned());
    let ends = [(0, curve.base().measurement.clone())].into_iter().chain(all);
    let ends = ends.chain(points.range(boundary + 1..).next().map(|&last| (last, whole)));
    ends.map(|(boundary, measurement)| Point { boundary, measurement }).collect()
}

/// Chooses among windows; the whole adapter where `smallest` does not accept what the boundary keeps.
fn choose(curve: &Curve, dropped: &[Dropped], boundary: usize, options: &ChoiceOptions) -> Choice {
    let went_on = search::may_be_chosen(dropped, options.rule);
    let is_candidate = |kept: usize| kept > 0 && went_on(kept) && (options.rule.descends() || kept <= boundary);
    choice::choose(curve, options, is_candidate)
}

fn describe(
    evaluator: &Evaluator,
    boundary: usize,
    (curve, dropped): (&Curve, &[Dropped]),
    candidate: &Candidate,
) -> WindowChoice {
    let side = DropSide::Below { boundary };
    let point = |kept: usize, measured: &Measurement| WindowPoint {
        first_layer: boundary - kept,
        bytes: evaluator.bytes(&side.profile(kept, evaluator.layers())),
        assessment: evaluator.assess(measured),
        per_sample: measured.losses().collect(),
        per_sample_probability: measured.scores.iter().map(|score| score.probability).collect(),
        per_sample_correct: measured.scores.iter().map(|score| score.correct).collect(),
    };
    let is_window = |kept: usize| (1..=boundary).contains(&kept);
    let windows = curve.points.iter().rev().filter(|one| is_window(one.boundary));
    let first_layer = candidate.selection.layers().first().copied().unwrap_or(0);
    let kept_from = |layer: &&usize| **layer < first_layer;
    WindowChoice {
        first_layer,
        boundary,
        dropped_layers: evaluator.adapter().layers().iter().filter(kept_from).copied().collect(),
        from_below: windows.map(|one| point(one.boundary, &one.measurement)).collect(),
        dropped: dropped.iter().rev().map(|one| DroppedWindow::of(one, boundary)).collect(),
        assessment: evaluator.assess(&candidate.measurement),
    }
}
