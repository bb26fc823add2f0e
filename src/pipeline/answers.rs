//! Scoring what the model answers at the boundaries that matter: the choice, its two ends, and the next best.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Request;
use super::chain::Chain;
use super::evaluator::{Candidate, Evaluator};
use super::inputs::{Inputs, Prepared};
use super::request::Scoring;
use super::scorer::{Scorer, ScorerTask};
use crate::adapter::Adapter;
use crate::choice::Choice;
use crate::choice::controls::Kept;
use crate::choice::held_out::SampleSet;
use crate::error::{ChoiceError, MetricError, Result};
use crate::format;
use crate::measure::{self, Completion, Curve, OnProgress, Profile, SampleSize};
use crate::metrics::{Difference, Score, summed};
use crate::model::AdaptedModel;
use crate::report::metrics::{BoundaryAnswer, BoundaryScores, ChangedAnswer, MetricScore, TaskMetrics};
use crate::samples::{GenerationTask, Prompt, TextModel, ends, excerpt};

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
    scorer: Option<Arc<Scorer>>,
    /// The most tokens of an answer.
    max_new_tokens: usize,
    tasks: Vec<GenerationTask>,
}

/// The tasks of both sets of samples, as far as they are answered.
pub struct AnswerTasks<'a> {
    pub choosing: Option<Tasks<'a>>,
    pub held_out: Option<Tasks<'a>>,
}

/// The tasks of the held-out samples or, if there are none or answers choose, of those that choose.
pub fn tasks<'a>(inputs: &'a Inputs, adapted: &AdaptedModel, request: &'a Request) -> Result<AnswerTasks<'a>> {
    let Some(scoring) = request.scoring.as_ref().filter(|_| request.scores_answers()) else {
        return Ok(AnswerTasks { choosing: None, held_out: None });
    };
    let layers = adapted.model().config.layers;
    if let Some(&boundary) = scoring.at.last().filter(|&&boundary| boundary > layers) {
        return Err(ChoiceError::OutOfRange { boundary, layers }.into());
    }
    let path = &adapted.model().path;
    let text = inputs.text.as_ref().ok_or_else(|| MetricError::NoTokenizer { path: path.clone() })?;
    let stops = ends::stops(&adapted.model().stops, Some(text));
    let scorer = scoring.scorer.as_ref().map(Scorer::start).transpose()?.map(Arc::new);
    let on = |on, prepared: &'a Prepared| -> Result<Tasks<'a>> {
        let file = prepared.description.path.as_ref();
        let task = |sample| GenerationTask::new(sample, text, &stops, file);
        let mut tasks = prepared.samples.iter().map(task).collect::<Result<Vec<_>>>()?;
        if request.samples.own_answers {
            // They ended where answers are served to end.
            let end = |text: &str| first_stop(&scoring.stop, text).unwrap_or(text.len());
            tasks.iter_mut().for_each(|task| task.reference.truncate(end(&task.reference)));
        }
        let max_new_tokens = most_tokens(scoring, request.choice.score.is_some(), &tasks);
        Ok(Tasks { scoring, on, prepared, text, scorer: scorer.clone(), max_new_tokens, tasks })
    };
    let held_out = inputs.held_out.as_ref().map(|prepared| on(SampleSet::HeldOut, prepared)).transpose()?;
    let choose = held_out.is_none() || request.choice.score.is_some();
    let choosing = choose.then(|| on(SampleSet::Choosing, &inputs.choosing)).transpose()?;
    choosing.iter().chain(&held_out).try_for_each(Tasks::try_scorer)?;
    Ok(AnswerTasks { choosing, held_out })
}

/// Where the first text that ends an answer begins.
pub fn first_stop(stops: &[String], text: &str) -> Option<usize> {
    stops.iter().filter_map(|stop| text.find(stop)).min()
}

/// The fewest tokens that an answer may have where references limit it.
const LEAST_TOKENS: usize = 16;

