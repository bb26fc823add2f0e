//! The pairs of an adapter that consists of pairs alone: all that formats other than PEFT's can hold.

use super::Format;
use crate::adapter::names::Part;
use crate::adapter::{Adapter, Capability, Module};
use crate::error::{AdapterError, Result};
use crate::rewrite::write;
use crate::tensors::Dtype;

/// The pair of a module, with the names of its tensors.
pub struct PlainPair<'a> {
    adapter: &'a Adapter,
    pub module: &'a Module,
    pub rank: usize,
    /// The rows of the second factor.
    pub outputs: usize,
    pub scaling: f64,
    a: &'a str,
    b: &'a str,
}

/// The values of a pair.
pub struct PairValues {
    /// (rank, inputs), by rows; of an embedding, the inputs are the tokens.
    pub a: Vec<f32>,
    /// (outputs, rank), by rows.
    pub b: Vec<f32>,
    pub inputs: usize,
    /// The types in which they are stored.
    pub dtypes: (Dtype, Dtype),
}

/// The refusal to write an adapter in a format because of `feature`.
pub fn refusal(adapter: &Adapter, format: Format, feature: String) -> AdapterError {
    adapter.refusal(Capability::Format { name: format.name(), portable: false }, feature)
}

/// The pairs of an adapter; an error, where it has anything else. `portable` if it is made portable before it is written.
pub fn plain_pairs<'a>(adapter: &'a Adapter, format: Format, portable: bool) -> Result<Vec<PlainPair<'a>>> {
    adapter.require(Capability::Format { name: format.name(), portable })?;
    let modules = adapter.modules().values().filter_map(|module| Some((module, module.pair()?)));
    let pair = |(module, (a, b)): (&'a Module, (&'a str, &'a str))| {
        let (rank, outputs) = (adapter.weights.entry(a)?.shape[0], adapter.weights.entry(b)?.shape[0]);
        Ok(PlainPair { adapter, module, rank, outputs, scaling: module.scaling(&adapter.config), a, b })
    };
    modules.map(pair).collect()
}

impl<'a> PlainPair<'a> {
    /// The pair of an embedding has tokens as inputs.
    pub fn is_embedding(&self) -> bool {
        self.module.has(Part::EmbeddingA)
    }

    pub fn load(&self) -> Result<PairValues> {
        let weights = &self.adapter.weights;
        let (a, b) = (weights.entry(self.a)?, weights.entry(self.b)?);
        Ok(PairValues {
            inputs: a.shape[1],
            dtypes: (write::computed_dtype(write::dtype(a)), write::computed_dtype(write::dtype(b))),
            a: weights.load_finite(self.a)?,
            b: weights.load_finite(self.b)?,
        })
    }

    /// The module's name behind the layer's number, or all of it.
    pub fn inside(&self) -> &'a str {
        let name = &self.module.name;
        self.module.layer.map_or(name, |layer| self.adapter.inside_layer(name, layer))
    }
}
