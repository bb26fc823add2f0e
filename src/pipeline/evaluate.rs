//! From requests to evaluations: of one adapter, or of several of one base model. Those with equal samples share a sweep.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::answers::{self, AnswerTasks};
use super::chain::{Chain, MeasuredSamples};
use super::curve::{self, BoundaryChoice, IsAllowed};
use super::describe::{self, Hashing};
use super::evaluator::{Candidate, Evaluator};
use super::held_out::HeldOutCheck;
use super::inputs::Prepared;
use super::output::Selection;
use super::refine::Refined;
use super::scale::ScaleSearch;
use super::subject::{OpenedAdapter, Subject};
use super::{Base, Request, alternatives, by_answers, find_base, held_out, output, scale};
use crate::adapter::Adapter;
use crate::audit::examine::KnownBase;
use crate::choice::{Basis, Benefit, Candidates, Choice};
use crate::choice::{gates, trained_on};
use crate::error::{AdapterError, ChoiceError, Kind, Result};
use crate::hub::BasePath;
use crate::measure::{self, Curve, OnProgress};
use crate::model::AdaptedModel;
use crate::report::{Report, SamplesInput, Slice, TaskMetrics, WorkDone};
use crate::rewrite::Cut;
use crate::rewrite::steps::PlannedChanges;

/// The most streams of several adapters that go through a base model side by side: enough to make reading its weights cheap
/// compared with using them, few enough to leave memory for many tokens per pass.
pub(super) const MOST_STREAMS: usize = 256;

/// An evaluated adapter: its curve, the chosen boundary, and what is to be written.
pub struct Evaluation {
    pub adapter: Arc<Adapter>,
    pub base: BasePath,
    pub curve: Curve,
    pub choice: Choice,
    pub report: Report,
    selection: Selection,
    /// The adapters after each step, if there are steps.
    chain: Option<Arc<Chain>>,
}

impl Evaluation {
    /// What to write.
    pub fn cut(&self) -> Result<Cut<'_>> {
        match &self.chain {
            Some(chain) => Cut::whole(chain.last()),
            None => self.selection.cut(&self.adapter),
        }
    }

    /// What the steps after the cut do.
    pub fn changes(&self) -> PlannedChanges {
        self.chain.as_ref().map(|chain| chain.changes()).unwrap_or_default()
    }

    /// Checks that there is something to write and that all gates hold.
    pub fn check(&self) -> Result<()> {
        let guard = self.report.options.as_ref().and_then(|options| options.guard);
        if let Some(guard) = guard.filter(|_| !self.choice.admitted) {
            let (boundary, guard) = (self.choice.boundary(), guard.name());
            return Err(ChoiceError::LosesTheGuard { boundary, guard }.into());
        }
        if self.choice.boundary() > 0 {
            return gates::check(&self.report.gates);
        }
        if let Some(boundary) = self.report.options.as_ref().and_then(|options| options.boundary) {
            let lowest = self.adapter.layers().first().copied().unwrap_or(0);
            return Err(ChoiceError::KeepsNothing { boundary, lowest }.into());
        }
        if let Some(cause) = &self.adapter.no_effect {
            let (path, cause) = (self.adapter.path.clone(), cause.to_string());
            return Err(AdapterError::NoEffect { path, cause }.into());
        }
        let (base, whole) = (self.curve.base().measurement.loss(), self.curve.whole().measurement.loss());
        let rule = self.choice.rule.name();
        Err(match self.report.benefit {
            Some(Benefit::WorseThanBase) => ChoiceError::WorseThanBase { base, whole },
            Some(Benefit::PrefixHelps { boundary }) => ChoiceError::OnlyAPartHelps { boundary },
            _ => ChoiceError::AdapterDoesNotHelp { rule },
        }
        .into())
    }

    /// The base model, for the verdicts on what is written.
    pub fn known_base(&self) -> Result<KnownBase> {
        KnownBase::open(&self.base)
    }
}

/// Reads everything, measures and chooses.
pub fn evaluate(request: &Request, on_progress: OnProgress) -> Result<Evaluation> {
    let opened = OpenedAdapter::open(0, request)?;
    let base = Base::open_for(find_base(request.base.as_deref(), &opened.adapter)?, request)?;
    evaluate_opened(&opened, &base, on_progress)
}