/// The most tokens of an answer. Those that choose are many, and one that is longer than every reference by half is wrong.
fn most_tokens(scoring: &Scoring, choose: bool, tasks: &[GenerationTask]) -> usize {
    let longest = tasks.iter().map(|task| task.reference_tokens).max().unwrap_or(0);
    let by_references = (longest + longest.div_ceil(2)).clamp(LEAST_TOKENS, Scoring::DEFAULT_MAX_NEW_TOKENS);
    let default = if choose { by_references } else { Scoring::DEFAULT_MAX_NEW_TOKENS };
    scoring.max_new_tokens.unwrap_or(default)
}

/// What answers: a boundary at full strength, or what is written if it differs from that.
struct AnswerSource {
    boundary: usize,
    written: bool,
    name: Option<String>,
    profile: Profile,
    /// The adapter that answers, if that is another one than the original.
    rewritten: Option<Arc<Chain>>,
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
    /// How many answers a text of `--stop` ended.
    stopped_by_text: usize,
}

/// Generates and scores the answers at the boundaries that matter and of what is written. Those that `known` has, by boundary, are
/// not generated again.
pub fn measure(
    tasks: &Tasks,
    evaluator: &Evaluator,
    (choice, written): (&Choice, &Candidate),
    known: &BTreeMap<usize, Vec<Completion>>,
    on_progress: OnProgress,
) -> Result<TaskMetrics> {
    let request = evaluator.request;
    let at: BTreeSet<usize> = tasks.scoring.at.iter().chain(known.keys()).copied().collect();
    let best = if known.is_empty() { BEST } else { 0 };
    let sources = sources(evaluator, choice.boundary(), written, &at, best);
    let is_known = |source: &&AnswerSource| source.name.is_none() && known.contains_key(&source.boundary);
    let own = sources.iter().filter(|source| !is_known(source) && source.rewritten.is_none());
    let profiles: Vec<Profile> = own.map(|source| source.profile.clone()).collect();
    let mut generated = tasks.generate(evaluator, &profiles, &mut *on_progress)?.into_iter();
    let answers = sources.iter().map(|source| {
        let completions = match &source.rewritten {
            Some(chain) => Some(tasks.generate_whole(evaluator, chain.last(), &mut *on_progress)?),
            None if is_known(&source) => known.get(&source.boundary).cloned(),
            None => generated.next(),
        };
        tasks.answers(source, &completions.unwrap_or_default())
    });
    let answers = answers.collect::<Result<Vec<_>>>()?;
    let (base, whole) = (&answers[0], &answers[answers.len() - 1]);
    let chosen = answers.iter().find(|answers| answers.written).unwrap_or(whole);
    // If everything is kept, compare with the base model.
    let other = if whole.written { base } else { whole };
    let confidence = request.choice.confidence;
    Ok(TaskMetrics {
        on: tasks.on,
        samples: tasks.tasks.len(),
        max_new_tokens: tasks.max_new_tokens,
        stop: tasks.scoring.stop.clone(),
        confidence,
        boundaries: answers.iter().map(|one| tasks.scores(one, whole, confidence)).collect(),
        examples: if request.samples.quote { tasks.changed(chosen, other, &answers) } else { Vec::new() },
    })
}

