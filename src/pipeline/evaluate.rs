//! From requests to evaluations: of one adapter, or of several of one base model, whose equal samples go through it together.

use std::sync::Arc;

use super::alternatives::Given;
use super::choosing::Chosen;
use super::metrics::Tasks;
use super::prepare::Inputs;
use super::steps::Chain;
use super::written::Written;
use super::{
    Base, Request, alternatives, check_boundary, choosing, describe, find_base, held_out, limit_too_small, metrics,
    prepare, scale, steps, subset, warn_of_towers, within, written,
};
use crate::adapter::{Adapter, Capability};
use crate::choice::Choice;
use crate::error::{Error, Kind, Result};
use crate::hub::{self, BasePath};
use crate::measure::{self, Curve, OnProgress};
use crate::model::AdaptedModel;
use crate::report::{Report, ReportedOptions, WorkDone};
use crate::rewrite::Cut;

/// The streams that adapters send through a base model side by side, at most: enough for its weights to cost nothing against
/// what is done with them, few enough for passes of many tokens.
pub(super) const MOST_STREAMS: usize = 256;

/// An adapter, evaluated: what is known of every boundary, and the one to cut at.
pub struct Evaluation {
    pub adapter: Arc<Adapter>,
    pub base: BasePath,
    pub curve: Curve,
    pub choice: Choice,
    pub report: Report,
    written: Written,
    /// What the steps made of the cut adapter, if there are any.
    chain: Option<Chain>,
}

impl Evaluation {
    /// What is to be written.
    pub fn cut(&self) -> Result<Cut<'_>> {
        match &self.chain {
            Some(chain) => Cut::whole(chain.last()),
            None => self.written.cut_of(&self.adapter),
        }
    }
}

/// Reads everything, runs the sweep and chooses.
pub fn evaluate(request: &Request, on_progress: OnProgress) -> Result<Evaluation> {
    let adapter = open_adapter(request)?;
    let base = Base::open(find_base(request.base.as_deref(), &adapter)?, request)?;
    let subject = Subject::new(0, request, &adapter, &base)?;
    let tasks = subject.tasks()?;
    subject.evaluate(tasks.as_ref(), on_progress)
}

/// Evaluates adapters of `base`, and gives each to `done`, with its place among the requests, as soon as it is evaluated. All
/// requests are made for this base model, its device and arithmetic, and differ in nothing but the adapter. What is wrong with one of
/// them is no concern of the others; an interruption, or an error of `done`, ends it all.
pub fn evaluate_together(
    base: &Base,
    requests: &[&Request],
    on_progress: OnProgress,
    done: &mut dyn FnMut(usize, Result<Evaluation>) -> Result<()>,
) -> Result<()> {
    let adapters = open_all(requests, &mut |place, error| done(place, Err(error)))?;
    let subjects = Subject::all(&adapters, base, &mut |place, error| done(place, Err(error)))?;
    let mut ready = Vec::new();
    for subject in &subjects {
        match subject.tasks() {
            Ok(tasks) => ready.push((subject, tasks)),
            Err(error) => done(subject.place, Err(error))?,
        }
    }
    for group in groups(&ready) {
        let chosen = match choose(&group, &mut *on_progress) {
            Ok(chosen) => chosen.into_iter().map(Some).collect(),
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            // One of them is to blame, and alone each tells for itself.
            Err(_) => group.iter().map(|_| None).collect::<Vec<_>>(),
        };
        for (&&(subject, ref tasks), chosen) in group.iter().zip(chosen) {
            let evaluation = match chosen {
                Some(chosen) => subject.conclude(tasks.as_ref(), chosen, &mut *on_progress),
                None => subject.evaluate(tasks.as_ref(), &mut *on_progress),
            };
            match evaluation {
                Err(error) if error.kind() == Kind::Interrupted => return Err(error),
                evaluation => done(subject.place, evaluation)?,
            }
        }
    }
    Ok(())
}

/// An adapter of a request at a place among others.
type Opened<'a> = (usize, &'a Request, Arc<Adapter>);

/// Takes in what is wrong with the adapter at a place.
pub(super) type Failed<'a> = &'a mut dyn FnMut(usize, Error) -> Result<()>;

