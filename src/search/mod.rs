//! Which boundaries to evaluate next, on which samples: the choice of the exhaustive sweep for part of its cost.
//!
//! A coarse grid of boundaries sees the samples in a random order, twice as many at each look. A boundary that these rule out is
//! not evaluated further. When the grid has seen all samples, the boundaries between its points that may still be chosen join and
//! are judged in the same way. Low boundaries are expensive, because their streams fork early, and rarely good, so most of the
//! saving is there. The chosen boundary has been evaluated on every sample, so its figures are those of the exhaustive sweep.
//! Only a dropped boundary may have been dropped wrongly, with a bounded probability ([`Evidence`]).

pub mod allocation;
pub mod minimize;
pub mod subset;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::choice::evidence::{Evidence, Race};
use crate::choice::{Basis, ChoiceOptions, Rule};
use crate::error::Result;
use crate::measure::{
    self, Curve, DropSide, Measurement, OnProgress, Point, Progress, SampleScore, SampleSize, Sweep, Work,
};
use crate::model::AdaptedModel;
use crate::samples::Sample;

/// The least number of samples at the first look, and their share of all samples.
const FIRST_SAMPLES: usize = 8;
const FIRST_SHARE: usize = 4;

/// With fewer samples than this, dropping boundaries saves too little.
const LEAST_SAMPLES: usize = 2 * FIRST_SAMPLES;

/// With fewer candidates than this there is no grid.
const LEAST_FOR_GRID: usize = 12;

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
}

/// The state of a search.
pub struct Search<'a> {
    choice: &'a ChoiceOptions,
    options: SearchOptions,
    /// All candidates; the first is the base model, the last the whole adapter.
    candidates: Vec<usize>,
    sizes: Arc<[SampleSize]>,
    /// Samples in the order in which they are seen.
    order: Vec<usize>,
    /// How many samples have been seen at each look; all of them at the last.
    looks: Vec<usize>,
    /// Scores by boundary, in that order, of as many samples as it has seen.
    scores: BTreeMap<usize, Vec<SampleScore>>,
    /// What may still be chosen, evaluated or not.
    alive: BTreeSet<usize>,
    /// The highest boundary that surely keeps those below it from being chosen: a descending rule will reject it, or it fails the
    /// guard.
    floor: Option<usize>,
}

impl<'a> Search<'a> {
    pub fn new(
        candidates: &BTreeSet<usize>,
        sizes: Arc<[SampleSize]>,
        choice: &'a ChoiceOptions,
        options: SearchOptions,
    ) -> Self {
        let n = sizes.len();
        let mut draws = SampleSize::draws(&sizes);
        fastrand::Rng::with_seed(options.seed).shuffle(&mut draws);
        let order = draws.concat();
        let candidates: Vec<usize> = candidates.iter().copied().collect();
        let by_losses = choice.rule.basis() == Basis::Losses;
        let races = n >= LEAST_SAMPLES && by_losses && choice.rule.drops_early(choice);
        let looks = if races { looks(n) } else { vec![n] };
        let alive = match (by_losses, races) {
            (true, true) => grid(&candidates),
            (true, false) => candidates.iter().copied().collect(),
            // The boundary that is known already, the base model and the whole adapter, and nothing else.
            (false, _) => {
                let named = choice.boundary.unwrap_or(usize::MAX);
                let named = candidates.iter().rev().find(|&&boundary| boundary <= named);
                [candidates.first(), named, candidates.last()].into_iter().flatten().copied().collect()
            }
        };
        Self { choice, options, candidates, sizes, order, looks, scores: BTreeMap::new(), alive, floor: None }
    }

    /// Starts near the last candidate instead of evenly: with 1, 2, 4, … candidates between. Where points near the end are the
    /// expensive ones, and few of them are expected to hold, this evaluates fewer of them.
    pub fn from_the_end(mut self) -> Self {
        if self.looks.len() > 1 && self.candidates.len() >= LEAST_FOR_GRID {
            let last = self.candidates.len() - 1;
            let distances = std::iter::successors(Some(1), |distance| Some(2 * distance));
            let near = distances.take_while(|&distance| distance < last).map(|distance| last - distance);
            self.alive = near.chain([0, last]).map(|place| self.candidates[place]).collect();
        }
        self
    }

