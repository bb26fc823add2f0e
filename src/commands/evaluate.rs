//! What `slim` and `scan` share: from flags to an evaluation, watched by the user.

use crate::choice::Rule;
use crate::cli::progress::TerminalProgress;
use crate::cli::settings;
use crate::cli::settings::Grain;
use crate::cli::{EvaluateArgs, RuntimeArgs, SearchArg};
use crate::error::Result;
use crate::model::device::DeviceName;
use crate::pipeline::{self, Evaluation, Request};
use crate::report::CurvePoint;
use crate::report::alternatives::Right;
use crate::report::metrics::{MetricScore, TaskMetrics};
use crate::report::text::alternatives::finding;
use crate::samples::ReadOptions;
use crate::{measure, search};

/// Evaluates under the eyes of the user.
pub fn run(request: &Request, quiet: bool) -> Result<Evaluation> {
    let progress = TerminalProgress::new(quiet);
    let evaluation = pipeline::evaluate(request, &mut |step| progress.step(step));
    progress.finish();
    let evaluation = evaluation?;
    for note in notes(request, &evaluation) {
        tracing::warn!("{note}");
    }
    Ok(evaluation)
}

/// The request that the flags make; `search` is how where they say nothing.
pub fn request(args: EvaluateArgs, runtime: &RuntimeArgs, search: SearchArg) -> Result<Request> {
    let choice = settings::choice_options(&args)?;
    // With limits the choice is not only a matter of the losses, and what one standard error away from the lowest comes to is
    // known only once all are, so all are wanted.
    let has_limits = (args.max_layers.is_some() || args.max_bytes.is_some()) && !choice.rule.needs_no_losses();
    let needs_all = has_limits || choice.one_standard_error;
    // Who names the boundary wants to see what it costs among the others.
    let search = if args.boundary.is_some() { SearchArg::Exhaustive } else { search };
    let search = args.search.unwrap_or(search);
    let subset = match search {
        SearchArg::Adaptive | SearchArg::Exhaustive => None,
        SearchArg::Subset => Some(Grain::Layers),
        SearchArg::Blocks => Some(Grain::Blocks),
    };
    let search = (search != SearchArg::Exhaustive && !needs_all).then(search::SearchOptions::default);
    let device: DeviceName = args.device.parse()?;
    Ok(Request {
        search,
        choice,
        scaling: args.scale,
        subset,
        controls: args.controls,
        steps: settings::steps(&args.reduce, runtime),
        probability: args.probability,
        held_out: settings::held_out(&args)?,
        scoring: settings::scoring(&args),
        gates: settings::gates(&args.gates)?,
        limits: settings::Limits { max_layers: args.max_layers, max_bytes: args.max_bytes },
        arithmetic: settings::arithmetic(args.precision, device)?,
        sweep: measure::ComputeOptions {
            memory: args.memory.unwrap_or(settings::DEFAULT_MEMORY),
            device: device.open()?,
        },
        adapter: args.adapter,
        base: args.base,
        samples: args.samples,
        read: ReadOptions { prompt_field: args.prompt_field, completion_field: args.completion_field },
        chat: args.chat,
        tokenizer: args.tokenizer,
        max_samples: args.max_samples.map(|count| count as usize),
        truncate: args.truncate,
        texts: args.report.is_some(),
    })
}

/// What the user should know before trusting the result.
pub fn notes(request: &Request, evaluation: &Evaluation) -> Vec<String> {
    let mut notes = Vec::new();
    let count = evaluation.curve.answers.len();
    if count < 16 && request.choice.rule == Rule::Smallest {
        notes.push(format!("{count} samples are few to prove anything with; 64 or more are better"));
    }
    let curve = &evaluation.report.curve;
    if let (Some(base), Some(whole)) = (curve.first(), curve.last())
        && base.loss <= whole.loss
    {
        notes.push(
            "the whole adapter is no better than the base model on these samples; do they fit its task and format \
             (`--chat`)?"
                .into(),
        );
    }
    let right = evaluation.report.written_right();
    notes.extend(right.zip(curve.last()).and_then(|(written, whole)| fewer_right(written, whole)));
    notes.extend(finding(&evaluation.report.alternatives));
    let chosen = curve.iter().find(|point| point.boundary == evaluation.choice.boundary);
    if request.choice.rule == Rule::Curve {
        notes.extend(
            chosen.zip(curve.first().zip(curve.last())).and_then(|(chosen, (base, whole))| {
                costly(chosen, request.choice.margin_between(base.loss, whole.loss))
            }),
        );
    }
    notes.extend(evaluation.report.metrics.as_ref().and_then(lower_scores));
    notes
}

/// A score that falls by at least this many points, surely, is worth a word.
const WORTH_A_WARNING: f64 = 2.0;

