//! Which boundaries to evaluate next, on which samples: the choice of the exhaustive sweep for a part of its work.
//!
//! First a coarse grid of boundaries sees the samples, twice as many in each round and in a random order; then those
//! between grid points that may still be chosen. Low boundaries are the dear ones, because their streams fork early, and
//! rarely the good ones, so this is where most is saved. What is chosen has been evaluated on every sample, so its figures
//! are those of the exhaustive sweep; only what was dropped may have been dropped wrongly, with a probability that is
//! stated.
//!
//! A boundary is ruled out by the paired differences over the samples seen so far: these are drawn without replacement
//! from all the samples on which the exhaustive sweep would decide, so the bound on its result is Student's with the
//! finite population's correction, divided among the rounds.

use std::collections::{BTreeMap, BTreeSet};

use crate::choice::{self, Rule, standard_error, student_quantile};
use crate::error::{Error, Result, SweepError};
use crate::model::Ends;
use crate::samples::Sample;
use crate::sweep::{self, Curve, Point, Watch, Work};

/// The samples of the first round, at least, and the share of all that they are.
const FIRST_SAMPLES: usize = 8;
const FIRST_SHARE: usize = 4;

/// Fewer samples than this are not worth dropping any boundary for.
const LEAST_SAMPLES: usize = 2 * FIRST_SAMPLES;

/// How to search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// The probability that the exhaustive sweep would choose another boundary, at most.
    pub error: f64,
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { error: 0.05, seed: 0 }
    }
}

/// Boundaries to evaluate on samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    pub boundaries: BTreeSet<usize>,
    /// Places of samples.
    pub samples: Vec<usize>,
}

/// A boundary that was ruled out.
#[derive(Debug, Clone, PartialEq)]
pub struct Dropped {
    pub boundary: usize,
    /// The samples that it was evaluated on; 0 where its neighbours on the grid were enough.
    pub samples: usize,
    /// loss(b) − loss(L) on those samples, in nats per answer token.
    pub difference: Option<f64>,
}

/// The state of a search.
pub struct Search<'a> {
    choice: &'a choice::Options,
    options: Options,
    /// All candidates; the first is the base model, the last the whole adapter.
    candidates: Vec<usize>,
    /// The answer tokens of each sample.
    answers: &'a [usize],
    /// Samples in the order in which they are seen.
    order: Vec<usize>,
    /// Losses by boundary, in that order, of as many samples as it has seen.
    losses: BTreeMap<usize, Vec<f64>>,
    stage: Stage,
    /// What may still be chosen, of the boundaries of this stage.
    alive: BTreeSet<usize>,
    /// Samples that the boundaries of this stage have seen.
    seen: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Grid,
    BetweenGridPoints,
}

impl<'a> Search<'a> {
    pub fn new(
        candidates: &BTreeSet<usize>,
        answers: &'a [usize],
        choice: &'a choice::Options,
        options: Options,
    ) -> Self {
        let mut order: Vec<usize> = (0..answers.len()).collect();
        fastrand::Rng::with_seed(options.seed).shuffle(&mut order);
        let all: Vec<usize> = candidates.iter().copied().collect();
        let alive = match choice.rule {
            // What was given, measured against the ends, and nothing else.
            Rule::Boundary => {
                let given = candidates.range(..=choice.boundary.unwrap_or(usize::MAX)).next_back();
                [all.first(), given, all.last()].into_iter().flatten().copied().collect()
            }
            _ if order.len() < LEAST_SAMPLES => candidates.clone(),
            _ => grid(&all),
        };
        let (losses, stage, seen) = (BTreeMap::new(), Stage::Grid, 0);
        Self { choice, options, candidates: all, answers, order, losses, stage, alive, seen }
    }

    /// The next round; `None` when the choice can be made.
    pub fn next(&self) -> Option<Round> {
        let n = self.order.len();
        if self.seen == n || self.alive.is_empty() {
            return None;
        }
        let races = n >= LEAST_SAMPLES && self.choice.rule != Rule::Boundary;
        let until = if races { (2 * self.seen).max(self.first()).min(n) } else { n };
        Some(Round { boundaries: self.alive.clone(), samples: self.order[self.seen..until].to_vec() })
    }

    /// Takes in the losses of a round and rules out what they rule out.
    pub fn add(&mut self, round: &Round, points: &[Point]) {
        for point in points {
            self.losses.entry(point.boundary).or_default().extend(&point.per_sample);
        }
        self.seen += round.samples.len();
        if self.choice.rule == Rule::Boundary {
            return;
        }
        self.drop_ruled_out();
        if self.seen == self.order.len() && self.stage == Stage::Grid {
            self.stage = Stage::BetweenGridPoints;
            self.alive = self.plausible_between_grid_points();
            self.seen = 0;
        }
    }

