//! The selections of layers that a curve goes through: nested, from the base model alone to all that there is to drop.

use std::collections::BTreeSet;

use super::profile::Profile;
use crate::adapter::Adapter;

/// From which side a curve drops layers, and so what its points keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropSide {
    /// From above: point `b`, a boundary, keeps the layers below `b`.
    Above,
    /// From below: point `k` keeps the `k` highest of the layers below `boundary`. The point `boundary + 1`, if there are layers
    /// to keep above the boundary, is the whole adapter, which the others are compared with.
    Below { boundary: usize },
}

impl DropSide {
    /// The points at which something changes. The first is the base model, the last the whole adapter.
    pub fn points(self, adapter: &Adapter) -> BTreeSet<usize> {
        let (base, layers) = (std::iter::once(0), adapter.layers());
        match self {
            Self::Above => base.chain(layers.into_iter().map(|layer| layer + 1)).collect(),
            Self::Below { boundary } => {
                let kept = layers.range(..boundary).map(|layer| boundary - layer);
                let whole = layers.range(boundary..).next().map(|_| boundary + 1);
                base.chain(kept).chain(whole).collect()
            }
        }
    }

    /// The profile of a point in a model of `layers` layers.
    pub fn profile(self, point: usize, layers: usize) -> Profile {
        match self {
            Self::Above => Profile::below(point, layers),
            Self::Below { boundary } if point > boundary => Profile::below(layers, layers),
            Self::Below { boundary } => Profile::of_layers(&(boundary - point..boundary).collect(), layers),
        }
    }

    /// The profile that every point follows up to some layer.
    pub(super) fn trunk(self, layers: usize) -> Profile {
        match self {
            Self::Above => Profile::below(layers, layers),
            Self::Below { .. } => Profile::below(0, layers),
        }
    }
}