/// Scores of generated answers that the choice makes worse beyond doubt.
fn lower_scores(metrics: &TaskMetrics) -> Option<String> {
    let (chosen, whole) = (metrics.written()?, metrics.boundaries.last()?);
    let falls = |score: &&MetricScore| {
        let sure = score.to_whole.difference_at_most.is_some_and(|most| most < 0.0);
        sure && -score.to_whole.difference >= WORTH_A_WARNING
    };
    let fallen: Vec<String> = chosen
        .scores
        .iter()
        .filter(falls)
        .map(|score| {
            let before = score.score - score.to_whole.difference;
            format!("{} {:.1} instead of {before:.1}", score.metric.name(), score.score)
        })
        .collect();
    (!fallen.is_empty()).then(|| {
        let (chosen, whole) = (chosen.name(), whole.name());
        format!(
            "generated answers are worse at boundary {chosen} than at {whole}, the whole adapter: {}",
            fallen.join(", ")
        )
    })
}

/// The rule `curve` does not look at losses, so the user should.
fn costly(chosen: &CurvePoint, margin: f64) -> Option<String> {
    (chosen.difference > margin).then(|| {
        format!(
            "the probability curve does not know the losses: at boundary {} the loss is {:.4} nats above the whole adapter's, \
             where `--choose smallest` allows {margin:.4}",
            chosen.boundary, chosen.difference
        )
    })
}

/// Fewer right tokens or answers than this share of all are not worth a word.
const WORTH_A_WORD: f64 = 0.02;

/// A lower loss with fewer right answers is seen with overfitted adapters: their upper layers make them too sure, but not
/// wrong. No rule looks at this, so the user should.
fn fewer_right(written: Right, whole: &CurvePoint) -> Option<String> {
    let whole = Right::of(whole);
    let falls = |of: fn(Right) -> f64| of(whole) - of(written) > WORTH_A_WORD;
    (falls(|right| right.token_accuracy) || falls(|right| right.exact_match)).then(|| {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        format!(
            "the loss does not tell all: of what is chosen {} of the tokens and {} of the answers are right, of the whole \
             adapter {} and {}",
            percent(written.token_accuracy),
            percent(written.exact_match),
            percent(whole.token_accuracy),
            percent(whole.exact_match)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Difference, Metric};
    use crate::report::metrics::{BoundaryScores, SampleSet};

    #[test]
    fn answers_that_are_surely_worse_are_pointed_out() {
        let scores = |boundary, difference: f64, most| BoundaryScores {
            boundary,
            written: false,
            name: None,
            scores: vec![MetricScore {
                metric: Metric::F1,
                score: 44.0 + difference,
                to_whole: Difference { difference, difference_at_least: Some(-30.0), difference_at_most: Some(most) },
            }],
            cut_off: 0,
        };
        let boundaries =
            vec![scores(0, -40.0, -30.0), scores(19, -22.1, -17.7), scores(24, -9.0, 0.5), scores(30, 0.0, 0.0)];
        let (on, samples, max_new_tokens, confidence) = (SampleSet::HeldOut, 200, 128, 0.95);
        let mut metrics = TaskMetrics { on, samples, max_new_tokens, confidence, boundaries, examples: Vec::new() };
        let mut of = |written: usize| {
            metrics.boundaries.iter_mut().for_each(|scores| scores.written = scores.boundary == written);
            lower_scores(&metrics)
        };
        let note = of(19).unwrap_or_default();
        assert!(note.contains("boundary 19") && note.contains("f1 21.9 instead of 44.0"), "{note}");
        assert_eq!(of(24), None, "that may be luck");
        assert_eq!(of(30), None);
    }

    fn point(boundary: usize, difference: f64) -> CurvePoint {
        CurvePoint {
            boundary,
            loss: 1.0,
            gain_kept: None,
            difference,
            difference_at_most: None,
            token_accuracy: 0.71,
            exact_match: 0.365,
            bytes: 0,
            per_sample: Vec::new(),
        }
    }

    #[test]
    fn what_the_curve_does_not_know_is_pointed_out() {
        let chosen = point(19, 0.4);
        assert!(costly(&chosen, 0.03).unwrap_or_default().contains("boundary 19 the loss is 0.4000 nats above"));
        assert_eq!(costly(&chosen, 0.4), None);
    }

    #[test]
    fn right_answers_that_are_lost_are_pointed_out() {
        let note = |token_accuracy, exact_match| fewer_right(Right { token_accuracy, exact_match }, &point(30, 0.0));
        assert_eq!(note(0.705, 0.36), None);
        assert_eq!(note(0.8, 0.4), None);
        let lost = note(0.71, 0.025).unwrap_or_default();
        assert!(lost.contains("2.5 %") && lost.contains("36.5 %"), "{lost}");
        assert!(note(0.6, 0.365).is_some());
    }
}