    /// The curve of what was evaluated on all samples, and what was not.
    pub fn finish(self, work: Work) -> (Curve, Vec<Dropped>) {
        let mut points = Vec::new();
        let mut dropped = Vec::new();
        for &boundary in &self.candidates {
            let losses = self.losses.get(&boundary).map_or(&[][..], Vec::as_slice);
            if losses.len() == self.order.len() {
                let mut per_sample = vec![0.0; losses.len()];
                self.order.iter().zip(losses).for_each(|(&place, &loss)| per_sample[place] = loss);
                points.push(Point { boundary, per_sample });
            } else {
                let difference = (!losses.is_empty()).then(|| {
                    let tokens: usize = self.tokens(losses.len()).iter().sum();
                    losses.iter().zip(&self.losses[self.whole()]).map(|(a, b)| a - b).sum::<f64>() / tokens as f64
                });
                dropped.push(Dropped { boundary, samples: losses.len(), difference });
            }
        }
        (Curve { points, answers: self.answers.to_vec(), work }, dropped)
    }

    fn first(&self) -> usize {
        FIRST_SAMPLES.max(self.order.len() / FIRST_SHARE)
    }

    fn ends(&self) -> [&usize; 2] {
        [&self.candidates[0], self.whole()]
    }

    fn whole(&self) -> &usize {
        &self.candidates[self.candidates.len() - 1]
    }

    fn tokens(&self, seen: usize) -> Vec<usize> {
        self.order[..seen].iter().map(|&place| self.answers[place]).collect()
    }

    /// The candidates between grid points that their neighbours do not rule out. A smooth curve leaves the line between two
    /// points by at most an eighth of its second difference there; twice as much is allowed for.
    fn plausible_between_grid_points(&self) -> BTreeSet<usize> {
        let grid: Vec<usize> = self.losses.keys().copied().collect();
        let scores: Vec<Score> = grid.iter().map(|&boundary| self.score(boundary)).collect();
        let bend = |i: usize| match (i.checked_sub(1), scores.get(i + 1)) {
            (Some(left), Some(right)) => (scores[left].mean - 2.0 * scores[i].mean + right.mean).abs(),
            _ => 0.0,
        };
        let is_dropped = |i: usize| self.losses[&grid[i]].len() < self.order.len();
        let mut plausible = BTreeSet::new();
        for i in 0..grid.len() - 1 {
            // Once a smaller boundary holds, none above it is chosen.
            let smaller_holds =
                self.choice.rule == Rule::Smallest && scores[1..=i].iter().any(|score| score.most <= 0.0);
            let least = scores[i].mean.min(scores[i + 1].mean) - bend(i).max(bend(i + 1)) / 4.0;
            if least <= 0.0 && !smaller_holds && !(is_dropped(i) && is_dropped(i + 1)) {
                plausible.extend(self.candidates.iter().filter(|&&b| grid[i] < b && b < grid[i + 1]));
            }
        }
        plausible
    }

    /// Drops from what is alive all that the samples seen rule out. The ends stay: they are what all is measured with.
    fn drop_ruled_out(&mut self) {
        let evaluated = self.alive.iter().copied().filter(|boundary| self.losses.contains_key(boundary));
        let scores: BTreeMap<usize, Score> = evaluated.map(|boundary| (boundary, self.score(boundary))).collect();
        let ends = self.ends().map(|&end| end);
        let holds = |(boundary, score): &(&usize, &Score)| !ends.contains(boundary) && score.most <= 0.0;
        let surely_holds = match self.choice.rule {
            Rule::Smallest => scores.iter().find(holds).map(|(&boundary, _)| boundary),
            Rule::Best | Rule::Boundary => None,
        };
        let may_be_chosen = |boundary: &usize| {
            scores.get(boundary).is_none_or(|score| score.least <= 0.0)
                && surely_holds.is_none_or(|smallest| *boundary <= smallest)
        };
        if self.choice.rule != Rule::Boundary {
            self.alive.retain(|boundary| ends.contains(boundary) || may_be_chosen(boundary));
        }
    }