/// Opens the adapters of requests, as far as that can be.
pub(super) fn open_all<'a>(requests: &[&'a Request], failed: Failed) -> Result<Vec<Opened<'a>>> {
    let mut adapters = Vec::new();
    for (place, &request) in requests.iter().enumerate() {
        match open_adapter(request) {
            Ok(adapter) => adapters.push((place, request, adapter)),
            Err(error) => failed(place, error)?,
        }
    }
    Ok(adapters)
}

fn open_adapter(request: &Request) -> Result<Arc<Adapter>> {
    let adapter = Adapter::open(&hub::find(&request.adapter, None)?, None)?;
    adapter.require(Capability::Evaluate)?;
    request.steps.iter().try_for_each(|step| step.check(&adapter))?;
    warn_of_towers(&adapter);
    Ok(Arc::new(adapter))
}

/// What goes through the model: an adapter, and what its answers will be scored by.
type Ready<'a, 'b> = (&'b Subject<'a>, Option<Tasks<'b>>);

/// Those whose samples are the same tokens, as far as they may share a sweep.
fn groups<'a, 'b, 'c>(ready: &'c [Ready<'a, 'b>]) -> Vec<Vec<&'c Ready<'a, 'b>>> {
    let streams = |(subject, _): &Ready| measure::candidates(&subject.adapter).len();
    let mut groups: Vec<Vec<&Ready>> = Vec::new();
    for one in ready {
        let fits = |group: &&mut Vec<&Ready>| {
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

fn choose(group: &[&Ready], on_progress: OnProgress) -> Result<Vec<Chosen>> {
    let subject = group[0].0;
    let ends: Vec<&AdaptedModel> = group.iter().map(|(subject, _)| &subject.ends).collect();
    let allowed = |place: usize, boundary: usize| group[place].0.allows(boundary);
    choosing::choose(&ends, &subject.inputs.choosing.samples, subject.request, allowed, on_progress)
}

/// An adapter and its samples, found to fit the base model.
pub(super) struct Subject<'a> {
    place: usize,
    request: &'a Request,
    adapter: Arc<Adapter>,
    base: &'a Base,
    pub ends: AdaptedModel<'a>,
    pub inputs: Inputs,
    /// The boundaries that the limits admit are those below this one; found once, because the rules ask a thousand times.
    limit: usize,
}

impl<'a> Subject<'a> {
    /// Those of `adapters` that fit a base model and have samples.
    pub fn all(adapters: &'a [Opened<'a>], base: &'a Base, failed: Failed) -> Result<Vec<Self>> {
        let mut subjects = Vec::new();
        for (place, request, adapter) in adapters {
            match Self::new(*place, request, adapter, base) {
                Ok(subject) => subjects.push(subject),
                Err(error) => failed(*place, error)?,
            }
        }
        Ok(subjects)
    }

    fn new(place: usize, request: &'a Request, adapter: &'a Arc<Adapter>, base: &'a Base) -> Result<Self> {
        base.model.check_fits(adapter)?;
        check_boundary(request, &base.model)?;
        let ends = AdaptedModel::load(&base.model, adapter)?;
        let inputs = prepare::prepare(request, &ends, base)?;
        let candidates = measure::candidates(adapter);
        let limit = candidates.iter().copied().find(|&boundary| !within(&request.limits, adapter, boundary));
        let limit = limit.unwrap_or(usize::MAX);
        if !candidates.iter().any(|&boundary| boundary > 0 && boundary < limit) {
            return Err(limit_too_small(&request.limits, adapter).into());
        }
        Ok(Self { place, request, adapter: adapter.clone(), base, ends, inputs, limit })
    }

    fn tasks(&self) -> Result<Option<Tasks<'_>>> {
        metrics::tasks(&self.inputs, &self.ends, self.request)
    }

    fn allows(&self, boundary: usize) -> bool {
        boundary < self.limit
    }

    fn evaluate(&self, tasks: Option<&Tasks>, on_progress: OnProgress) -> Result<Evaluation> {
        let samples = &self.inputs.choosing.samples;
        let allowed = |_, boundary| self.allows(boundary);
        let chosen = choosing::choose(&[&self.ends], samples, self.request, allowed, &mut *on_progress)?.remove(0);
        self.conclude(tasks, chosen, on_progress)
    }

    /// From the choice to all that there is to report.
    fn conclude(&self, tasks: Option<&Tasks>, chosen: Chosen, on_progress: OnProgress) -> Result<Evaluation> {
        let (request, ends, model, adapter) = (self.request, &self.ends, &self.base.model, &self.adapter);
        let (choosing, held_out) = (&self.inputs.choosing, &self.inputs.held_out);
        let samples = &choosing.samples;
        let Chosen { curve, dropped, lens, choice, stability } = chosen;
        let given = Given { ends, samples, curve: &curve, request };
        let (full, subset) = match request.subset {
            Some(grain) => subset::find(&given, &choice, grain, &mut *on_progress)?,
            None => (given.below(choice.boundary), None),
        };
        let found = scale::find(&given, choice.clone(), full, |boundary| self.allows(boundary), &mut *on_progress)?;
        let alternatives = alternatives::find(&given, choice.boundary, &found, &mut *on_progress)?;
        let (choice, row) = (found.choice, &found.written);
        let written = Written::new(row, model);
        let checked = match held_out {
            Some(held_out) => {
                let profiles = alternatives.iter().map(|row| row.profile()).collect();
                Some(held_out::check(held_out, (choice.boundary, profiles), ends, request, &mut *on_progress)?)
            }
            None => None,
        };
        let metrics = match tasks {
            Some(tasks) => Some(metrics::measure(tasks, &given, &choice, row, &mut *on_progress)?),
            None => None,
        };
        let on_held_out = checked.as_ref().map(|checked| (&checked.answers[..], &checked.scores[..]));
        let (base_scores, whole_scores) = (given.below(0).scores, given.whole().scores);
        let mut sets = vec![steps::Samples {
            samples,
            answers: &curve.answers,
            base: &base_scores,
            cut: &row.scores,
            whole: &whole_scores,
        }];
        sets.extend(held_out.iter().zip(&checked).map(|(held_out, checked)| checked.as_samples(held_out)));
        let made = written::make(adapter, &written, model, &sets, request, on_progress)?;
        let report = Report {
            base: Some(describe::base(request, adapter, model)?),
            samples: Some(choosing.description.clone()),
            options: Some(ReportedOptions {
                rule: request.choice.rule,
                margin: request.choice.margin,
                confidence: request.choice.confidence,
                one_standard_error: request.choice.one_standard_error,
                max_layers: request.limits.max_layers,
                max_bytes: request.limits.max_bytes,
            }),
            curve: describe::curve(&curve, adapter, &request.choice),
            probability: lens.as_ref().map(describe::probability).unwrap_or_default(),
            dropped: dropped.iter().map(describe::dropped).collect(),
            work: Some(WorkDone {
                passes: curve.work.passes + lens.as_ref().map_or(0, |lens| lens.work.passes),
                layer_tokens: curve.work.layer_tokens + lens.as_ref().map_or(0, |lens| lens.work.layer_tokens),
                exhaustive_layer_tokens: measure::exhaustive_work(&[ends], samples, &request.sweep)?.layer_tokens,
                error_probability: request
                    .search
                    .filter(|_| !choice.rule.needs_no_losses())
                    .map(|options| options.error),
            }),
            chosen: Some(choice.clone()),
            stability: found.stability.unwrap_or(stability),
            alternatives: alternatives::describe(&alternatives, &given, on_held_out),
            subset,
            scale: found.report,
            held_out: checked.map(|checked| checked.report),
            metrics,
            output: made.output,
            steps: made.steps,
            layers: describe::layers(adapter, &written.selection)?,
            changed: describe::changed(choosing, &curve, &found.written.scores),
            ..Report::of(describe::adapter(&request.adapter, adapter)?)
        };
        let report = report.gated(&request.gates);
        // A report of anything else than what was read would be worse than none.
        adapter.weights.check_unchanged()?;
        model.check_unchanged()?;
        let (adapter, base) = (adapter.clone(), self.base.path.clone());
        Ok(Evaluation { adapter, base, curve, choice, report, written, chain: made.chain })
    }
}
