//! One adapter on one set of samples: the measurements that the stages after the curve ask for, and the reference for them.

use std::collections::BTreeSet;

use super::Request;
use crate::adapter::Adapter;
use crate::choice::controls::Kept;
use crate::choice::scale::Scaled;
use crate::choice::{self, Assessment, Reference};
use crate::error::Result;
use crate::measure::{self, Curve, Measurement, OnProgress, Profile, Work};
use crate::model::AdaptedModel;
use crate::samples::Sample;

/// Measures profiles of an adapter whose curve is known.
pub struct Evaluator<'a> {
    pub adapted: &'a AdaptedModel<'a>,
    pub samples: &'a [Sample],
    pub curve: &'a Curve,
    pub request: &'a Request,
}

/// A measured selection of layers at a scale: what is written, or an alternative to it.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub kept: Kept,
    /// In each layer of the adapter, full strength or nothing.
    pub selection: Profile,
    pub scale: f64,
    pub measurement: Measurement,
}

impl Candidate {
    /// The strength in each layer.
    pub fn profile(&self) -> Profile {
        self.selection.scaled(self.scale)
    }

    /// The same at another scale.
    pub fn scaled(&self, scaled: &Scaled) -> Self {
        Self { scale: scaled.scale(), measurement: scaled.measurement.clone(), ..self.clone() }
    }
}

impl Evaluator<'_> {
    pub fn adapter(&self) -> &Adapter {
        self.adapted.adapter()
    }

    /// The decoder layers of the model.
    pub fn layers(&self) -> usize {
        self.adapted.model().config.layers
    }

    /// The whole adapter.
    pub fn whole(&self) -> Candidate {
        self.below(self.curve.whole().boundary)
    }

    /// A boundary of the curve at full strength.
    pub fn below(&self, boundary: usize) -> Candidate {
        let all = self.adapter().layers();
        let layers: BTreeSet<usize> = all.range(..boundary).copied().collect();
        Candidate {
            kept: if layers == all { Kept::Everything } else { Kept::Lowest },
            selection: Profile::of_layers(&layers, self.layers()),
            scale: 1.0,
            measurement: self.curve.at(boundary).cloned().unwrap_or_default(),
        }
    }

    pub fn measure(&self, profiles: Vec<Profile>, on_progress: OnProgress) -> Result<Vec<Measurement>> {
        measure::profiles(self.adapted, self.samples, profiles, &self.request.compute, on_progress)
    }

    /// As [`measure`](Self::measure), on the samples with these indices, in their order; with what it cost.
    pub fn measure_on(
        &self,
        samples: &[usize],
        profiles: Vec<Profile>,
        on_progress: OnProgress,
    ) -> Result<(Vec<Measurement>, Work)> {
        measure::profiles_on(self.adapted, (self.samples, samples), profiles, &self.request.compute, on_progress)
    }

    /// The base model and the whole adapter on the samples.
    pub fn reference(&self) -> Reference<'_> {
        choice::reference(self.curve, self.request.choice.confidence)
    }

    /// Whether the guard admits a measurement.
    pub fn admits(&self, measurement: &Measurement) -> bool {
        let options = &self.request.choice;
        options.guard.is_none_or(|guard| self.reference().holds(guard, measurement, options.margin))
    }

    /// Compares a measurement with the whole adapter.
    pub fn assess(&self, measurement: &Measurement) -> Assessment {
        self.reference().assess(measurement)
    }

    /// The bytes of the tensors that a selection keeps.
    pub fn bytes(&self, selection: &Profile) -> u64 {
        let (adapter, family) = (self.adapter(), self.adapted.model().config.family);
        let kept = adapter.tensors().filter(|tensor| match adapter.layer_of(&tensor.key.module) {
            Some(layer) => {
                let inside = adapter.inside_layer(&tensor.key.module, layer);
                selection.at(layer).in_module(inside, family) != 0.0
            }
            None => true,
        });
        kept.map(|tensor| tensor.entry.bytes()).sum()
    }
}
