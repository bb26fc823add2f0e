//! Which samples are independent draws.
//!
//! Turns of one conversation, parts of one packed row and copies of a sample say the same thing again: they count as one draw in
//! every bound and resampling.

use std::collections::HashMap;
use std::hash::Hash;

use super::Sample;

/// The draw of each sample: a number from 0 in the order in which draws first come up.
pub fn of(samples: &[Sample]) -> Vec<usize> {
    groups(samples.iter().map(|sample| (sample.record, (&sample.ids, &sample.scored))))
}

/// The group of each item, numbered from 0 in the order in which groups first come up. Items that have either key in common are in
/// one group.
pub fn groups<A: Hash + Eq, B: Hash + Eq>(keys: impl IntoIterator<Item = (A, B)>) -> Vec<usize> {
    let (mut first_of_a, mut first_of_b) = (HashMap::new(), HashMap::new());
    // A forest in which every item points to an earlier one of its group, or to itself.
    let mut earlier: Vec<usize> = Vec::new();
    for (place, (a, b)) in keys.into_iter().enumerate() {
        earlier.push(place);
        for first in [*first_of_a.entry(a).or_insert(place), *first_of_b.entry(b).or_insert(place)] {
            let (one, other) = (root(&earlier, place), root(&earlier, first));
            earlier[one.max(other)] = one.min(other);
        }
    }
    let mut numbers = HashMap::new();
    let number = |place| {
        let next = numbers.len();
        *numbers.entry(root(&earlier, place)).or_insert(next)
    };
    (0..earlier.len()).map(number).collect()
}

fn root(earlier: &[usize], mut place: usize) -> usize {
    while earlier[place] != place {
        place = earlier[place];
    }
    place
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
