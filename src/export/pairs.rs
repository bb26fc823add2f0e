//! The pairs of an adapter that is nothing but pairs: all that other forms than PEFT's can hold.

use super::Format;
use crate::adapter::Adapter;
use crate::adapter::names::Part;
use crate::error::{AdapterError, Result};
use crate::rewrite::steps::pair;
use crate::rewrite::write;
use crate::tensors::Dtype;

/// The two factors of a module, by the names of their tensors.
pub struct Pair<'a> {
    pub module: String,
    /// `None` outside of the decoder's layers.
    pub layer: Option<usize>,
    pub rank: usize,
    pub scaling: f64,
    pub is_embedding: bool,
    a: &'a str,
    b: &'a str,
}

/// The values of a pair.
pub struct Factors {
    /// (rank, inputs), by rows; of an embedding, the inputs are the tokens.
    pub a: Vec<f32>,
    /// (outputs, rank), by rows.
    pub b: Vec<f32>,
    pub inputs: usize,
    pub outputs: usize,
    /// The types in which they are stored.
    pub dtypes: (Dtype, Dtype),
}

/// The pairs of an adapter, or what it has besides.
pub fn plain_pairs(adapter: &Adapter, format: Format, will_be_portable: bool) -> Result<Vec<Pair<'_>>> {
    let refuse =
        |feature: String| AdapterError::NotInFormat { path: adapter.path.clone(), feature, format: format.to_string() };
    let config = &adapter.config;
    let is_folded = |part| will_be_portable && config.method.peft_type == "ADALORA" && part == Part::Factor("lora_E");
    if config.method.peft_type != "LORA" && !(will_be_portable && config.method.peft_type == "ADALORA") {
        return Err(refuse(format!("the method {}", config.method.name)).into());
    }
    if let Some(init) = config.changes_base() {
        return Err(refuse(format!("an initialisation that changes the base weights ({init})")).into());
    }
    if let Some(obstacle) = config.obstacles().into_iter().next() {
        return Err(refuse(obstacle).into());
    }
    // The copy of a base weight that PEFT stores beside LoRA on an embedding is none of the adapter's own.
    let is_other = |part| {
        let is_pair = matches!(part, Part::LoraA | Part::LoraB | Part::EmbeddingA | Part::EmbeddingB);
        !is_pair && part != Part::BaseCopy && !is_folded(part)
    };
    if let Some(other) = adapter.tensors().find(|tensor| is_other(tensor.key.part)) {
        return Err(refuse(format!("more than pairs of matrices (`{}`)", other.name)).into());
    }
    let mut pairs = Vec::new();
    for (module, parts) in adapter.modules() {
        if adapter.parameter_of(&module).is_some() {
            return Err(refuse(format!("LoRA on parameters (`{module}`)")).into());
        }
        let Some((a, b)) = pair::names(&parts) else { continue };
        let (shape_a, shape_b) = (&adapter.weights.entry(a)?.shape, &adapter.weights.entry(b)?.shape);
        let (&[rank, _], &[_, _]) = (shape_a.as_slice(), shape_b.as_slice()) else {
            return Err(refuse(format!("a pair that is not two matrices (`{module}`)")).into());
        };
        let (layer, scaling) = (adapter.layer_of(&module), config.scaling_of(&module));
        let is_embedding = parts.contains_key(&Part::EmbeddingA);
        pairs.push(Pair { layer, rank, scaling, is_embedding, a, b, module });
    }
    Ok(pairs)
}

impl Pair<'_> {
    /// The values that the module gives.
    pub fn outputs(&self, adapter: &Adapter) -> Result<usize> {
        Ok(adapter.weights.entry(self.b)?.shape[0])
    }

    pub fn load(&self, adapter: &Adapter) -> Result<Factors> {
        let (a, b) = (adapter.weights.entry(self.a)?, adapter.weights.entry(self.b)?);
        Ok(Factors {
            inputs: a.shape[1],
            outputs: b.shape[0],
            dtypes: (write::dtype(a), write::dtype(b)),
            a: adapter.weights.load_finite(self.a)?,
            b: adapter.weights.load_finite(self.b)?,
        })
    }

    /// The module's name behind the layer's number, or all of it.
    pub fn inside<'b>(&'b self, adapter: &Adapter) -> &'b str {
        self.layer.map_or(&self.module, |layer| adapter.inside_layer(&self.module, layer))
    }
}

/// A matrix of `columns` columns, by columns.
pub fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns.max(1)).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_become_rows() {
        assert_eq!(transposed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
