//! The controls that a sceptic would ask for: other layers, as many as a boundary keeps.
//!
//! If the lowest layers are kept because they matter, they do better than the highest ones, than random ones, than those
//! that change the weights most and than those that change the hidden states most.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

/// How many times layers are drawn at random.
const DRAWS: u64 = 5;

/// Which layers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "kept", rename_all = "kebab-case")]
pub enum Kept {
    /// All.
    Everything,
    /// Those below a boundary.
    Lowest,
    /// Those below a boundary without the lowest ones.
    Window,
    /// What the search for a subset has kept.
    Subset,
    /// Parts of the ranks of any modules.
    Minimized,
    /// The highest ones.
    Highest,
    /// Drawn at random with this seed.
    Random { seed: u64 },
    /// Those with the largest ‖ΔW‖.
    LargestNorm,
    /// Those that change the hidden states most (after LoRA-drop, arXiv 2402.07721).
    LargestEffect,
}

impl Kept {
    /// Whether these are as many layers as were chosen, but other ones.
    pub fn is_other_layers(self) -> bool {
        !matches!(self, Kept::Everything | Kept::Lowest | Kept::Window | Kept::Subset | Kept::Minimized)
    }
}

/// The controls for keeping `count` of the adapter's `layers`, given their ‖ΔW‖ (none where the adapter has no such norms) and
/// their effects on the hidden states.
pub fn controls(
    layers: &BTreeSet<usize>,
    count: usize,
    norms: &BTreeMap<usize, f64>,
    effects: &[f64],
) -> Vec<(Kept, BTreeSet<usize>)> {
    let all: Vec<usize> = layers.iter().copied().collect();
    let mut controls = vec![(Kept::Highest, all.iter().rev().take(count).copied().collect())];
    for seed in 0..DRAWS {
        let mut drawn = all.clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut drawn);
        controls.push((Kept::Random { seed }, drawn.into_iter().take(count).collect()));
    }
    if layers.iter().all(|layer| norms.contains_key(layer)) {
        controls.push((Kept::LargestNorm, largest(&all, count, |layer| norms[&layer])));
    }
    controls.push((Kept::LargestEffect, largest(&all, count, |layer| effects[layer])));
    controls
}

fn largest(layers: &[usize], count: usize, value: impl Fn(usize) -> f64) -> BTreeSet<usize> {
    let mut ordered = layers.to_vec();
    ordered.sort_by(|&a, &b| value(b).total_cmp(&value(a)));
    ordered.into_iter().take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_keeps_as_many_layers() {
        let layers = BTreeSet::from([1, 2, 5, 6, 9]);
        let norms = BTreeMap::from([(1, 0.1), (2, 0.5), (5, 0.2), (6, 0.4), (9, 0.3)]);
        let effects = [0.0, 5.0, 4.0, 0.0, 0.0, 1.0, 3.0, 0.0, 0.0, 2.0];
        let found = controls(&layers, 2, &norms, &effects);
        assert!(found.iter().all(|(_, kept)| kept.len() == 2 && kept.is_subset(&layers)));
        let of = |wanted: Kept| found.iter().find(|(kept, _)| *kept == wanted).map(|(_, kept)| kept.clone());
        assert_eq!(of(Kept::Highest), Some(BTreeSet::from([6, 9])));
        assert_eq!(of(Kept::LargestNorm), Some(BTreeSet::from([2, 6])));
        assert_eq!(of(Kept::LargestEffect), Some(BTreeSet::from([1, 2])));
        let draws: BTreeSet<_> = (0..DRAWS).filter_map(|seed| of(Kept::Random { seed })).collect();
        assert!(draws.len() > 1, "different seeds draw differently");
        assert!(controls(&layers, 2, &BTreeMap::new(), &effects).iter().all(|(kept, _)| *kept != Kept::LargestNorm));
    }
}
