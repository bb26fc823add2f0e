//! Which rotary embedding each layer has.

use crate::model::rope::{Rope, RopeScaling};

/// The rotary embeddings of a model. Layers with a sliding window may have one of their own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rotary {
    /// The embeddings that occur.
    pub ropes: Vec<Rope>,
    /// For each layer the place of its embedding; `None` for a layer without one.
    pub by_layer: Vec<Option<usize>>,
}

impl Rotary {
    /// No rotary embedding in any of `layers` layers.
    pub(super) fn none(layers: usize) -> Self {
        Self { ropes: Vec::new(), by_layer: vec![None; layers] }
    }

    /// Whether a layer has rotary embedding.
    pub fn rotates(&self, layer: usize) -> bool {
        self.by_layer[layer].is_some_and(|place| self.ropes[place].scaling != RopeScaling::Still)
    }

    /// The same with `rope` in the layers without rotary embedding.
    pub(super) fn with_others(mut self, rope: Rope) -> Self {
        self.ropes.push(rope);
        let last = self.ropes.len() - 1;
        self.by_layer.iter_mut().for_each(|place| *place = place.or(Some(last)));
        self
    }

    /// `full`, or `local` in windows if there is one, in the layers that `is_rotary` names.
    pub(super) fn new(
        full: Rope,
        local: Option<Rope>,
        windows: &[Option<usize>],
        is_rotary: impl Fn(usize) -> bool,
    ) -> Self {
        let place = |window: &Option<usize>| usize::from(local.is_some() && window.is_some());
        let by_layer = windows.iter().enumerate().map(|(layer, window)| is_rotary(layer).then(|| place(window)));
        let by_layer = by_layer.collect();
        Self { ropes: [Some(full), local].into_iter().flatten().collect(), by_layer }
    }
}
