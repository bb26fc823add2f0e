//! Which samples are independent draws.
//!
//! Turns of one conversation, parts of one packed row, copies and near duplicates say the same thing again: they count as one draw in
//! every bound and resampling.

use std::collections::HashMap;
use std::hash::Hash;

use super::{Sample, near};

/// The draw of each sample: a number from 0 in the order in which draws first come up.
pub fn of(samples: &[Sample]) -> Vec<usize> {
    groups(samples.iter().map(|sample| (sample.record, (&sample.ids, &sample.scored))))
}

/// Gives samples that are one draw the same `record`, near duplicates among them.
pub fn unite(samples: &mut [Sample]) {
    let mut forest = Forest::of(samples.iter().map(|sample| (sample.record, (&sample.ids, &sample.scored))));
    // Of equal samples one is enough.
    let mut seen = std::collections::HashSet::new();
    let different: Vec<usize> =
        (0..samples.len()).filter(|&place| seen.insert((&samples[place].ids, &samples[place].scored))).collect();
    let compared: Vec<&Sample> = different.iter().map(|&place| &samples[place]).collect();
    near::for_each_pair(&compared, |one, other| forest.join(different[one], different[other]));
    let draws = forest.numbers();
    samples.iter_mut().zip(draws).for_each(|(sample, draw)| sample.record = draw);
}

/// The group of each item, numbered from 0 in the order in which groups first come up. Items that have either key in common are in
/// one group.
pub fn groups<A: Hash + Eq, B: Hash + Eq>(keys: impl IntoIterator<Item = (A, B)>) -> Vec<usize> {
    Forest::of(keys).numbers()
}

/// Groups of items: every item points to an earlier one of its group, or to itself.
struct Forest(Vec<usize>);

impl Forest {
    fn of<A: Hash + Eq, B: Hash + Eq>(keys: impl IntoIterator<Item = (A, B)>) -> Self {
        let (mut first_of_a, mut first_of_b) = (HashMap::new(), HashMap::new());
        let mut forest = Self(Vec::new());
        for (place, (a, b)) in keys.into_iter().enumerate() {
            forest.0.push(place);
            for first in [*first_of_a.entry(a).or_insert(place), *first_of_b.entry(b).or_insert(place)] {
                forest.join(place, first);
            }
        }
        forest
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.0[one.max(other)] = one.min(other);
    }

    fn root(&mut self, mut place: usize) -> usize {
        while self.0[place] != place {
            // Paths are halved, so that they stay short.
            self.0[place] = self.0[self.0[place]];
            place = self.0[place];
        }
        place
    }

    fn numbers(mut self) -> Vec<usize> {
        let mut numbers = HashMap::new();
        (0..self.0.len())
            .map(|place| {
                let next = numbers.len();
                *numbers.entry(self.root(place)).or_insert(next)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_key_joins() {
        assert_eq!(groups([(1, 'a'), (2, 'b'), (3, 'c')]), [0, 1, 2]);
        assert_eq!(groups([(1, 'a'), (2, 'b'), (3, 'a'), (2, 'c')]), [0, 1, 0, 1]);
        // The last one joins two groups.
        assert_eq!(groups([(1, 'a'), (2, 'b'), (4, 'd'), (1, 'b')]), [0, 0, 1, 0]);
    }
}