    /// Adds the measurement of a point on all samples, which is known already.
    pub fn know(&mut self, point: Point) {
        let scores = self.order.iter().map(|&place| point.measurement.scores[place]).collect();
        self.scores.insert(point.boundary, scores);
    }

    /// The samples that are added at each look, as indices.
    pub fn parts(&self) -> Vec<Vec<usize>> {
        let starts = std::iter::once(0).chain(self.looks.iter().copied());
        starts.zip(&self.looks).map(|(start, &end)| self.order[start..end].to_vec()).collect()
    }

    /// The next round; `None` when the choice can be made. Boundaries that have seen the fewest samples come first.
    pub fn next(&self) -> Option<Round> {
        let seen = self.alive.iter().map(|&boundary| self.seen(boundary)).min()?;
        let part = self.looks.iter().position(|&look| look > seen)?;
        let boundaries = self.alive.iter().copied().filter(|&boundary| self.seen(boundary) == seen).collect();
        Some(Round { boundaries, part })
    }

    /// Adds the scores of a round. Judges the boundaries once all that are left have seen the same samples.
    pub fn add(&mut self, points: &[Point]) {
        for point in points {
            self.scores.entry(point.boundary).or_default().extend(&point.measurement.scores);
        }
        if self.choice.rule.basis() == Basis::Losses {
            (self.alive, self.floor) = self.judged();
        }
    }

    /// The curve of what was evaluated on all samples, and what was ruled out.
    pub fn finish(self, work: Work) -> (Curve, Vec<Dropped>) {
        let mut points = Vec::new();
        let mut dropped = Vec::new();
        for &boundary in &self.candidates {
            let scores = self.scores.get(&boundary).map_or(&[][..], Vec::as_slice);
            if scores.len() == self.order.len() {
                let measurement = Measurement { scores: self.put_back(scores), sizes: self.sizes.clone() };
                points.push(Point { boundary, measurement });
            } else if self.choice.rule.basis() == Basis::Losses {
                let difference = (!scores.is_empty()).then(|| {
                    let tokens: usize = self.order[..scores.len()].iter().map(|&place| self.sizes[place].tokens).sum();
                    let pairs = scores.iter().zip(&self.scores[&self.whole()]);
                    pairs.map(|(one, whole)| one.loss - whole.loss).sum::<f64>() / tokens as f64
                });
                let holds = self.choice.rule.descends() && Some(boundary) > self.floor;
                let unguarded = !self.choice.rule.descends() && Some(boundary) <= self.floor;
                dropped.push(Dropped { boundary, samples: scores.len(), difference, holds, unguarded });
            }
        }
        (Curve { points, work }, dropped)
    }

    /// Scores in the order in which samples are seen, in the order of the samples.
    fn put_back(&self, seen: &[SampleScore]) -> Vec<SampleScore> {
        let mut scores = vec![SampleScore::default(); seen.len()];
        self.order.iter().zip(seen).for_each(|(&place, &score)| scores[place] = score);
        scores
    }

    fn seen(&self, boundary: usize) -> usize {
        self.scores.get(&boundary).map_or(0, Vec::len)
    }

    fn is_end(&self, boundary: usize) -> bool {
        boundary == self.candidates[0] || boundary == self.whole()
    }

    fn whole(&self) -> usize {
        self.candidates[self.candidates.len() - 1]
    }

    /// The boundaries that still have to be evaluated, with the two ends, which are the reference; and the floor.
    fn judged(&self) -> (BTreeSet<usize>, Option<usize>) {
        let sizes: Vec<SampleSize> = self.order.iter().map(|&place| self.sizes[place]).collect();
        let race = Race {
            options: self.choice,
            error: self.options.error,
            looks: self.looks.len(),
            candidates: self.candidates.len(),
            sizes: &sizes,
            ends: (self.candidates[0], self.whole()),
        };
        let evidence = Evidence::new(race, &self.scores);
        match self.choice.rule.descends() {
            true => self.descended(&evidence),
            false => self.raced(&evidence),
        }
    }

