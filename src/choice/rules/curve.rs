//! `curve`: the paper's probability curve, read by a fixed rule: the boundary is the *elbow* of the adapted model's curve.
//!
//! The paper (arXiv 2503.23360) sees two stages in the layers: first information is extracted, and the true token is
//! unlikely behind every layer; then the answer is refined, and its probability rises. It reads the boundary between them off
//! the curve by hand. Here it is the point of the curve that lies farthest below the straight line between its two ends, as in
//! Satopää et al., "Finding a 'Kneedle' in a Haystack" (2011), without their smoothing: it has no parameters, and the mean over
//! all answer tokens is smooth enough. `docs/method.md` says how well this works.

use std::collections::BTreeSet;

use super::{Basis, Rule};
use crate::choice::stability::{Share, of_resamples};
use crate::choice::{AssessedBoundary, Candidates};
use crate::measure::{Lens, Readout};

/// A curve that nowhere lies farther below the line than this share of its rise has no elbow.
const LEAST_BEND: f64 = 0.1;

/// The rule of `--choose curve`.
pub const CURVE: &dyn Rule = &ProbabilityCurve;

#[derive(Debug)]
struct ProbabilityCurve;

impl Rule for ProbabilityCurve {
    fn name(&self) -> &'static str {
        "curve"
    }

    fn help(&self) -> &'static str {
        "The layer from which the probability of the true tokens rises: the paper's probability curve, read by a fixed rule"
    }

    fn basis(&self) -> Basis {
        Basis::Probability
    }

    /// The boundary was [read](read) before any loss was measured; the reason comes from there.
    fn choose<'a>(&self, candidates: &'a Candidates) -> (&'a AssessedBoundary, String) {
        let named = candidates.named();
        if candidates.admits(named) {
            return (named, "it was read off the probability curve".into());
        }
        let reason = format!(
            "boundary {}, read off the probability curve, cannot be shown to be as good as the whole adapter",
            named.boundary
        );
        (candidates.whole(), reason)
    }
}

/// The boundary that a probability curve shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    pub boundary: usize,
    /// One sentence for people.
    pub reason: String,
}

impl Readout {
    /// The mean probability of an answer token.
    pub fn mean_probability(&self, answers: &[usize]) -> f64 {
        self.probabilities.iter().sum::<f64>() / answers.iter().sum::<usize>() as f64
    }

    /// The mean loss in nats per answer token.
    pub fn mean_loss(&self, answers: &[usize]) -> f64 {
        self.losses.iter().sum::<f64>() / answers.iter().sum::<usize>() as f64
    }
}

impl Lens {
    /// The lens on some of its samples, given by their indices; one may occur several times.
    pub fn of_samples(&self, places: &[usize]) -> Self {
        let pick = |values: &[f64]| places.iter().map(|&place| values[place]).collect();
        let readout =
            |readout: &Readout| Readout { losses: pick(&readout.losses), probabilities: pick(&readout.probabilities) };
        Self {
            base: self.base.iter().map(readout).collect(),
            adapted: self.adapted.iter().map(readout).collect(),
            tokens: places.iter().map(|&place| self.tokens[place]).collect(),
            work: self.work,
        }
    }
}

/// The elbow of the adapted model's curve, or a sentence that says why there is none. Both curves hold mean probabilities
/// behind 0, 1, … layers.
pub fn elbow(base: &[f64], adapted: &[f64]) -> Result<usize, &'static str> {
    let (Some(base_end), [start, .., end]) = (base.last(), adapted) else {
        return Err("there is no curve");
    };
    if end <= base_end {
        return Err("the adapter does not make the true tokens likelier");
    }
    let rise = end - start;
    if rise <= 0.0 {
        return Err("the probability of the true tokens does not rise over the layers");
    }
    let layers = (adapted.len() - 1) as f64;
    let bend = |(index, probability): (usize, &f64)| start + rise * index as f64 / layers - probability;
    let bends = adapted.iter().enumerate().map(bend).enumerate();
    // Of equal points, take the highest, which keeps the most.
    let deepest = bends.max_by(|(_, one), (_, other)| one.total_cmp(other));
    match deepest {
        Some((index, bend)) if bend >= LEAST_BEND * rise => Ok(index),
        _ => Err("the probability of the true tokens rises from the first layers on"),
    }
}

/// Reads the boundary off a lens: the highest candidate that `allowed` admits and that is not above the elbow. Without an
/// elbow, or if the adapter has nothing below it, the highest candidate of all.
pub fn read(lens: &Lens, candidates: &BTreeSet<usize>, allowed: impl Fn(usize) -> bool) -> Reading {
    let means = |readouts: &[Readout]| readouts.iter().map(|at| at.mean_probability(&lens.tokens)).collect::<Vec<_>>();
    let highest = |most: usize| {
        let fits = |boundary: &&usize| **boundary > 0 && **boundary <= most && allowed(**boundary);
        candidates.iter().rev().find(fits).copied()
    };
    let elbow = elbow(&means(&lens.base), &means(&lens.adapted));
    let read = elbow.and_then(|elbow| {
        let boundary = highest(elbow).ok_or("the adapter has nothing in the layers before the rise")?;
        Ok((elbow, boundary))
    });
    match read {
        Ok((elbow, boundary)) => {
            let reason = format!("the probability of the true tokens begins to rise behind {elbow} layers");
            let limited = candidates.range(..=elbow).last().is_some_and(|&unlimited| unlimited > boundary);
            let limit = if limited { ", and this is the highest boundary within the limit" } else { "" };
            Reading { boundary, reason: reason + limit }
        }
        Err(why) => {
            let boundary = highest(usize::MAX).unwrap_or(0);
            let kept = match candidates.last() == Some(&boundary) {
                true => "everything is kept",
                false => "this is the highest boundary within the limit",
            };
            Reading {
                boundary,
                reason: format!("nothing can be read off the probability curve, because {why}; {kept}"),
            }
        }
    }
}

