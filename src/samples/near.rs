//! Near duplicates: samples that say almost the same in almost the same tokens.
//!
//! Two samples are compared by their sets of tokens, prompt and answer together, so that samples that are tokens already are compared
//! like text. A token weighs ln²(n / k) if k of the n samples have it: what all have (a template, an instruction) weighs nothing. They
//! are near duplicates if what both have weighs at least [`LEAST_COMMON`] of what either has, and if it is too rare for chance.

use std::collections::HashMap;

use super::Sample;

/// The least share of common tokens, by weight. Of ten rare words one may differ.
const LEAST_COMMON: f64 = 0.7;

/// The most probable coincidence that counts as a near duplicate: the chance that any two of the samples have their common tokens in
/// common, if each token fell where it does independently. Numbers, for example, share their few digits all the time.
const MOST_CHANCE: f64 = 0.01;

/// A token finds the first samples that have it, and no more than this, so that the work does not grow with the square of the samples.
const MOST_LOOKED_UP: usize = 1000;

/// Calls `found` for each pair of near duplicates, as indices of `samples`, the lower one first.
pub fn for_each_pair(samples: &[&Sample], mut found: impl FnMut(usize, usize)) {
    let tokens = Tokens::of(samples);
    let bags: Vec<Bag> = samples.iter().map(|sample| tokens.bag(sample)).collect();
    // What two near duplicates have in common does not all lie in the commonest tokens, so one of the rarest finds the pair.
    let mut of_token: HashMap<u32, Vec<usize>> = HashMap::new();
    let mut last_compared = vec![usize::MAX; samples.len()];
    for (place, bag) in bags.iter().enumerate() {
        for token in bag.rarest() {
            let others = of_token.entry(token).or_default();
            for &other in others.iter() {
                if last_compared[other] != place {
                    last_compared[other] = place;
                    if tokens.are_near(&bags[other], bag) {
                        found(other, place);
                    }
                }
            }
            if others.len() < MOST_LOOKED_UP {
                others.push(place);
            }
        }
    }
}

/// How rare each token is among samples.
struct Tokens {
    samples: f64,
    /// How many samples have it.
    counts: HashMap<u32, usize>,
}

/// The different tokens of a sample, the rarest first, each with how rare it is: ln(n / k). Those that all samples have are left out.
struct Bag(Vec<(u32, f64)>);

impl Tokens {
    fn of(samples: &[&Sample]) -> Self {
        let mut counts = HashMap::new();
        for sample in samples {
            different(sample).into_iter().for_each(|token| *counts.entry(token).or_default() += 1);
        }
        Self { samples: samples.len() as f64, counts }
    }

    fn bag(&self, sample: &Sample) -> Bag {
        let rarity = |token: u32| (token, (self.samples / self.counts[&token] as f64).ln());
        let mut tokens: Vec<(u32, f64)> = different(sample).into_iter().map(rarity).collect();
        tokens.retain(|(_, rarity)| *rarity > 0.0);
        tokens.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        Bag(tokens)
    }

    fn are_near(&self, one: &Bag, other: &Bag) -> bool {
        let (mut common, mut coincidence) = (0.0, 0.0);
        let (mut left, mut right) = (one.0.iter().peekable(), other.0.iter().peekable());
        // Both are in the same order.
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            match b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)) {
                std::cmp::Ordering::Less => left.next(),
                std::cmp::Ordering::Greater => right.next(),
                std::cmp::Ordering::Equal => {
                    common += a.1 * a.1;
                    coincidence += a.1;
                    left.next();
                    right.next()
                }
            };
        }
        let either = one.weight() + other.weight() - common;
        // exp(−coincidence) is the chance that a sample has all these tokens; there are n²/2 pairs.
        let is_rare = coincidence >= 2.0 * self.samples.ln() - (2.0 * MOST_CHANCE).ln();
        is_rare && common >= LEAST_COMMON * either
    }
}

impl Bag {
    fn weight(&self) -> f64 {
        self.0.iter().map(|(_, rarity)| rarity * rarity).sum()
    }