    /// For a rule that may choose any boundary above the highest that fails the guard, the floor: those that may still be chosen
    /// stay, and those between them join once these have seen all samples.
    fn raced(&self, evidence: &Evidence) -> (BTreeSet<usize>, Option<usize>) {
        let fails = |boundary: &usize| !self.is_end(*boundary) && evidence.surely_unguarded(*boundary);
        let (seen, unseen): (Vec<usize>, Vec<usize>) =
            self.candidates.iter().copied().partition(|&boundary| self.seen(boundary) > 0);
        let floor = seen.into_iter().filter(fails).max().max(self.floor);
        let may_win =
            |boundary: &usize| self.is_end(*boundary) || Some(*boundary) > floor && !evidence.rules_out(*boundary);
        // What was ruled out stays out, because the error is divided among this number of looks.
        let mut alive: BTreeSet<usize> = self.alive.iter().copied().filter(may_win).collect();
        if self.have_seen_all(&alive) {
            // As for a rule that descends, an interpolated score is no floor.
            let seems_to_fail = unseen.iter().copied().filter(fails).max().filter(|&boundary| Some(boundary) > floor);
            alive.extend(unseen.into_iter().filter(|boundary| may_win(boundary) && Some(*boundary) > seems_to_fail));
            alive.extend(seems_to_fail);
        }
        (alive, floor)
    }

    /// For a rule that goes down from the whole adapter to the first boundary that does not hold, the floor. Only boundaries
    /// above it matter, and one that surely holds needs no more samples, except the lowest, which is the choice.
    fn descended(&self, evidence: &Evidence) -> (BTreeSet<usize>, Option<usize>) {
        let fails = |boundary: &usize| *boundary != self.whole() && evidence.rules_out(*boundary);
        let (seen, unseen): (Vec<usize>, Vec<usize>) =
            self.candidates.iter().copied().partition(|&boundary| self.seen(boundary) > 0);
        let floor = seen.iter().copied().filter(fails).max().max(self.floor);
        let is_open =
            |boundary: &usize| self.is_end(*boundary) || Some(*boundary) > floor && !evidence.holds(*boundary);
        let mut alive: BTreeSet<usize> = seen.into_iter().filter(is_open).collect();
        if self.have_seen_all(&alive) {
            // An interpolated loss decides nothing: the highest boundary that seems to fail is evaluated before those below it
            // are dropped.
            let seems_to_fail = unseen.iter().copied().filter(fails).max();
            alive.extend(unseen.into_iter().filter(|boundary| is_open(boundary) && Some(*boundary) >= seems_to_fail));
        }
        if self.have_seen_all(&alive) {
            alive.extend(self.candidates.iter().copied().find(|&boundary| Some(boundary) > floor));
        }
        (alive, floor)
    }

    fn have_seen_all(&self, boundaries: &BTreeSet<usize>) -> bool {
        boundaries.iter().all(|&boundary| self.seen(boundary) == self.order.len())
    }
}

/// Whether a search that dropped these may have chosen a boundary: a rule that descends does not go past one that does not hold, and
/// no rule past one that fails the guard.
pub fn may_be_chosen(dropped: &[Dropped], rule: &dyn Rule) -> impl Fn(usize) -> bool + use<> {
    let descends = rule.descends();
    let fails = dropped.iter().filter(|dropped| dropped.unguarded || descends && !dropped.holds);
    let floor = fails.map(|dropped| dropped.boundary).max();
    // The base model alone is no cut, and the guard does not judge it.
    move |boundary| Some(boundary) > floor || boundary == 0 && !descends
}

/// How many of `n` samples have been seen at each look.
fn looks(n: usize) -> Vec<usize> {
    let first = FIRST_SAMPLES.max(n / FIRST_SHARE);
    let doubled = std::iter::successors(Some(first), |&seen| Some(2 * seen));
    doubled.take_while(|&seen| seen < n).chain([n]).collect()
}

/// The first and the last candidate and some between them, about as many as lie between two of these; all where they
/// are few, because a curve through few points is not smooth.
fn grid(candidates: &[usize]) -> BTreeSet<usize> {
    let step = match candidates.len() {
        ..LEAST_FOR_GRID => 1,
        count => (count as f64 * 0.8).sqrt().round() as usize,
    };
    candidates.iter().step_by(step).chain(candidates.last()).copied().collect()
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
    let mut search = Search::new(&side.points(adapted.adapter()), sizes, choice, options).from_the_end();
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