/// Evaluates an adapter on a base model that is open already.
pub fn evaluate_on(base: &Base, request: &Request, on_progress: OnProgress) -> Result<Evaluation> {
    evaluate_opened(&OpenedAdapter::open_on(base, 0, request)?, base, on_progress)
}

fn evaluate_opened(opened: &OpenedAdapter, base: &Base, on_progress: OnProgress) -> Result<Evaluation> {
    let subject = Subject::new(opened, base, &mut *on_progress)?;
    let tasks = subject.tasks()?;
    evaluate_alone(&subject, &tasks, on_progress)
}

/// Evaluates adapters of `base`, and passes each to `done`, with the index of its request, as soon as it is evaluated. All
/// requests are for this base model, its device and arithmetic, and differ only in the adapter. A failed adapter does not stop
/// the others; an interruption, or an error of `done`, ends everything.
pub fn evaluate_together(
    base: &Base,
    requests: &[&Request],
    on_progress: OnProgress,
    done: &mut dyn FnMut(usize, Result<Evaluation>) -> Result<()>,
) -> Result<()> {
    let adapters = OpenedAdapter::open_all(base, requests, &mut |index, error| done(index, Err(error)))?;
    let subjects = Subject::all(&adapters, base, &mut *on_progress, &mut |index, error| done(index, Err(error)))?;
    let mut with_tasks = Vec::new();
    for subject in &subjects {
        match subject.tasks() {
            Ok(tasks) => with_tasks.push((subject, tasks)),
            Err(error) => done(subject.index, Err(error))?,
        }
    }
    for group in groups(&with_tasks) {
        let choices = match choose_together(&group, &mut *on_progress) {
            Ok(choices) => choices.into_iter().map(Some).collect(),
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            // One of them failed; run alone, each shows its own error.
            Err(_) => group.iter().map(|_| None).collect::<Vec<_>>(),
        };
        for (&&(subject, ref tasks), choice) in group.iter().zip(choices) {
            let evaluation = match choice {
                Some(choice) => conclude(subject, tasks, choice, &mut *on_progress),
                None => evaluate_alone(subject, tasks, &mut *on_progress),
            };
            match evaluation {
                Err(error) if error.kind() == Kind::Interrupted => return Err(error),
                evaluation => done(subject.index, evaluation)?,
            }
        }
    }
    Ok(())
}

/// An adapter with its samples, and its tasks.
type WithTasks<'a, 'b> = (&'b Subject<'a>, AnswerTasks<'b>);

/// Groups of adapters whose samples are the same tokens, each small enough to share a sweep.
fn groups<'a, 'b, 'c>(subjects: &'c [WithTasks<'a, 'b>]) -> Vec<Vec<&'c WithTasks<'a, 'b>>> {
    let streams = |(subject, _): &WithTasks| measure::candidates(&subject.adapter).len();
    let mut groups: Vec<Vec<&WithTasks>> = Vec::new();
    for one in subjects {
        let fits = |group: &&mut Vec<&WithTasks>| {
            let all: usize = group.iter().map(|&other| streams(other)).sum();
            group[0].0.inputs.choosing.samples == one.0.inputs.choosing.samples && all + streams(one) <= MOST_STREAMS
        };
        match groups.iter_mut().find(fits) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}

fn choose_together(group: &[&WithTasks], on_progress: OnProgress) -> Result<Vec<BoundaryChoice>> {
    let subject = group[0].0;
    let adapted: Vec<&AdaptedModel> = group.iter().map(|(subject, _)| &subject.adapted).collect();
    let is_allowed = |index: usize, boundary: usize| group[index].0.allows(boundary);
    choose(subject, &adapted, &is_allowed, on_progress)
}

fn evaluate_alone(subject: &Subject, tasks: &AnswerTasks, on_progress: OnProgress) -> Result<Evaluation> {
    let is_allowed = |_, boundary| subject.allows(boundary);
    let choice = choose(subject, &[&subject.adapted], &is_allowed, &mut *on_progress)?.remove(0);
    conclude(subject, tasks, choice, on_progress)
}

