//! Flags and their defaults, turned into the typed values that the pipeline takes.

use std::path::Path;

use super::parse::share;
use crate::choice::{Basis, By, ChoiceOptions, Limits, rules};
use crate::cli::{
    AnswerArgs, EvaluateArgs, MinimizeArg, OutputArgs, PrecisionArg, RuntimeArgs, SearchArg, SizeStepArgs, VerifyArgs,
};
use crate::error::{ChoiceError, ComputeError, MetricError, Result};
use crate::files::Destination;
use crate::kernel::device::stands_in;
use crate::kernel::{Arithmetic, Precision, Unit};
use crate::metrics::Score;
use crate::model::device::DeviceName;
use crate::pipeline::request::{HeldOutSource, Minimize, Objective, Scoring, Sizes};
use crate::pipeline::scorer::ScorerOptions;
use crate::rewrite::steps::{self, Order, SharedStep};
use crate::samples::ScoredPart;
use crate::search::allocation::Ranks;

/// Which answers are generated and scored, if the flags name any.
pub fn scoring(args: &AnswerArgs, own_answers: bool) -> Result<Option<Scoring>> {
    let by = if let By::Answers(score) = args.by { Some(score) } else { None };
    let scorer = args.scorer.as_ref().map(|_| Score::Scorer);
    let mut scores: Vec<Score> = Vec::new();
    for score in by.into_iter().chain(scorer).chain(args.metric.iter().copied().map(Score::Metric)) {
        if !scores.contains(&score) {
            scores.push(score);
        }
    }
    let max_new_tokens = args.max_new_tokens.map(|most| most.try_into().unwrap_or(usize::MAX));
    if scores.is_empty() {
        let flags = [
            ("answers-at", args.answers_at.is_some()),
            ("max-new-tokens", max_new_tokens.is_some() && !own_answers),
            ("with-texts", args.with_texts),
            ("stop", !args.stop.is_empty()),
        ];
        return match flags.into_iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(setting(name, "it needs `--metric`, `--scorer`, or `--by` with a score of answers")),
            None => Ok(max_new_tokens.map(|_| Scoring { max_new_tokens, ..Scoring::default() })),
        };
    }
    if by == Some(Score::Scorer) && scorer.is_none() {
        return Err(MetricError::NoScorer.into());
    }
    let limit = args.scorer_limit.unwrap_or(ScorerOptions::DEFAULT_LIMIT);
    let scorer = args.scorer.clone().map(|command| ScorerOptions { command, limit });
    let at = args.answers_at.clone().unwrap_or_default();
    Ok(Some(Scoring { scores, max_new_tokens, at, keep_texts: args.with_texts, stop: args.stop.clone(), scorer }))
}

fn setting(name: &str, reason: &str) -> crate::Error {
    ChoiceError::Setting { name: format!("--{name}"), reason: reason.into() }.into()
}

/// How to choose the boundary.
pub fn choice_options(args: &EvaluateArgs) -> Result<ChoiceOptions> {
    let rule = match (args.boundary, args.minimize) {
        (Some(_), _) => rules::BOUNDARY,
        (None, Some(_)) => rules::WHOLE,
        (None, None) => args.choose,
    };
    // With `--minimize`, the limit is that of the ranks and not of a boundary.
    let max_bytes = args.max_bytes.filter(|_| args.minimize.is_none());
    if args.one_standard_error && rule.name() != rules::BEST.name() {
        return Err(ChoiceError::OneStandardErrorWithoutBest { rule: rule.name() }.into());
    }
    let by = args.answers.by;
    let default = ChoiceOptions::default();
    if by != By::default() && rule.basis() != Basis::Losses {
        return Err(setting("by", &format!("the rule `{}` judges boundaries by the probability curve", rule.name())));
    }
    if matches!(by, By::Answers(_)) && args.scale.is_some() {
        return Err(setting("scale", "scales are judged by the loss, and `--by` names a score of answers"));
    }
    let guard = default.guard.filter(|_| !args.loss_only && !args.no_guard);
    let options = ChoiceOptions {
        rule,
        boundary: args.boundary,
        guard,
        slice_by: args.slice_by.clone(),
        margin: share("--margin", &args.margin, 0.0)?,
        confidence: share("--confidence", &args.confidence, 0.5)?,
        one_standard_error: args.one_standard_error,
        limits: Limits { max_layers: args.max_layers, max_bytes },
        ..default
    };
    Ok(options.judged(by))
}

/// The folder that will be there, which is none on a dry run.
pub fn written(output: &OutputArgs) -> Option<&Path> {
    output.folder.as_deref().filter(|_| !output.dry_run)
}

/// Reserves the place of the output. A dry run only looks at it, and writes into a temporary folder.
pub fn destination(output: &OutputArgs, inputs: &[&Path]) -> Result<Destination> {
    match written(output) {
        Some(folder) => Destination::reserve(folder, inputs, output.force),
        None => Destination::nowhere(output.folder.as_deref(), inputs, output.force),
    }
}

