//! Scoring what the model answers at the boundaries that matter: the choice, its two ends, and the next best.

use std::collections::BTreeSet;

use super::Request;
use super::evaluator::{Candidate, Evaluator};
use super::inputs::{Inputs, Prepared};
use super::request::Scoring;
use crate::choice::Choice;
use crate::choice::controls::Kept;
use crate::choice::held_out::SampleSet;
use crate::error::{MetricError, Result};
use crate::format;
use crate::measure::{self, Completion, Curve, OnProgress, Profile};
use crate::metrics::{Difference, Metric, summed};
use crate::model::AdaptedModel;
use crate::report::metrics::{BoundaryAnswer, BoundaryScores, ChangedAnswer, MetricScore, TaskMetrics};
use crate::samples::{GenerationTask, Prompt, TextModel, excerpt};

/// How many other boundaries, those with the lowest losses, are scored.
const BEST: usize = 2;

/// How many changed answers a report shows at most, for worse ones and for better ones each.
const MOST: usize = 3;

/// The prompts that are answered, and how the answers are scored.
pub struct Tasks<'a> {
    scoring: &'a Scoring,
    on: SampleSet,
    prepared: &'a Prepared,
    text: &'a TextModel,
    tasks: Vec<GenerationTask>,
}

/// The tasks of the held-out samples or, if there are none, of those that choose; `None` without a metric.
pub fn tasks<'a>(inputs: &'a Inputs, adapted: &AdaptedModel, request: &'a Request) -> Result<Option<Tasks<'a>>> {
    let Some(scoring) = &request.scoring else { return Ok(None) };
    let (on, prepared) = match &inputs.held_out {
        Some(held_out) => (SampleSet::HeldOut, held_out),
        None => (SampleSet::Choosing, &inputs.choosing),
    };
    let path = &adapted.model().path;
    let text = inputs.text.as_ref().ok_or_else(|| MetricError::NoTokenizer { path: path.clone() })?;
    let mut stops = adapted.model().stops.clone();
    stops.extend(text.eos_id());
    let file = prepared.description.path.as_ref();
    let tasks =
        prepared.samples.iter().map(|sample| GenerationTask::new(sample, text, &stops, file)).collect::<Result<_>>()?;
    Ok(Some(Tasks { scoring, on, prepared, text, tasks }))
}

/// What answers: a boundary at full strength, or what is written if it differs from that.
struct AnswerSource {
    boundary: usize,
    written: bool,
    name: Option<String>,
    profile: Profile,
}

/// The answers of one source.
struct Answers {
    boundary: usize,
    written: bool,
    name: Option<String>,
    texts: Vec<String>,
    /// The counts that a score is computed from: `[metric][sample]`.
    counts: Vec<Vec<Vec<f64>>>,
    cut_off: usize,
}

/// Generates and scores the answers at the boundaries that matter and of what is written.
pub fn measure(
    tasks: &Tasks,
    evaluator: &Evaluator,
    choice: &Choice,
    written: &Candidate,
    on_progress: OnProgress,
) -> Result<TaskMetrics> {
    let request = evaluator.request;
    let sources = sources(evaluator, choice.boundary(), written);
    let prompts: Vec<Prompt> = tasks.tasks.iter().map(|task| task.prompt.clone()).collect();
    let options =
        measure::GenerateOptions { memory: request.compute.memory, max_new_tokens: tasks.scoring.max_new_tokens };
    let profiles: Vec<Profile> = sources.iter().map(|source| source.profile.clone()).collect();
    let generated = measure::generate(evaluator.adapted, &prompts, &profiles, &options, on_progress)?;
    let answers = sources.iter().zip(generated).map(|(source, generated)| tasks.answers(source, &generated));
    let answers = answers.collect::<Result<Vec<_>>>()?;
    let (base, whole) = (&answers[0], &answers[answers.len() - 1]);
    let chosen = answers.iter().find(|answers| answers.written).unwrap_or(whole);
    // If everything is kept, compare with the base model.
    let other = if whole.written { base } else { whole };
    let confidence = request.choice.confidence;
    Ok(TaskMetrics {
        on: tasks.on,
        samples: prompts.len(),
        max_new_tokens: options.max_new_tokens,
        confidence,
        boundaries: answers.iter().map(|one| tasks.scores(one, whole, confidence)).collect(),
        examples: if request.samples.quote { tasks.changed(chosen, other, &answers) } else { Vec::new() },
    })
}