/// How often each boundary is read off on resampled samples.
pub fn stability(
    lens: &Lens,
    draws: &[Vec<usize>],
    candidates: &BTreeSet<usize>,
    allowed: impl Fn(usize) -> bool,
) -> Vec<Share> {
    let places = |drawn: &[&Vec<usize>]| drawn.iter().flat_map(|members| members.iter().copied()).collect::<Vec<_>>();
    of_resamples(draws, |drawn| read(&lens.of_samples(&places(drawn)), candidates, &allowed).boundary)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: [f64; 7] = [0.0, 0.0, 0.01, 0.02, 0.05, 0.4, 0.9];

    fn lens(base: &[f64], adapted: &[f64], samples: usize) -> Lens {
        let readouts = |means: &[f64]| {
            let readout = |mean: &f64| Readout { losses: vec![1.0; samples], probabilities: vec![mean * 2.0; samples] };
            means.iter().map(readout).collect()
        };
        let work = crate::measure::Work::default();
        Lens { base: readouts(base), adapted: readouts(adapted), tokens: vec![2; samples], work }
    }

    fn boundary(lens: &Lens, candidates: &[usize], most: usize) -> usize {
        read(lens, &candidates.iter().copied().collect(), |boundary| boundary <= most).boundary
    }

    #[test]
    fn the_elbow_is_where_the_rise_begins() {
        assert_eq!(elbow(&[0.0; 7], &LATE), Ok(4));
        // A dip after an early hump is nearer to what rises.
        assert_eq!(elbow(&[0.0; 7], &[0.0, 0.3, 0.2, 0.1, 0.1, 0.5, 0.9]), Ok(4));
        // All in the last layer.
        assert_eq!(elbow(&[0.0; 5], &[0.1, 0.1, 0.1, 0.1, 0.8]), Ok(3));
        assert_eq!(
            elbow(&[0.0; 2], &[0.0, 0.5]),
            Err("the probability of the true tokens rises from the first layers on")
        );
    }

    #[test]
    fn the_scale_of_the_probabilities_does_not_matter() {
        let small: Vec<f64> = LATE.iter().map(|probability| 1e-6 * probability + 1e-7).collect();
        assert_eq!(elbow(&[0.0; 7], &small), Ok(4));
    }

    #[test]
    fn where_nothing_can_be_read_nothing_is_made_up() {
        let straight: Vec<f64> = (0..7).map(|layer| 0.1 * f64::from(layer)).collect();
        let early = [0.0, 0.5, 0.7, 0.8, 0.85, 0.9, 0.9];
        for adapted in [&straight[..], &early, &[0.5; 7], &[0.0; 7], &[0.6, 0.2, 0.2, 0.2, 0.2, 0.3, 0.5], &[0.5], &[]]
        {
            assert!(elbow(&vec![0.0; adapted.len()], adapted).is_err(), "{adapted:?}");
        }
        assert!(elbow(&LATE, &LATE).is_err(), "an adapter that changes nothing");
        let reading = read(&lens(&LATE, &LATE, 3), &BTreeSet::from([0, 2, 6]), |_| true);
        assert_eq!(reading.boundary, 6);
        assert!(
            reading.reason.contains("does not make the true tokens likelier; everything is kept"),
            "{}",
            reading.reason
        );
    }

    #[test]
    fn the_boundary_is_the_highest_candidate_not_above_the_elbow() {
        let lens = lens(&[0.0; 7], &LATE, 3);
        assert_eq!(boundary(&lens, &[0, 1, 2, 3, 4, 5, 6], 6), 4);
        assert_eq!(boundary(&lens, &[0, 1, 2, 3, 4, 5, 6], 3), 3);
        assert_eq!(boundary(&lens, &[0, 2, 3, 6], 6), 3);
        // The adapter begins above the elbow: dropping all of it is not what the curve says.
        assert_eq!(boundary(&lens, &[0, 5, 6], 6), 6);
        assert_eq!(boundary(&lens, &[0, 5, 6], 5), 5);
        let limited = read(&lens, &(0..=6).collect(), |boundary| boundary <= 3);
        assert!(limited.reason.ends_with("within the limit"), "{}", limited.reason);
    }

    #[test]
    fn equal_samples_are_read_alike_and_different_ones_are_not() {
        let candidates = (0..=6).collect();
        let mut lens = lens(&[0.0; 7], &LATE, 8);
        let draws: Vec<Vec<usize>> = (0..8).map(|sample| vec![sample]).collect();
        assert_eq!(stability(&lens, &draws, &candidates, |_| true), [Share { boundary: 4, share: 1.0 }]);
        // Half of the samples rise two layers earlier, and weigh as much.
        for sample in 0..4 {
            lens.adapted[3].probabilities[sample] = 0.8;
            lens.adapted[4].probabilities[sample] = 1.2;
            lens.adapted[5].probabilities[sample] = 1.6;
        }
        let shares = stability(&lens, &draws, &candidates, |_| true);
        assert!(shares.len() > 1 && shares.iter().any(|share| share.boundary == 2), "{shares:?}");
        assert!((shares.iter().map(|share| share.share).sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