/// The base model first, the whole adapter last, and between them what is written, the `best` boundaries with the lowest losses, and
/// `at`.
fn sources(
    evaluator: &Evaluator,
    chosen: usize,
    written: &Candidate,
    at: &BTreeSet<usize>,
    best: usize,
) -> Vec<AnswerSource> {
    let whole = evaluator.curve.whole().boundary;
    let is_boundary = written.is_same(&evaluator.below(chosen));
    let mut boundaries = boundaries(evaluator.curve, chosen, whole, best);
    boundaries.extend(at.range(..whole));
    let wanted = boundaries
        .into_iter()
        .filter(|&boundary| is_boundary || boundary != chosen || boundary == whole || at.contains(&boundary));
    let mut sources: Vec<AnswerSource> = wanted
        .map(|boundary| AnswerSource {
            boundary,
            written: is_boundary && boundary == chosen,
            name: None,
            profile: evaluator.below(boundary).selection,
            rewritten: None,
        })
        .collect();
    if !is_boundary {
        let layers = match written.kept {
            Kept::Window => "window".to_string(),
            Kept::Subset => "subset".to_string(),
            Kept::Minimized => "minimized".to_string(),
            _ => chosen.to_string(),
        };
        let scale = if written.scale == 1.0 { String::new() } else { format!(" × {}", format::scale(written.scale)) };
        let own = AnswerSource {
            boundary: chosen,
            written: true,
            name: Some(layers + &scale),
            profile: written.profile(),
            rewritten: written.rewritten.clone(),
        };
        sources.insert(sources.len() - 1, own);
    }
    sources
}

/// The base model, the choice, the whole adapter, and the `best` other boundaries with the lowest losses.
fn boundaries(curve: &Curve, chosen: usize, whole: usize, best: usize) -> BTreeSet<usize> {
    let ends = BTreeSet::from([0, chosen, whole]);
    let mut others: Vec<_> = curve.points.iter().filter(|point| !ends.contains(&point.boundary)).collect();
    others.sort_by(|a, b| a.measurement.loss().total_cmp(&b.measurement.loss()));
    ends.into_iter().chain(others.into_iter().take(best).map(|point| point.boundary)).collect()
}