/// What is minimised, if anything is, by this search.
pub fn minimize(args: &EvaluateArgs, search: SearchArg) -> Result<Option<Minimize>> {
    let Some(goal) = args.minimize else { return Ok(None) };
    if args.reduce.steps.iter().any(|step| step.order() == Order::ReduceRanks) {
        return Err(setting("rank", "`--minimize` finds the ranks"));
    }
    if args.device != "cpu" {
        return Err(setting("minimize", "its backward pass runs on the CPU: leave out `--device`"));
    }
    let objective = match (goal, args.max_bytes) {
        (MinimizeArg::Bytes, None) => Objective::Bytes,
        (MinimizeArg::Loss, Some(max_bytes)) => Objective::Loss { max_bytes },
        (MinimizeArg::Bytes, Some(_)) => {
            return Err(setting("max-bytes", "with a limit, `--minimize loss` finds the best"));
        }
        (MinimizeArg::Loss, None) => return Err(setting("minimize", "`loss` needs a limit: `--max-bytes 2MB`")),
    };
    let sizes = match search {
        SearchArg::Adaptive => Sizes::Needed,
        SearchArg::Exhaustive => Sizes::All,
        SearchArg::Window | SearchArg::Subset | SearchArg::Blocks => {
            return Err(setting("search", "with `--minimize` there is `adaptive`, and `exhaustive` for all sizes"));
        }
    };
    Ok(Some(Minimize { objective, ranks: if args.same_rank { Ranks::Same } else { Ranks::ByModule }, sizes }))
}

/// The samples that check the choice.
pub fn held_out(args: &EvaluateArgs) -> Result<Option<HeldOutSource>> {
    Ok(match (&args.holdout, &args.test) {
        (Some(text), _) => Some(HeldOutSource::Share(share("--holdout", text, 0.0)?)),
        (None, Some(path)) => Some(HeldOutSource::File(path.clone())),
        (None, None) => None,
    })
}

/// Which part of the samples is scored.
pub fn scored_part(args: &EvaluateArgs) -> ScoredPart {
    match (args.assistant_only, args.all_turns) {
        (true, _) => ScoredPart::AssistantTurns,
        (false, true) => ScoredPart::Everything,
        (false, false) => ScoredPart::Answers,
    }
}

/// The steps after the cut, in the order in which they run.
pub fn steps(reduce: &SizeStepArgs, runtime: &RuntimeArgs) -> Vec<SharedStep> {
    steps::in_order(reduce.steps.iter().chain(&runtime.steps.steps).cloned().collect())
}

/// How much of a module `verify` allows to change.
pub fn tolerance(args: &VerifyArgs) -> Result<Option<f64>> {
    Ok(args.tolerance.as_deref().map(|given| share("--tolerance", given, 0.0)).transpose()?)
}

/// The arithmetic of `--precision` on a device.
pub fn arithmetic(precision: PrecisionArg, device: DeviceName) -> Result<Arithmetic> {
    let refused = |precision| Err(ComputeError::PrecisionOnDevice { device: device.to_string(), precision }.into());
    let by = |precision| {
        let unit = Unit::detect().ok_or(ComputeError::NoBf16)?;
        Ok(Arithmetic::Bf16 { unit, precision })
    };
    let is_cpu = device == DeviceName::Cpu && !stands_in();
    let has_tensor_cores = matches!(device, DeviceName::Cuda(_)) || stands_in();
    match precision {
        PrecisionArg::F32 => Ok(Arithmetic::F32),
        PrecisionArg::Auto if is_cpu => Ok(Arithmetic::auto()),
        PrecisionArg::Auto | PrecisionArg::Tf32x2 if has_tensor_cores => Ok(Arithmetic::Tf32x2),
        PrecisionArg::Auto => Ok(Arithmetic::F32),
        PrecisionArg::Bf16x2 if is_cpu => by(Precision::Two),
        PrecisionArg::Bf16 if is_cpu => by(Precision::One),
        PrecisionArg::Tf32x2 => refused("tf32x2"),
        PrecisionArg::Bf16x2 => refused("bf16x2"),
        PrecisionArg::Bf16 => refused("bf16"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_has_its_own_arithmetic() {
        let (cuda, metal) = (DeviceName::Cuda(0), DeviceName::Metal(0));
        for device in [cuda, metal, DeviceName::Cpu] {
            assert_eq!(arithmetic(PrecisionArg::F32, device).unwrap(), Arithmetic::F32);
        }
        assert_eq!(arithmetic(PrecisionArg::Auto, metal).unwrap(), Arithmetic::F32);
        for precision in [PrecisionArg::Auto, PrecisionArg::Tf32x2] {
            assert_eq!(arithmetic(precision, cuda).unwrap(), Arithmetic::Tf32x2);
        }
        for precision in [PrecisionArg::Bf16x2, PrecisionArg::Bf16] {
            assert!(arithmetic(precision, cuda).is_err() && arithmetic(precision, metal).is_err());
        }
        let error = arithmetic(PrecisionArg::Tf32x2, DeviceName::Cpu).unwrap_err();
        assert_eq!(error.to_string(), "the device `cpu` does not compute in tf32x2");
    }
}
