//! How many ranks each module gets within a number of bytes, by what the loss makes of each rank.

use std::collections::BTreeMap;

/// A module whose rank may be reduced. Each rank beyond another one is worth less than that.
#[derive(Debug, Clone, PartialEq)]
pub struct RankedModule {
    /// What each rank is worth, the most important first: the expected square of what the loss changes without it.
    pub importance: Vec<f64>,
    /// The numbers that one rank takes: inputs and outputs together.
    pub numbers: usize,
    /// Modules with the same number here are one matrix in some runtimes: with [`Ranks::Same`] all of them are kept, or none.
    pub group: usize,
}

/// Which ranks runtimes can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranks {
    /// Each module has its own.
    ByModule,
    /// All modules that are kept have the same, as runtimes need that read no `rank_pattern`; and groups stay together.
    Same,
    /// As `Same`, for a server that has buffers of these ranks alone, in ascending order, and of one rank for all modules: what is
    /// counted are its numbers.
    Served(&'static [usize]),
}

impl Ranks {
    /// The numbers that modules take with these ranks.
    pub fn numbers(self, modules: &[RankedModule], ranks: &[usize]) -> usize {
        let most = ranks.iter().copied().max().unwrap_or(0);
        let held = |rank: usize| if rank > 0 { self.held(rank, most) } else { 0 };
        modules.iter().zip(ranks).map(|(module, &rank)| held(rank) * module.numbers).sum()
    }

    /// The rank that counts for a module of `rank` where the highest is `most`.
    fn held(self, rank: usize, most: usize) -> usize {
        match self {
            Self::ByModule | Self::Same => rank,
            Self::Served(buffers) => buffers.iter().copied().find(|&buffer| buffer >= most).unwrap_or(most),
        }
    }

    /// The numbers of all ranks of all modules.
    pub fn all_numbers(self, modules: &[RankedModule]) -> usize {
        self.numbers(modules, &modules.iter().map(|module| module.importance.len()).collect::<Vec<_>>())
    }
}

/// The ranks of the modules, 0 for one that is dropped, that keep most of the importance in at most `numbers` numbers.
pub fn allocate(modules: &[RankedModule], numbers: usize, ranks: Ranks) -> Vec<usize> {
    match ranks {
        Ranks::ByModule => by_module(modules, numbers),
        Ranks::Same => {
            let halved = |&rank: &usize| (rank > 1).then_some(rank / 2);
            best_of(std::iter::successors(Some(highest(modules)), halved), modules, numbers, ranks)
        }
        Ranks::Served(held) => {
            let lower = held.iter().copied().filter(|&rank| rank < highest(modules));
            best_of(lower.chain([highest(modules)]), modules, numbers, ranks)
        }
    }
}

fn highest(modules: &[RankedModule]) -> usize {
    modules.iter().map(|module| module.importance.len()).max().unwrap_or(0)
}

/// The allocation that keeps most, of those at one rank.
fn best_of(
    candidates: impl Iterator<Item = usize>,
    modules: &[RankedModule],
    numbers: usize,
    ranks: Ranks,
) -> Vec<usize> {
    let allocations = candidates.map(|rank| same_rank(modules, numbers, rank, ranks));
    let worth = |ranks: &Vec<usize>| kept(modules, ranks);
    allocations.max_by(|one, other| worth(one).total_cmp(&worth(other))).unwrap_or_default()
}

/// The importance that is kept.
fn kept(modules: &[RankedModule], ranks: &[usize]) -> f64 {
    modules.iter().zip(ranks).map(|(module, &rank)| module.importance[..rank].iter().sum::<f64>()).sum()
}

/// One rank after the other, the one that is worth most per number first.
fn by_module(modules: &[RankedModule], numbers: usize) -> Vec<usize> {
    let per_number = |place: usize, rank: usize| modules[place].importance[rank] / modules[place].numbers as f64;
    let all = (0..modules.len()).flat_map(|place| (0..modules[place].importance.len()).map(move |rank| (place, rank)));
    let mut order: Vec<(usize, usize)> = all.collect();
    order.sort_by(|&(one, first), &(other, second)| {
        per_number(other, second).total_cmp(&per_number(one, first)).then(first.cmp(&second))
    });
    let (mut ranks, mut left) = (vec![0; modules.len()], numbers);
    for (place, rank) in order {
        // A rank is kept only behind those that are worth more.
        if modules[place].numbers <= left && ranks[place] == rank {
            ranks[place] += 1;
            left -= modules[place].numbers;
        }
    }
    ranks
}

