//! How strongly an adapter acts, layer by layer: the general form of a boundary.
//!
//! A boundary is the profile that is 1 in the layers below it and 0 in the others. Other profiles have a scale, or leave out
//! any layers, or one of the two blocks of a layer.

use std::collections::BTreeSet;

use crate::model::Family;

/// How strongly the adapter acts in the two blocks of a layer: 0 is not at all, 1 is as saved. Other strengths multiply the
/// scaling of every pair; weights that the adapter replaces are replaced at any strength but 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Strength {
    pub attention: f64,
    pub mlp: f64,
}

impl Strength {
    pub const NONE: Strength = Strength::of_both(0.0);
    pub const FULL: Strength = Strength::of_both(1.0);

    pub const fn of_both(strength: f64) -> Self {
        Self { attention: strength, mlp: strength }
    }

    /// The strength in a module of a model of `family`, by its name inside the layer.
    pub fn in_module(self, module: &str, family: &Family) -> f64 {
        if family.is_of_attention(module) { self.attention } else { self.mlp }
    }
}

/// The strength in each decoder layer of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile(Vec<Strength>);

impl Profile {
    /// The profile of a boundary in a model of `layers` layers.
    pub fn below(boundary: usize, layers: usize) -> Self {
        Self::of_layers(&(0..boundary).collect(), layers)
    }

    /// Full strength in the layers `kept` of `layers`, none elsewhere.
    pub fn of_layers(kept: &BTreeSet<usize>, layers: usize) -> Self {
        Self::new((0..layers).map(|layer| if kept.contains(&layer) { Strength::FULL } else { Strength::NONE }))
    }

    pub fn new(strengths: impl IntoIterator<Item = Strength>) -> Self {
        Self(strengths.into_iter().collect())
    }

    /// The profile with each strength multiplied by `scale`.
    pub fn scaled(&self, scale: f64) -> Self {
        Self::new(self.0.iter().map(|one| Strength { attention: one.attention * scale, mlp: one.mlp * scale }))
    }

    /// The profile with another strength in a layer.
    pub fn with(&self, layer: usize, change: impl FnOnce(Strength) -> Strength) -> Self {
        let mut profile = self.clone();
        profile.0[layer] = change(self.0[layer]);
        profile
    }

    /// The layers in which the adapter acts.
    pub fn layers(&self) -> BTreeSet<usize> {
        (0..self.0.len()).filter(|&layer| self.0[layer] != Strength::NONE).collect()
    }

    pub fn at(&self, layer: usize) -> Strength {
        self.0[layer]
    }

    /// How many layers, from the first on, have the same strength as in `trunk`.
    pub(super) fn shared_layers(&self, trunk: &Self) -> usize {
        self.0.iter().zip(&trunk.0).take_while(|(own, other)| own == other).count()
    }

    /// The lowest boundary that has all layers in which the adapter acts below it.
    pub(super) fn boundary(&self) -> usize {
        self.0.iter().rposition(|&strength| strength != Strength::NONE).map_or(0, |layer| layer + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_and_prefixes() {
        let whole = |layers| Profile::below(layers, layers);
        let holes = Profile::of_layers(&BTreeSet::from([0, 1, 4]), 6);
        assert_eq!((holes.shared_layers(&whole(6)), holes.boundary()), (2, 5));
        let half = Profile::new([Strength::FULL, Strength { attention: 1.0, mlp: 0.0 }, Strength::NONE]);
        assert_eq!((half.shared_layers(&whole(3)), half.boundary()), (1, 2));
        assert_eq!(Profile::below(3, 6).scaled(0.5).shared_layers(&whole(6)), 0);
        assert_eq!(Profile::of_layers(&BTreeSet::from([3, 4]), 6).shared_layers(&Profile::below(0, 6)), 3);
        assert_eq!(Profile::below(0, 6).boundary(), 0);
    }
}
