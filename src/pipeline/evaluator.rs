//! One adapter on one set of samples: the measurements that the stages after the curve ask for, and the reference for them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Request;
use super::chain::{self, Chain};
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
#[derive(Clone)]
pub struct Candidate {
    pub kept: Kept,
    /// In each layer of the adapter, full strength or nothing.
    pub selection: Profile,
    pub scale: f64,
    /// The adapter as it will be written, if more than layers and scale differ: the profile is only where it acts.
    pub rewritten: Option<Arc<Chain>>,
    pub measurement: Measurement,
}

impl Candidate {
    /// Whether both would be written alike.
    pub fn is_same(&self, other: &Self) -> bool {
        let rewritten = |one: &Self| one.rewritten.as_ref().map(Arc::as_ptr);
        (&self.selection, self.scale, rewritten(self)) == (&other.selection, other.scale, rewritten(other))
    }

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
            rewritten: None,
            measurement: self.curve.at(boundary).cloned().unwrap_or_default(),
        }
    }

    pub fn measure(&self, profiles: Vec<Profile>, on_progress: OnProgress) -> Result<Vec<Measurement>> {
        measure::profiles(self.adapted, self.samples, profiles, &self.request.compute, on_progress)
    }

    /// Measures candidates on samples of their own.
    pub fn measure_candidates(
        &self,
        candidates: &[Candidate],
        samples: &[Sample],
        on_progress: OnProgress,
    ) -> Result<Vec<Measurement>> {
        let compute = &self.request.compute;
        let profiles = candidates.iter().filter(|one| one.rewritten.is_none()).map(Candidate::profile).collect();
        let measured = measure::profiles(self.adapted, samples, profiles, compute, &mut *on_progress)?;
        let chains = candidates.iter().filter_map(|one| one.rewritten.as_ref());
        let adapted = chains.map(|chain| AdaptedModel::load(self.adapted.model(), chain.last()));
        let adapted = adapted.collect::<Result<Vec<_>>>()?;
        let all: Vec<usize> = (0..samples.len()).collect();
        let rewritten = chain::measure_whole(&adapted, (samples, &all), compute, on_progress)?.0;
        let (mut measured, mut rewritten) = (measured.into_iter(), rewritten.into_iter());
        let next = |one: &Candidate| if one.rewritten.is_some() { rewritten.next() } else { measured.next() };
        Ok(candidates.iter().filter_map(next).collect())
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

    /// The bytes of the tensors that are written of a candidate.
    pub fn bytes_of(&self, candidate: &Candidate) -> u64 {
        match &candidate.rewritten {
            Some(chain) => chain.bytes(),
            None => self.bytes(&candidate.selection),
        }
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
