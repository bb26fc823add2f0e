//! Streams: hidden states on their way through the layers, each shared by all evaluations that are the same so far.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::profile::{Profile, Strength};
use crate::error::Result;
use crate::model::{Cache, Pass, Routed};

/// A profile of an adapter, evaluated on a batch.
#[derive(Debug, Clone, Copy)]
pub struct Evaluation<'a> {
    pub adapter: usize,
    /// The index of the profile among those of the adapter.
    pub index: usize,
    pub profile: &'a Profile,
}

/// How a layer is changed: by which adapter, and how strongly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Variant {
    pub adapter: usize,
    pub strength: Strength,
}

/// The hidden states of a batch for all evaluations that are the same so far.
pub struct Stream<'a> {
    pub evaluations: Vec<Evaluation<'a>>,
    /// The variant of the layer that the stream goes through.
    pub variant: Variant,
    /// (tokens of the batch, hidden)
    pub hidden: Tensor,
    /// What waits for the experts of the layer.
    pub routed: Option<Routed>,
    pub pass: &'a Pass<'a>,
    /// The keys and values of earlier tokens. Only a stream of one evaluation has a cache, so forks need no copy.
    pub cache: Option<&'a mut Cache>,
}

impl<'a> Stream<'a> {
    pub fn new(pass: &'a Pass<'a>, adapter: usize, evaluations: Vec<Evaluation<'a>>, hidden: Tensor) -> Self {
        let variant = Variant { adapter, strength: Strength::NONE };
        Self { evaluations, variant, hidden, routed: None, pass, cache: None }
    }

    /// Splits the stream before layer `layer` into one for each strength that its evaluations have there.
    pub fn fork(mut self, layer: usize) -> Vec<Self> {
        let mut forks: Vec<Self> = Vec::new();
        for evaluation in self.evaluations {
            let strength = evaluation.profile.at(layer);
            match forks.iter_mut().find(|fork| fork.variant.strength == strength) {
                Some(fork) => fork.evaluations.push(evaluation),
                None => forks.push(Self {
                    variant: Variant { strength, ..self.variant },
                    cache: self.cache.take(),
                    ..Self::new(self.pass, self.variant.adapter, vec![evaluation], self.hidden.clone())
                }),
            }
        }
        forks
    }
}

/// Works on every stream: in parallel on the CPU, one after the other on other devices.
///
/// On CUDA candle gives each thread a queue of its own, and what one queue computes need not be there when another one reads
/// it. So all work has to come from the thread that loads the layers.
pub fn for_each_stream(
    streams: &mut [Stream],
    device: &Device,
    work: impl Fn(&mut Stream) -> candle_core::Result<()> + Sync,
) -> Result<()> {
    match device {
        Device::Cpu => streams.par_iter_mut().try_for_each(&work)?,
        _ => streams.iter_mut().try_for_each(work)?,
    }
    Ok(())
}