    /// What a boundary that has seen `m` samples is compared with: for `best` the one with the lowest loss on them, else
    /// the whole adapter.
    fn reference(&self, m: usize) -> &[f64] {
        let whole = &self.losses[self.whole()][..m];
        if self.choice.rule != Rule::Best {
            return whole;
        }
        let sum = |losses: &&[f64]| losses.iter().sum::<f64>();
        let seen = self.losses.values().filter(|losses| losses.len() >= m).map(|losses| &losses[..m]);
        seen.min_by(|a, b| sum(a).total_cmp(&sum(b))).unwrap_or(whole)
    }

    /// What the exhaustive sweep will find of a boundary, as far as the samples seen tell, in nats per answer token: for
    /// `best` by how much its loss exceeds the lowest, for `smallest` by how much the upper bound of its difference
    /// exceeds the margin. Above 0 it is not chosen.
    fn score(&self, boundary: usize) -> Score {
        let losses = &self.losses[&boundary];
        let reference = self.reference(losses.len());
        let (whole, base) = (&self.losses[self.whole()], &self.losses[&self.candidates[0]]);
        let (m, n) = (losses.len(), self.order.len());
        let tokens = self.tokens(m);
        let all: usize = tokens.iter().sum();
        let mean = |differences: &[f64]| differences.iter().sum::<f64>() / all as f64;
        let less = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a - b).collect() };
        let differences = less(losses, reference);
        let gains = less(&base[..m], &whole[..m]);
        let mut judged = differences.clone();
        if self.choice.rule == Rule::Smallest && mean(&gains) > 0.0 {
            judged.iter_mut().zip(&gains).for_each(|(difference, gain)| *difference -= self.choice.margin * gain);
        }
        let error = |values: &[f64]| standard_error(values, &tokens).unwrap_or(f64::INFINITY);
        let unseen = 1.0 - m as f64 / n as f64;
        let quantile = self.quantile(m);
        let spread = if unseen > 0.0 { quantile * error(&judged) * unseen.sqrt() } else { 0.0 };
        let (mut least, mut most) = (mean(&judged) - spread, mean(&judged) + spread);
        if self.choice.rule == Rule::Smallest {
            // The bound that will be added once all samples are seen, itself uncertain until then.
            let student = student_quantile(self.choice.confidence, n - 1);
            let bound = error(&differences) * (m as f64 / n as f64).sqrt() * student;
            let doubt = quantile * unseen.sqrt() / (2.0 * m as f64).sqrt();
            least += bound * (1.0 - doubt).max(0.0);
            most += bound * (1.0 + doubt);
        }
        Score { mean: mean(&judged), least, most }
    }

    /// Student's quantile for one of all comparisons that may be made.
    fn quantile(&self, m: usize) -> f64 {
        let rounds = 2.0 * (1.0 + (self.order.len() as f64 / self.first() as f64).log2().ceil());
        student_quantile(1.0 - self.options.error / rounds, m.saturating_sub(1).max(1))
    }
}

/// The first and the last candidate and some between them, about as many as lie between two of these.
fn grid(candidates: &[usize]) -> BTreeSet<usize> {
    let step = (candidates.len() as f64 * 0.8).sqrt().round().max(1.0) as usize;
    candidates.iter().step_by(step).chain(candidates.last()).copied().collect()
}

/// Runs a search: evaluates round after round until the choice can be made.
pub fn run(
    ends: &Ends,
    samples: &[Sample],
    choice: &choice::Options,
    options: Options,
    sweep_options: &sweep::Options,
    watch: Watch,
) -> Result<(Curve, Vec<Dropped>)> {
    let answers: Vec<usize> = samples.iter().map(Sample::answers).collect();
    let mut search = Search::new(&sweep::candidates(ends.adapter()), &answers, choice, options);
    let mut work = Work::default();
    while let Some(round) = search.next() {
        let chosen: Vec<Sample> = round.samples.iter().map(|&place| samples[place].clone()).collect();
        let curve = sweep::sweep(ends, &chosen, &round.boundaries, sweep_options, &mut *watch)
            .map_err(|error| in_place(error, &round))?;
        work.passes += curve.work.passes;
        work.layer_tokens += curve.work.layer_tokens;
        search.add(&round, &curve.points);
    }
    Ok(search.finish(work))
}

/// An error that names a sample of a round names it by its place among all.
fn in_place(error: Error, round: &Round) -> Error {
    match error {
        Error::Sweep(SweepError::NotFinite { boundary, sample }) => {
            let sample = round.samples.get(sample - 1).map_or(sample, |place| place + 1);
            SweepError::NotFinite { boundary, sample }.into()
        }
        error => error,
    }
}

/// A prediction with its bounds.
#[derive(Debug, Clone, Copy)]
struct Score {
    mean: f64,
    least: f64,
    most: f64,
}
