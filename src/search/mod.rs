//! Which boundaries to evaluate next, on which samples: the choice of the exhaustive sweep for part of its cost.
//!
//! The two ends and a few boundaries, more of them near the whole adapter, see the samples in a random order, twice as many at each
//! look. A boundary that these rule out is not evaluated further. When the others have seen all samples, the middle one joins of
//! those between two of them that may still be chosen, until there are none. Low boundaries are expensive, because their streams
//! fork early, and rarely good, so most of the saving is there. The chosen boundary has been evaluated on every sample, so its
//! figures are those of the exhaustive sweep. Only a dropped boundary may have been dropped wrongly, with a bounded probability
//! ([`Evidence`](crate::choice::evidence::Evidence)).

pub mod allocation;
mod boundaries;
pub mod minimize;
pub mod subset;

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use crate::choice::{ChoiceOptions, Rule};
use crate::error::Result;
use crate::measure::{self, Curve, DropSide, OnProgress, Point, Progress, SampleSize, Sweep};
use crate::model::AdaptedModel;
use crate::samples::Sample;
pub use boundaries::Search;

/// How to search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchOptions {
    /// The highest acceptable probability that the exhaustive sweep would choose another boundary.
    pub error: f64,
    pub seed: u64,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self { error: 0.05, seed: 0 }
    }
}

/// Boundaries to evaluate on some of the samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    pub boundaries: BTreeSet<usize>,
    /// Which of [`Search::parts`].
    pub part: usize,
}

/// A boundary for which some of the samples were enough.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Dropped {
    pub boundary: usize,
    /// The samples that it was evaluated on; 0 where its neighbours were enough.
    pub samples: usize,
    /// loss(b) − loss(L) on those samples, in nats per answer token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<f64>,
    /// Whether it is surely as good as `smallest` wants, but a lower one is, too; otherwise it was ruled out.
    pub holds: bool,
    /// Whether no boundary up to this one may be chosen, because it, or one above it, surely fails the guard.
    pub unguarded: bool,
    /// Whether the whole adapter does not surely help, a part of it does, and this is surely not the part that helps most.
    pub helps_less: bool,
}

/// Whether a search that dropped these may have chosen a boundary: a rule that descends does not go past one that does not hold, and
/// no rule past one that fails the guard.
pub fn may_be_chosen(dropped: &[Dropped], rule: &dyn Rule) -> impl Fn(usize) -> bool + use<> {
    let descends = rule.descends();
    let fails = dropped.iter().filter(|dropped| dropped.unguarded || descends && !dropped.holds && !dropped.helps_less);
    let floor = fails.map(|dropped| dropped.boundary).max();
    // The base model alone is no cut, and the guard does not judge it.
    move |boundary| Some(boundary) > floor || boundary == 0 && !descends
}

/// Searches for several adapters of one base model: evaluates round after round until all choices can be made. Rounds of
/// several adapters on the same samples go through the model together.
pub fn run(
    adapted: &[&AdaptedModel],
    samples: &[Sample],
    choice: &ChoiceOptions,
    options: SearchOptions,
    sweep_options: &measure::ComputeOptions,
    on_progress: OnProgress,
) -> Result<Vec<(Curve, Vec<Dropped>)>> {
    let sizes = SampleSize::of_all(samples);
    let search =
        |adapted: &&AdaptedModel| Search::new(&measure::candidates(adapted.adapter()), sizes.clone(), choice, options);
    let searches: Vec<Search> = adapted.iter().map(search).collect();
    let parts = searches.first().map(Search::parts).unwrap_or_default();
    let rounds = Rounds::of(&parts);
    complete(searches, Sweep::new(adapted, samples, parts, sweep_options)?, rounds, on_progress)
}

/// A curve of one adapter that is searched when some of its points are known.
pub struct Continuation<'a> {
    pub adapted: &'a AdaptedModel<'a>,
    pub samples: &'a [Sample],
    pub side: DropSide,
    /// The two ends at least, on all samples.
    pub known: Vec<Point>,
}

/// Searches the rest of a curve.
pub fn go_on(
    continuation: Continuation,
    choice: &ChoiceOptions,
    options: SearchOptions,
    compute: &measure::ComputeOptions,
    on_progress: OnProgress,
) -> Result<(Curve, Vec<Dropped>)> {
    let Continuation { adapted, samples, side, known } = continuation;
    let sizes = SampleSize::of_all(samples);
    let mut search = Search::new(&side.points(adapted.adapter()), sizes, choice, options);
    known.into_iter().for_each(|point| search.know(point));
    let models = [adapted];
    let parts = search.parts();
    let rounds = Rounds::of(&parts);
    let sweep = Sweep::along(side, &models, samples, parts, compute)?;
    Ok(complete(vec![search], sweep, rounds, on_progress)?.remove(0))
}

/// How far a search has come, which consists of rounds: each tells its own progress.
struct Rounds {
    /// The samples of each part.
    samples: Vec<usize>,
    done: u64,
}

impl Rounds {
    fn of(parts: &[Vec<usize>]) -> Self {
        Self { samples: parts.iter().map(Vec::len).collect(), done: 0 }
    }

    /// Runs a round on a part. What is left is at most as much again for each of the later samples, because no point comes back.
    fn watched<T>(
        &mut self,
        part: usize,
        on_progress: OnProgress,
        run: impl FnOnce(OnProgress) -> Result<T>,
    ) -> Result<T> {
        let later: usize = self.samples[part + 1..].iter().sum();
        let rest = later as f64 / self.samples[part].max(1) as f64;
        let (before, passes, mut total) = (self.done, self.samples.len(), 0);
        let result = run(&mut |step: Progress| {
            total = step.total;
            let all = before + total + (total as f64 * rest) as u64;
            on_progress(Progress { pass: part, passes, done: before + step.done, total: all, ..step })
        });
        self.done += total;
        result
    }
}

/// Evaluates round after round until the choices of all searches can be made.
fn complete(
    mut searches: Vec<Search>,
    mut sweep: Sweep,
    mut rounds_done: Rounds,
    on_progress: OnProgress,
) -> Result<Vec<(Curve, Vec<Dropped>)>> {
    loop {
        let rounds: Vec<Option<Round>> = searches.iter().map(Search::next).collect();
        let Some(part) = rounds.iter().flatten().map(|round| round.part).min() else { break };
        let boundaries_of = |round: Option<Round>| match round {
            Some(round) if round.part == part => round.boundaries,
            _ => BTreeSet::new(),
        };
        let boundaries: Vec<BTreeSet<usize>> = rounds.into_iter().map(boundaries_of).collect();
        let curves = rounds_done.watched(part, on_progress, |told| sweep.run(part, &boundaries, told))?;
        for (search, points) in searches.iter_mut().zip(curves).filter(|(_, points)| !points.is_empty()) {
            search.add(&points);
        }
    }
    Ok(searches.into_iter().zip(sweep.work).map(|(search, work)| search.finish(work)).collect())
}
