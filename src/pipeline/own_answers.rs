//! Samples without answers: what the whole adapter answers takes their place, so that the choice keeps what the adapter does.

use std::path::Path;

use super::answers::first_stop;
use super::request::{Request, Scoring};
use crate::error::{MetricError, Result};
use crate::measure::{self, GenerateOptions, OnProgress, Profile};
use crate::model::AdaptedModel;
use crate::samples::{GenerationTask, Prompt, Sample, TextModel, ends};

/// Replaces the last answer of each sample, which may be empty, by the greedy answer of the whole adapter. Nothing else of it is
/// scored.
pub fn replace(
    samples: &mut [Sample],
    adapted: &AdaptedModel,
    text: Option<&TextModel>,
    (request, path): (&Request, &Path),
    on_progress: OnProgress,
) -> Result<()> {
    let model = adapted.model();
    let text = text.ok_or_else(|| MetricError::NoTokenizer { path: model.path.clone() })?;
    let stop_tokens = ends::stops(&model.stops, Some(text));
    let tasks = samples.iter().map(|sample| GenerationTask::new(sample, text, &stop_tokens, path));
    let prompts: Vec<Prompt> = tasks.map(|task| Ok(task?.prompt)).collect::<Result<_>>()?;
    let asked = request.scoring.as_ref().and_then(|scoring| scoring.max_new_tokens);
    let max_new_tokens = asked.unwrap_or(Scoring::DEFAULT_MAX_NEW_TOKENS);
    let options = GenerateOptions { memory: request.compute.memory, max_new_tokens, is_ended: None };
    let stops: &[String] = request.scoring.as_ref().map_or(&[], |scoring| &scoring.stop);
    let is_ended = |ids: &[u32]| text.decode(ids).is_ok_and(|text| first_stop(stops, &text).is_some());
    let options = GenerateOptions { is_ended: if stops.is_empty() { None } else { Some(&is_ended) }, ..options };
    let whole = Profile::below(model.config.layers, model.config.layers);
    let answers = measure::generate(adapted, &prompts, &[whole], &options, on_progress)?.remove(0);
    for ((sample, prompt), answer) in samples.iter_mut().zip(prompts).zip(answers) {
        let start = prompt.ids.len();
        sample.ids = [prompt.ids, answer.ids].concat();
        sample.scored = (0..sample.ids.len()).map(|place| place >= start).collect();
        sample.ends = if answer.stopped { vec![sample.ids.len() - 1] } else { Vec::new() };
    }
    Ok(())
}