/// Chooses for several adapters, on the samples of `subject`, which all of them have.
fn choose(
    subject: &Subject,
    adapted: &[&AdaptedModel],
    is_allowed: IsAllowed,
    on_progress: OnProgress,
) -> Result<Vec<BoundaryChoice>> {
    let (request, samples) = (subject.request, &subject.inputs.choosing.samples);
    let choices = curve::choose(adapted, samples, request, is_allowed, on_progress);
    choices.map_err(|error| error.on_samples(Path::new(&subject.inputs.choosing.description.path)))
}

/// Completes an evaluation whose boundary is chosen: refinement, scale, steps, held-out samples, answers and report.
fn conclude(
    subject: &Subject,
    tasks: &AnswerTasks,
    chosen: BoundaryChoice,
    on_progress: OnProgress,
) -> Result<Evaluation> {
    let (request, adapter, model) = (subject.request, &subject.adapter, &subject.base.model);
    let mut chosen = match request.choice.score.zip(tasks.choosing.as_ref()) {
        Some((score, tasks)) => by_answers::choose(score, subject, tasks, chosen, &mut *on_progress)?,
        None => chosen,
    };
    let (samples, curve) = (&subject.inputs.choosing.samples, &chosen.curve);
    let evaluator = Evaluator { adapted: &subject.adapted, samples, curve, request };
    let boundary = chosen.choice.boundary();
    let mut refined = Refined::find(&evaluator, boundary, &mut *on_progress)?;
    if let (Some(answers), Some(tasks)) = (&chosen.answers, &tasks.choosing)
        && refined.candidate.selection != evaluator.below(boundary).selection
        && !by_answers::holds(answers, &refined.candidate, tasks, &evaluator, &mut *on_progress)?
    {
        chosen.choice.reason += "; its answers without other layers cannot be shown to score as high";
        refined = Refined::none(&evaluator, boundary);
    }
    let is_allowed = |boundary| subject.allows(boundary);
    let full = refined.candidate.clone();
    let scaled = scale::find(&evaluator, chosen.choice.clone(), full, &is_allowed, &mut *on_progress)?;
    let candidates = alternatives::find(&evaluator, boundary, &scaled, &mut *on_progress)?;
    let mut held_out = match &subject.inputs.held_out {
        Some(samples) => {
            let boundary = scaled.choice.boundary();
            Some(held_out::check(&evaluator, samples, boundary, &candidates, &mut *on_progress)?)
        }
        None => None,
    };
    let scores = measure_answers(tasks, &chosen, &evaluator, &scaled, &mut *on_progress)?;
    if let (Some(check), Some(metrics), Some(kind)) = (&mut held_out, &scores.reported, request.choice.score)
        && let Some(score) = metrics.written_to_whole(kind, request.choice.margin)
    {
        check.report.verdict = check.report.verdict.clone().with_score(score);
    }
    let mut sets =
        vec![MeasuredSamples { samples, cut: &scaled.written.measurement, reference: evaluator.reference() }];
    if let (Some(prepared), Some(check)) = (&subject.inputs.held_out, &held_out) {
        let (samples, cut) = (&prepared.samples, &check.measured[0]);
        sets.push(MeasuredSamples { samples, cut, reference: check.reference() });
    }
    let selection = Selection::new(&scaled.written, model);
    let made = output::make(adapter, &selection, model, &sets, request, on_progress)?;
    let findings = Findings { chosen: &chosen, refined, scaled: &scaled, candidates: &candidates, held_out };
    let report = Report {
        serving: made.serving(adapter, &selection, &subject.base.path)?,
        metrics: scores.reported,
        choosing_metrics: scores.choosing,
        output: made.output,
        steps: made.steps,
        layers: describe::layers(adapter, &selection.profile)?,
        ..describe_findings(subject, &evaluator, findings)?
    };
    let report = report.judged_by(&request.gates).warned();
    // A report about other bytes than those that were read would be worse than none.
    adapter.weights.check_unchanged()?;
    model.check_unchanged()?;
    let (adapter, base) = (adapter.clone(), subject.base.path.clone());
    let choice = scaled.choice;
    Ok(Evaluation { adapter, base, curve: chosen.curve, choice, report, selection, chain: made.chain })
}

/// The scores of answers, on both sets of samples.
struct AnswersMeasured {
    reported: Option<TaskMetrics>,
    /// Those that chose, if others are reported.
    choosing: Option<TaskMetrics>,
}

