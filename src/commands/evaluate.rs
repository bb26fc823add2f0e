//! What `slim` and `scan` share: from flags to an evaluation, watched by the user.

use super::progress::Progress;
use crate::choice::Rule;
use crate::cli::{EvaluateArgs, SearchArg};
use crate::device::DeviceName;
use crate::error::Result;
use crate::pipeline::{self, Evaluation, Request};
use crate::report::CurvePoint;
use crate::report::metrics::{MetricScore, TaskMetrics};
use crate::samples::ReadOptions;
use crate::{search, settings, sweep};

/// Evaluates as the flags say; `search` is how where they say nothing.
pub fn run(args: EvaluateArgs, search: SearchArg, quiet: bool) -> Result<Evaluation> {
    let request = request(args, search)?;
    let mut progress = Progress::new(quiet);
    let evaluation = pipeline::evaluate(&request, &mut |step| progress.step(step));
    progress.finish();
    let evaluation = evaluation?;
    for note in notes(&request, &evaluation) {
        tracing::warn!("{note}");
    }
    Ok(evaluation)
}

fn request(args: EvaluateArgs, search: SearchArg) -> Result<Request> {
    let choice = settings::choice_options(&args)?;
    // With limits the choice is not only a matter of the losses, and what one standard error away from the lowest comes to is
    // known only once all are, so all are wanted.
    let needs_all = args.max_layers.is_some() || args.max_bytes.is_some() || choice.one_standard_error;
    // Who names the boundary wants to see what it costs among the others.
    let search = if args.boundary.is_some() { SearchArg::Exhaustive } else { search };
    let search = match args.search.unwrap_or(search) {
        SearchArg::Adaptive if !needs_all => Some(search::Options::default()),
        SearchArg::Adaptive | SearchArg::Exhaustive => None,
    };
    let device: DeviceName = args.device.parse()?;
    Ok(Request {
        search,
        choice,
        held_out: settings::held_out(&args)?,
        scoring: settings::scoring(&args),
        limits: settings::Limits { max_layers: args.max_layers, max_bytes: args.max_bytes },
        arithmetic: settings::arithmetic(args.precision, device)?,
        sweep: sweep::Options { memory: args.memory.unwrap_or(settings::DEFAULT_MEMORY), device: device.open()? },
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
fn notes(request: &Request, evaluation: &Evaluation) -> Vec<String> {
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
    let chosen = curve.iter().find(|point| point.boundary == evaluation.choice.boundary);
    notes.extend(chosen.zip(curve.last()).and_then(|(chosen, whole)| fewer_right(chosen, whole)));
    notes.extend(
        evaluation.report.metrics.as_ref().and_then(|metrics| lower_scores(metrics, evaluation.choice.boundary)),
    );
    notes
}

/// A score that falls by at least this many points, surely, is worth a word.
const WORTH_A_WARNING: f64 = 2.0;

/// Scores of generated answers that the choice makes worse beyond doubt.
fn lower_scores(metrics: &TaskMetrics, chosen: usize) -> Option<String> {
    let (chosen, whole) = (metrics.at(chosen)?, metrics.boundaries.last()?);
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
        let (chosen, whole) = (chosen.boundary, whole.boundary);
        format!(
            "generated answers are worse at boundary {chosen} than at {whole}, the whole adapter: {}",
            fallen.join(", ")
        )
    })
}

/// Fewer right tokens or answers than this share of all are not worth a word.
const WORTH_A_WORD: f64 = 0.02;

/// A lower loss with fewer right answers is seen with overfitted adapters: their upper layers make them too sure, but not
/// wrong. No rule looks at this, so the user should.
fn fewer_right(chosen: &CurvePoint, whole: &CurvePoint) -> Option<String> {
    let falls = |of: fn(&CurvePoint) -> f64| of(whole) - of(chosen) > WORTH_A_WORD;
    (falls(|point| point.token_accuracy) || falls(|point| point.exact_match)).then(|| {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        format!(
            "the loss does not tell all: at boundary {} {} of the tokens and {} of the answers are right, with the whole adapter \
             {} and {}",
            chosen.boundary,
            percent(chosen.token_accuracy),
            percent(chosen.exact_match),
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
        let metrics = TaskMetrics { on, samples, max_new_tokens, confidence, boundaries, examples: Vec::new() };
        let note = lower_scores(&metrics, 19).unwrap_or_default();
        assert!(note.contains("boundary 19") && note.contains("f1 21.9 instead of 44.0"), "{note}");
        assert_eq!(lower_scores(&metrics, 24), None, "that may be luck");
        assert_eq!(lower_scores(&metrics, 30), None);
    }

    #[test]
    fn right_answers_that_are_lost_are_pointed_out() {
        let point = |boundary, token_accuracy, exact_match| CurvePoint {
            boundary,
            loss: 1.0,
            gain_kept: None,
            difference: 0.0,
            difference_at_most: None,
            token_accuracy,
            exact_match,
            bytes: 0,
            per_sample: Vec::new(),
        };
        let whole = point(30, 0.71, 0.365);
        assert_eq!(fewer_right(&point(27, 0.705, 0.36), &whole), None);
        assert_eq!(fewer_right(&point(27, 0.8, 0.4), &whole), None);
        let note = fewer_right(&point(19, 0.71, 0.025), &whole).unwrap_or_default();
        assert!(note.contains("boundary 19") && note.contains("2.5 %") && note.contains("36.5 %"), "{note}");
        assert!(fewer_right(&point(19, 0.6, 0.365), &whole).is_some());
    }
}
