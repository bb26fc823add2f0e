//! A search: what it has seen of each boundary, and what may still be chosen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Dropped, Round, SearchOptions};
use crate::choice::evidence::{Evidence, Race};
use crate::choice::{Basis, Candidates, ChoiceOptions, Criterion};
use crate::measure::{Curve, Measurement, Point, SampleScore, SampleSize, Work};

/// The least number of samples at the first look, and their share of all samples.
const FIRST_SAMPLES: usize = 8;
const FIRST_SHARE: usize = 4;

/// With fewer samples than this, dropping boundaries saves too little.
const LEAST_SAMPLES: usize = 2 * FIRST_SAMPLES;

/// As [`LEAST_SAMPLES`], for a rule that may choose any boundary, with no guard: on few samples the curve is so rough that a
/// boundary between two others can be better than both.
const LEAST_TO_RACE: usize = 32;

/// With fewer candidates than this, all of them are evaluated.
const LEAST_CANDIDATES: usize = 12;

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
        let least = if choice.rule.descends() || choice.guard.is_some() { LEAST_SAMPLES } else { LEAST_TO_RACE };
        let races = n >= least && by_losses && choice.rule.drops_early(choice);
        let looks = if races { looks(n) } else { vec![n] };
        let alive = match (by_losses, races) {
            (true, true) => first_candidates(&candidates),
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
        let curve = Curve { points: self.complete_points(), work };
        if self.choice.rule.basis() != Basis::Losses {
            return (curve, Vec::new());
        }
        let helps_less = Candidates::new(&curve, self.choice, &|_| true).helpful_prefix().is_some();
        let descends = self.choice.rule.descends();
        let dropped = |&boundary: &usize| Dropped {
            boundary,
            samples: self.seen(boundary),
            difference: self.difference(boundary, Criterion::Loss),
            holds: !helps_less && descends && Some(boundary) > self.floor,
            unguarded: !helps_less && !descends && Some(boundary) <= self.floor,
            helps_less,
        };
        let incomplete = self.candidates.iter().filter(|&&boundary| self.seen(boundary) < self.order.len());
        let dropped = incomplete.map(dropped).collect();
        (curve, dropped)
    }

    /// The boundaries that have seen all samples.
    fn complete_points(&self) -> Vec<Point> {
        let complete = self.scores.iter().filter(|(_, scores)| scores.len() == self.order.len());
        let point = |(&boundary, scores): (&usize, &Vec<SampleScore>)| Point {
            boundary,
            measurement: Measurement { scores: self.put_back(scores), sizes: self.sizes.clone() },
        };
        complete.map(point).collect()
    }

    /// By how much a boundary is worse than the whole adapter on the samples that it has seen, per answer token.
    fn difference(&self, boundary: usize, criterion: Criterion) -> Option<f64> {
        let (scores, whole) = (self.scores.get(&boundary)?, &self.scores[&self.whole()]);
        let sizes = || self.order.iter().map(|&place| &self.sizes[place]).take(scores.len());
        let cost = |scores: &[SampleScore]| -> f64 {
            scores.iter().zip(sizes()).map(|(score, size)| criterion.cost(score, size)).sum()
        };
        let tokens: usize = sizes().map(|size| size.tokens).sum();
        Some((cost(scores) - cost(&whole[..scores.len()])) / tokens as f64)
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
        let by_rule = || match self.choice.rule.descends() {
            true => self.descended(&evidence),
            false => self.raced(&evidence),
        };
        if !self.have_seen_all(&BTreeSet::from([self.candidates[0], self.whole()])) {
            return by_rule();
        }
        let curve = Curve { points: self.complete_points(), work: Work::default() };
        let candidates = Candidates::new(&curve, self.choice, &|_| true);
        if candidates.helps() {
            return by_rule();
        }
        if let Some(best) = candidates.helpful_prefix() {
            return (self.raced_to_help(&evidence, Some(best.boundary)), self.floor);
        }
        let (mut alive, floor) = by_rule();
        match self.most_promising().filter(|&boundary| self.seen(boundary) < self.order.len()) {
            // If it helps, it rules out most of the others.
            Some(boundary) => _ = alive.insert(boundary),
            None => alive.extend(self.raced_to_help(&evidence, None)),
        }
        (alive, floor)
    }

    /// Of the boundaries between the ends that were evaluated, the one that is best on the samples that it has seen.
    fn most_promising(&self) -> Option<usize> {
        let difference = |boundary: usize| Some((boundary, self.difference(boundary, self.choice.measure)?));
        let inner = self.scores.keys().copied().filter(|&boundary| !self.is_end(boundary));
        Some(inner.filter_map(difference).min_by(|a, b| a.1.total_cmp(&b.1))?.0)
    }

    /// Where the whole adapter does not surely help: what may be the part that helps most, which is the choice by any rule.
    fn raced_to_help(&self, evidence: &Evidence, best: Option<usize>) -> BTreeSet<usize> {
        let may_win = |boundary: &usize| self.is_end(*boundary) || !evidence.cannot_help_most(*boundary, best);
        let (seen, unseen): (Vec<usize>, Vec<usize>) =
            self.candidates.iter().copied().partition(|&boundary| self.seen(boundary) > 0);
        let mut alive: BTreeSet<usize> = seen.into_iter().filter(may_win).collect();
        if self.have_seen_all(&alive) {
            alive.extend(self.middles(unseen.into_iter().filter(may_win)));
        }
        alive
    }

    /// The middle one of each run of boundaries that has no evaluated one inside it.
    fn middles(&self, open: impl Iterator<Item = usize>) -> Vec<usize> {
        let open: Vec<usize> = open.collect();
        let runs = open.chunk_by(|&low, &high| self.scores.range(low..high).next().is_none());
        runs.map(|run| run[run.len() / 2]).collect()
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
            let open = unseen.into_iter().filter(|boundary| may_win(boundary) && Some(*boundary) > seems_to_fail);
            alive.extend(self.middles(open));
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
            let open = unseen.into_iter().filter(|boundary| is_open(boundary) && Some(*boundary) >= seems_to_fail);
            alive.extend(self.middles(open));
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

/// How many of `n` samples have been seen at each look.
fn looks(n: usize) -> Vec<usize> {
    let first = FIRST_SAMPLES.max(n / FIRST_SHARE);
    let doubled = std::iter::successors(Some(first), |&seen| Some(2 * seen));
    doubled.take_while(|&seen| seen < n).chain([n]).collect()
}

/// Both ends, and the candidates 1, 3, 7, 15, … below the last one: the choice is most often near it, and there boundaries cost
/// little. All where candidates are few, because a curve through few points is not smooth.
fn first_candidates(candidates: &[usize]) -> BTreeSet<usize> {
    if candidates.len() < LEAST_CANDIDATES {
        return candidates.iter().copied().collect();
    }
    let last = candidates.len() - 1;
    let distances = std::iter::successors(Some(0), |distance| Some(2 * distance + 1));
    let near = distances.take_while(|&distance| distance < last).map(|distance| last - distance);
    near.chain([0]).map(|place| candidates[place]).collect()
}