    /// Its rarest tokens. Whatever has `LEAST_COMMON` of its weight in common with it has one of these in common.
    fn rarest(&self) -> impl Iterator<Item = u32> {
        let (all, mut seen) = (self.weight(), 0.0);
        let lies_before = move |(_, rarity): &&(u32, f64)| {
            let before = seen;
            seen += rarity * rarity;
            before <= (1.0 - LEAST_COMMON) * all
        };
        self.0.iter().take_while(lies_before).map(|(token, _)| *token)
    }
}

fn different(sample: &Sample) -> Vec<u32> {
    let mut ids = sample.ids.clone();
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(all: &[Vec<u32>]) -> Vec<(usize, usize)> {
        let sample = |ids: &Vec<u32>| Sample {
            ids: ids.clone(),
            scored: vec![true; ids.len()],
            ends: Vec::new(),
            line: 1,
            record: 0,
            slice: 0,
        };
        let samples: Vec<Sample> = all.iter().map(sample).collect();
        let mut found = Vec::new();
        for_each_pair(&samples.iter().collect::<Vec<_>>(), |one, other| found.push((one, other)));
        found
    }

    /// Sixty-four samples of ten tokens each, behind a template of 200 tokens; token `i` of sample `s` is `1000 + 10 s + i`.
    fn different_samples() -> Vec<Vec<u32>> {
        (0..64).map(|sample| (0..200).chain(1000 + 10 * sample..1010 + 10 * sample).collect()).collect()
    }

    #[test]
    fn one_token_of_ten_may_differ_and_a_template_does_not_count() {
        let mut samples = different_samples();
        assert_eq!(pairs(&samples), []);
        samples[9] = samples[5].clone();
        samples[9][203] = 9999;
        assert_eq!(pairs(&samples), [(5, 9)]);
        samples[9][204..206].copy_from_slice(&[9004, 9005]);
        assert_eq!(pairs(&samples), []);
    }

    #[test]
    fn few_tokens_in_common_may_be_chance() {
        // Numbers of three digits: with 64 of them, many have the same digits.
        let numbers: Vec<Vec<u32>> =
            (100..164).map(|number| vec![number / 100, number / 10 % 10, number % 10]).collect();
        assert_eq!(pairs(&numbers), []);
        assert_eq!(pairs(&[vec![1, 2, 3], vec![1, 2, 3]]), [], "what all samples have says nothing");
    }

    /// The plain definition, for every pair.
    #[test]
    fn looking_up_the_rarest_tokens_misses_no_pair() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut all: Vec<Vec<u32>> = Vec::new();
        for sample in 0..300 {
            let mut ids: Vec<u32> = (0..20).map(|_| (random.f64().powi(2) * 800.0) as u32).collect();
            if sample % 3 == 0 && sample > 0 {
                ids = all[random.usize(..all.len())].clone();
                for _ in 0..random.usize(..4) {
                    let place = random.usize(..ids.len());
                    ids[place] = random.u32(..800);
                }
            }
            all.push(ids);
        }
        let sets: Vec<std::collections::BTreeSet<u32>> = all.iter().map(|ids| ids.iter().copied().collect()).collect();
        let n = all.len() as f64;
        let rarity = |token: &u32| (n / sets.iter().filter(|set| set.contains(token)).count() as f64).ln();
        let rarities: HashMap<u32, f64> = sets.iter().flatten().map(|token| (*token, rarity(token))).collect();
        let mut expected = Vec::new();
        for other in 0..all.len() {
            for one in 0..other {
                let weight = |tokens: Vec<&u32>| tokens.iter().map(|token| rarities[token].powi(2)).sum::<f64>();
                let common: Vec<&u32> = sets[one].intersection(&sets[other]).collect();
                let chance = (-common.iter().map(|token| rarities[token]).sum::<f64>()).exp() * n * n / 2.0;
                let either = weight(sets[one].union(&sets[other]).collect());
                if chance <= MOST_CHANCE && weight(common) >= LEAST_COMMON * either {
                    expected.push((one, other));
                }
            }
        }
        let mut found = pairs(&all);
        found.sort_by_key(|(one, other)| (*other, *one));
        assert!(expected.len() > 50, "{}", expected.len());
        assert_eq!(found, expected);
    }
}