/// As many groups of modules at one rank as fit, those first that are worth most per number.
fn same_rank(modules: &[RankedModule], numbers: usize, rank: usize, ranks: Ranks) -> Vec<usize> {
    let rank_of = |place: usize| rank.min(modules[place].importance.len());
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (place, module) in modules.iter().enumerate() {
        groups.entry(module.group).or_default().push(place);
    }
    let numbers_of = |place: usize| ranks.held(rank_of(place), rank) * modules[place].numbers;
    let size = |group: &[usize]| group.iter().map(|&place| numbers_of(place)).sum::<usize>();
    let worth = |group: &[usize]| {
        let importance = group.iter().map(|&place| modules[place].importance[..rank_of(place)].iter().sum::<f64>());
        importance.sum::<f64>() / size(group).max(1) as f64
    };
    let mut order: Vec<Vec<usize>> = groups.into_values().collect();
    order.sort_by(|one, other| worth(other).total_cmp(&worth(one)));
    let (mut ranks, mut left) = (vec![0; modules.len()], numbers);
    for group in order {
        if size(&group) <= left {
            left -= size(&group);
            group.into_iter().for_each(|place| ranks[place] = rank_of(place));
        }
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn modules() -> impl Strategy<Value = Vec<RankedModule>> {
        let module = (proptest::collection::vec(0f64..10.0, 1..6), 1usize..20).prop_map(|(mut importance, numbers)| {
            importance.sort_by(|a, b| b.total_cmp(a));
            RankedModule { importance, numbers, group: 0 }
        });
        proptest::collection::vec(module, 1..8).prop_map(|mut modules| {
            // Every two are a group.
            modules.iter_mut().enumerate().for_each(|(place, module)| module.group = place / 2);
            modules
        })
    }

    proptest! {
        #[test]
        fn allocations_fit_and_more_room_keeps_no_less(modules in modules(), numbers in 0usize..300, more in 0usize..100) {
            for ranks in [Ranks::ByModule, Ranks::Same, Ranks::Served(&[1, 3, 8])] {
                let (one, other) = (allocate(&modules, numbers, ranks), allocate(&modules, numbers + more, ranks));
                prop_assert!(ranks.numbers(&modules, &one) <= numbers);
                prop_assert!(one.iter().zip(&modules).all(|(&rank, module)| rank <= module.importance.len()));
                let all = allocate(&modules, ranks.all_numbers(&modules), ranks);
                prop_assert!(all.iter().zip(&modules).all(|(&rank, module)| rank == module.importance.len()));
                prop_assert!(kept(&modules, &other) <= kept(&modules, &all) + 1e-9);
            }
        }
    }

    #[test]
    fn what_is_worth_most_per_number_is_kept() {
        let module =
            |importance: &[f64], numbers, group| RankedModule { importance: importance.to_vec(), numbers, group };
        let modules = [module(&[8.0, 1.0], 4, 0), module(&[3.0, 2.0], 1, 1), module(&[0.0, 0.0], 1, 2)];
        assert_eq!(allocate(&modules, 6, Ranks::ByModule), [1, 2, 0]);
        assert_eq!(allocate(&modules, 5, Ranks::ByModule), [1, 1, 0]);
        assert_eq!(allocate(&modules, 5, Ranks::Same), [1, 1, 0]);
        assert_eq!(allocate(&modules, 0, Ranks::Same), [0, 0, 0]);
        // A buffer of rank 2 takes as much as one of rank 8.
        assert_eq!(allocate(&modules, 8, Ranks::Served(&[1, 8])), [1, 1, 1]);
        assert_eq!(allocate(&modules, 40, Ranks::Served(&[1, 8])), [2, 2, 0]);
        let grouped = [module(&[8.0, 1.0], 4, 0), module(&[3.0, 2.0], 1, 0), module(&[5.0, 0.0], 3, 2)];
        assert_eq!(allocate(&grouped, 4, Ranks::Same), [0, 0, 1]);
        assert_eq!(allocate(&grouped, 5, Ranks::Same), [1, 1, 0]);
    }
}