impl Tasks<'_> {
    fn kinds(&self) -> &[Score] {
        &self.scoring.scores
    }

    /// The answers of an adapter with some profiles: `[profile][sample]`.
    pub fn generate(
        &self,
        evaluator: &Evaluator,
        profiles: &[Profile],
        on_progress: OnProgress,
    ) -> Result<Vec<Vec<Completion>>> {
        self.generate_with(evaluator.adapted, evaluator, profiles, on_progress)
    }

    /// The answers of another adapter of the base model with all of its layers.
    fn generate_whole(
        &self,
        evaluator: &Evaluator,
        adapter: &Adapter,
        on_progress: OnProgress,
    ) -> Result<Vec<Completion>> {
        let adapted = AdaptedModel::load(evaluator.adapted.model(), adapter)?;
        let whole = [Profile::below(evaluator.layers(), evaluator.layers())];
        Ok(self.generate_with(&adapted, evaluator, &whole, on_progress)?.remove(0))
    }

    fn generate_with(
        &self,
        adapted: &AdaptedModel,
        evaluator: &Evaluator,
        profiles: &[Profile],
        on_progress: OnProgress,
    ) -> Result<Vec<Vec<Completion>>> {
        if profiles.is_empty() {
            return Ok(Vec::new());
        }
        let prompts: Vec<Prompt> = self.tasks.iter().map(|task| task.prompt.clone()).collect();
        let is_ended =
            |ids: &[u32]| self.text.decode(ids).is_ok_and(|text| first_stop(&self.scoring.stop, &text).is_some());
        let options = measure::GenerateOptions {
            memory: evaluator.request.compute.memory,
            max_new_tokens: self.max_new_tokens,
            is_ended: if self.scoring.stop.is_empty() { None } else { Some(&is_ended) },
        };
        measure::generate(adapted, &prompts, profiles, &options, on_progress)
    }

    /// What the score of answers is computed from, by sample.
    pub fn counts(&self, kind: Score, completions: &[Completion]) -> Result<Vec<Vec<f64>>> {
        let mut texts = self.texts(completions)?;
        self.cut_at_stops(&mut texts);
        self.counts_of(kind, &texts)
    }

    fn texts(&self, completions: &[Completion]) -> Result<Vec<String>> {
        let pairs = self.tasks.iter().zip(completions);
        pairs.map(|(task, answer)| task.text_of(&answer.ids, self.text)).collect()
    }

    /// Cuts answers off where a text of `--stop` begins. Returns how many it ended.
    fn cut_at_stops(&self, texts: &mut [String]) -> usize {
        let mut cut = 0;
        for text in texts {
            if let Some(end) = first_stop(&self.scoring.stop, text) {
                text.truncate(end);
                cut += 1;
            }
        }
        cut
    }

    fn counts_of(&self, kind: Score, texts: &[String]) -> Result<Vec<Vec<f64>>> {
        let pairs = texts.iter().zip(&self.tasks);
        match (kind, &self.scorer) {
            (Score::Metric(metric), _) => Ok(pairs.map(|(text, task)| metric.counts(text, &task.reference)).collect()),
            (Score::Scorer, Some(scorer)) => {
                pairs.map(|(text, task)| Ok(vec![self.ask(scorer, task, text)?, 1.0])).collect()
            }
            (Score::Scorer, None) => Err(MetricError::NoScorer.into()),
        }
    }

    /// What the user's program gives an answer.
    fn ask(&self, scorer: &Scorer, task: &GenerationTask, answer: &str) -> Result<f64> {
        let prompt = self.text.decode(&task.prompt.ids)?;
        scorer.score(&ScorerTask { line: task.line, prompt: &prompt, reference: &task.reference, answer })
    }

    /// Lets the scorer score a reference, so that one that fails does so before the long run.
    fn try_scorer(&self) -> Result<()> {
        match (&self.scorer, self.tasks.first()) {
            (Some(scorer), Some(task)) => self.ask(scorer, task, &task.reference).map(drop),
            _ => Ok(()),
        }
    }

    fn answers(&self, source: &AnswerSource, generated: &[Completion]) -> Result<Answers> {
        let mut texts = self.texts(generated)?;
        let stopped_by_text = self.cut_at_stops(&mut texts);
        let counts = self.kinds().iter().map(|&kind| self.counts_of(kind, &texts)).collect::<Result<_>>()?;
        let cut_off = generated.iter().filter(|answer| !answer.stopped).count();
        let AnswerSource { boundary, written, name, .. } = source;
        let (boundary, written, name) = (*boundary, *written, name.clone());
        Ok(Answers { boundary, written, name, texts, counts, cut_off, stopped_by_text })
    }

    fn scores(&self, one: &Answers, whole: &Answers, confidence: f64) -> BoundaryScores {
        let draws = SampleSize::draws(&SampleSize::of_all(&self.prepared.samples));
        let score = |(place, &kind): (usize, &Score)| MetricScore {
            metric: kind,
            score: kind.of_counts(&summed(&one.counts[place])),
            per_sample: one.counts[place].iter().map(|counts| kind.of_counts(counts)).collect(),
            to_whole: Difference::of(kind, &one.counts[place], &whole.counts[place], &draws, confidence),
        };
        let scores = self.kinds().iter().enumerate().map(score).collect();
        BoundaryScores {
            boundary: one.boundary,
            written: one.written,
            name: one.name.clone(),
            scores,
            answers: if self.scoring.keep_texts { one.texts.clone() } else { Vec::new() },
            cut_off: one.cut_off,
            stopped_by_text: (!self.scoring.stop.is_empty()).then_some(one.stopped_by_text),
        }
    }

    /// The samples whose answers the choice changes, ordered by the change of all their scores together.
    fn changed(&self, chosen: &Answers, other: &Answers, all: &[Answers]) -> Vec<ChangedAnswer> {
        let rise = |&place: &usize| -> f64 {
            let of = |answers: &Answers, which: usize, kind: &Score| kind.of_counts(&answers.counts[which][place]);
            let kinds = self.kinds().iter().enumerate();
            kinds.map(|(which, kind)| of(chosen, which, kind) - of(other, which, kind)).sum()
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
        assert_eq!(boundaries(&curve, 2, 5, BEST), BTreeSet::from([0, 2, 3, 4, 5]));
        assert_eq!(boundaries(&curve, 5, 5, BEST), BTreeSet::from([0, 2, 3, 5]));
    }
}