fn measure_answers(
    tasks: &AnswerTasks,
    chosen: &BoundaryChoice,
    evaluator: &Evaluator,
    scaled: &ScaleSearch,
    on_progress: OnProgress,
) -> Result<AnswersMeasured> {
    let written = (&scaled.choice, &scaled.written);
    let nothing = BTreeMap::new();
    let known = chosen.answers.as_ref().map_or(&nothing, |answers| &answers.completions);
    let choosing = tasks.choosing.as_ref();
    let choosing =
        choosing.map(|tasks| answers::measure(tasks, evaluator, written, known, &mut *on_progress)).transpose()?;
    let held_out = tasks.held_out.as_ref();
    let held_out =
        held_out.map(|tasks| answers::measure(tasks, evaluator, written, &nothing, &mut *on_progress)).transpose()?;
    Ok(match held_out {
        Some(held_out) => AnswersMeasured { reported: Some(held_out), choosing },
        None => AnswersMeasured { reported: choosing, choosing: None },
    })
}

/// The results of all measurements.
struct Findings<'a> {
    chosen: &'a BoundaryChoice,
    refined: Refined,
    scaled: &'a ScaleSearch,
    candidates: &'a [Candidate],
    held_out: Option<HeldOutCheck>,
}

/// The report of the measurements, without the output.
fn describe_findings(subject: &Subject, evaluator: &Evaluator, findings: Findings) -> Result<Report> {
    let Findings { chosen, refined, scaled, candidates, held_out } = findings;
    let (request, adapter, prepared) = (subject.request, &subject.adapter, &subject.inputs.choosing);
    let on_held_out = held_out.as_ref().map(|check| (&check.measured[..], check.reference()));
    let mut work = chosen.curve.work;
    work += chosen.lens.as_ref().map(|lens| lens.work).unwrap_or_default();
    let exhaustive = measure::exhaustive_work(&[evaluator.adapted], evaluator.samples, &request.compute)?;
    let may_err = request.search.filter(|_| scaled.choice.rule.basis() == Basis::Losses);
    Ok(Report {
        base: Some(describe::base(request, adapter, &subject.base.model)?),
        samples: Some(SamplesInput {
            possibly_trained_on: possibly_trained_on(prepared, &chosen.curve),
            ..prepared.description.clone()
        }),
        options: Some(request.choice.clone()),
        remarks: subject.remarks(),
        unmeasured: subject.unmeasured(),
        curve: describe::curve(&chosen.curve, adapter, request.choice.confidence),
        probability: chosen.lens.as_ref().map(describe::probability).unwrap_or_default(),
        dropped: chosen.dropped.clone(),
        work: Some(WorkDone {
            passes: work.passes,
            layer_tokens: work.layer_tokens,
            exhaustive_layer_tokens: exhaustive.layer_tokens,
            refining_layer_tokens: request.refinement.as_ref().map(|_| refined.work.layer_tokens),
            error_probability: may_err.map(|options| options.error),
        }),
        chosen: Some(scaled.choice.clone()),
        benefit: Some(Candidates::new(&chosen.curve, &request.choice, &|_| true).benefit()),
        stability: scaled.stability.clone().unwrap_or_else(|| chosen.stability.clone()),
        alternatives: alternatives::describe(candidates, evaluator, on_held_out),
        subset: refined.subset,
        window: refined.window,
        minimized: refined.minimized,
        scale: scaled.report.clone(),
        changed: describe::changed(prepared, &chosen.curve, &scaled.written.measurement),
        slices: Slice::all(&prepared.slices, &scaled.written.measurement, &evaluator.reference()),
        held_out: held_out.map(|check| check.report),
        command: request.command.clone(),
        ..Report::of(describe::adapter(&request.adapter, adapter, Hashing::Now)?)
    })
}

/// The lines of samples that the adapter may have been trained on. Its own answers are sure, whatever it was trained on.
fn possibly_trained_on(prepared: &Prepared, curve: &Curve) -> Vec<usize> {
    if prepared.description.own_answers {
        return Vec::new();
    }
    let found = trained_on::possibly_trained_on(&curve.base().measurement, &curve.whole().measurement);
    found.into_iter().map(|sample| prepared.samples[sample].line).collect()
}