/// The base model first, the whole adapter last, and between them what is written and the boundaries with the lowest losses.
fn sources(evaluator: &Evaluator, chosen: usize, written: &Candidate) -> Vec<AnswerSource> {
    let whole = evaluator.curve.whole().boundary;
    let is_boundary = written.scale == 1.0 && written.selection == evaluator.below(chosen).selection;
    let boundaries = boundaries(evaluator.curve, chosen, whole);
    let wanted = boundaries.into_iter().filter(|&boundary| is_boundary || boundary != chosen || boundary == whole);
    let mut sources: Vec<AnswerSource> = wanted
        .map(|boundary| AnswerSource {
            boundary,
            written: is_boundary && boundary == chosen,
            name: None,
            profile: evaluator.below(boundary).selection,
        })
        .collect();
    if !is_boundary {
        let layers = match written.kept {
            Kept::Window => "window".to_string(),
            Kept::Subset => "subset".to_string(),
            _ => chosen.to_string(),
        };
        let scale = if written.scale == 1.0 { String::new() } else { format!(" × {}", format::scale(written.scale)) };
        let own =
            AnswerSource { boundary: chosen, written: true, name: Some(layers + &scale), profile: written.profile() };
        sources.insert(sources.len() - 1, own);
    }
    sources
}

/// The base model, the choice, the whole adapter, and the other boundaries with the lowest losses.
fn boundaries(curve: &Curve, chosen: usize, whole: usize) -> BTreeSet<usize> {
    let ends = BTreeSet::from([0, chosen, whole]);
    let mut others: Vec<_> = curve.points.iter().filter(|point| !ends.contains(&point.boundary)).collect();
    others.sort_by(|a, b| a.measurement.loss().total_cmp(&b.measurement.loss()));
    ends.into_iter().chain(others.into_iter().take(BEST).map(|point| point.boundary)).collect()
}

impl Tasks<'_> {
    fn metrics(&self) -> &[Metric] {
        &self.scoring.metrics
    }

    fn answers(&self, source: &AnswerSource, generated: &[Completion]) -> Result<Answers> {
        let pairs = self.tasks.iter().zip(generated);
        let texts: Vec<String> =
            pairs.map(|(task, answer)| task.text_of(&answer.ids, self.text)).collect::<Result<_>>()?;
        let counts = |metric: &Metric| {
            let pairs = texts.iter().zip(&self.tasks);
            pairs.map(|(text, task)| metric.counts(text, &task.reference)).collect()
        };
        let counts = self.metrics().iter().map(counts).collect();
        let cut_off = generated.iter().filter(|answer| !answer.stopped).count();
        let AnswerSource { boundary, written, name, .. } = source;
        Ok(Answers { boundary: *boundary, written: *written, name: name.clone(), texts, counts, cut_off })
    }

    fn scores(&self, one: &Answers, whole: &Answers, confidence: f64) -> BoundaryScores {
        let score = |(place, &metric): (usize, &Metric)| MetricScore {
            metric,
            score: metric.score(&summed(&one.counts[place])),
            to_whole: Difference::of(metric, &one.counts[place], &whole.counts[place], confidence),
        };
        let scores = self.metrics().iter().enumerate().map(score).collect();
        BoundaryScores {
            boundary: one.boundary,
            written: one.written,
            name: one.name.clone(),
            scores,
            cut_off: one.cut_off,
        }
    }

    /// The samples whose answers the choice changes, ordered by the change of all their scores together.
    fn changed(&self, chosen: &Answers, other: &Answers, all: &[Answers]) -> Vec<ChangedAnswer> {
        let rise = |&place: &usize| -> f64 {
            let of = |answers: &Answers, which: usize, metric: &Metric| metric.score(&answers.counts[which][place]);
            let metrics = self.metrics().iter().enumerate();
            metrics.map(|(which, metric)| of(chosen, which, metric) - of(other, which, metric)).sum()
        };
        let mut places: Vec<usize> =
            (0..self.tasks.len()).filter(|&place| chosen.texts[place] != other.texts[place]).collect();
        places.sort_by(|a, b| rise(a).total_cmp(&rise(b)));
        let better = places.split_off(places.len().saturating_sub(MOST).max(places.len().min(MOST)));
        places.truncate(MOST);
        places.into_iter().chain(better).map(|place| self.example(place, all)).collect()
    }

    fn example(&self, place: usize, all: &[Answers]) -> ChangedAnswer {
        let words = self.prepared.excerpts[place].as_ref();
        ChangedAnswer {
            line: self.prepared.samples[place].line,
            prompt: words.and_then(|words| words.prompt.clone()),
            reference: excerpt::head(&self.tasks[place].reference),
            answers: all
                .iter()
                .map(|answers| BoundaryAnswer {
                    boundary: answers.boundary,
                    written: answers.written,
                    text: excerpt::head(&answers.texts[place]),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Measurement, Point};

    #[test]
    fn the_next_best_are_scored_beside_the_choice_and_the_ends() {
        let points = [5.0, 4.0, 2.0, 1.0, 3.0, 2.5].into_iter().enumerate();
        let measured = |loss| Measurement::of_losses(&[loss], &[1]);
        let points = points.map(|(boundary, loss)| Point { boundary, measurement: measured(loss) });
        let curve = Curve { points: points.collect(), work: Default::default() };
        assert_eq!(boundaries(&curve, 2, 5), BTreeSet::from([0, 2, 3, 4, 5]));
        assert_eq!(boundaries(&curve, 5, 5), BTreeSet::from([0, 2, 3, 5]));
    }
}
