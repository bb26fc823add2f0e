//! The inputs that each layer of Gemma 4 has of its own: the token's embedding for this layer, and a map of its usual embedding. They
//! gate what is added behind the MLP.

use candle_core::{Result as TensorResult, Tensor};

use super::Pass;
use super::family::{Outside, Role};
use super::linear::{Linear, Norm};
use super::mlp::Mlp;
use super::weights::LayerWeights;
use crate::error::Result;

/// What makes the input of one layer.
#[derive(Clone)]
pub struct PerLayerInput {
    /// (size, hidden)
    projection: Linear,
    norm: Norm,
    layer: usize,
    size: usize,
    hidden_size: usize,
}

impl PerLayerInput {
    /// `None` in models whose layers have no inputs of their own.
    pub fn load(weights: LayerWeights) -> Result<Option<Self>> {
        let (config, layer) = (weights.config, weights.index);
        let Some(sizes) = config.per_layer else { return Ok(None) };
        let rows = layer * sizes.size..(layer + 1) * sizes.size;
        let projection = weights.weights.outside_rows(Outside::LayerProjection, rows)?;
        let norm = weights.weights.outside_norm(Outside::LayerNorm, config)?;
        Ok(Some(Self { projection, norm, layer, size: sizes.size, hidden_size: config.hidden_size }))
    }

    /// The input of the rows with these embeddings, (rows, hidden) → (rows, size). `rows` are those of the pass, if only some are left.
    fn of(&self, embeddings: &Tensor, pass: &Pass, rows: Option<&Tensor>) -> TensorResult<Tensor> {
        let Some(tokens) = &pass.per_layer else { candle_core::bail!("a pass without embeddings by the layer") };
        let tokens = tokens.narrow(1, self.layer * self.size, self.size)?.contiguous()?;
        let embeddings = embeddings.contiguous()?;
        let [tokens, embeddings] = match rows {
            Some(rows) => [tokens.index_select(rows, 0)?, embeddings.index_select(rows, 0)?],
            None => [tokens, embeddings],
        };
        let projected = (self.projection.forward(&embeddings)? / (self.hidden_size as f64).sqrt())?;
        (self.norm.forward(&projected)? + tokens)? / 2f64.sqrt()
    }

    /// What the layer adds to hidden states behind its MLP, before its norm: (rows, hidden) → the same.
    pub fn added(
        &self,
        mlp: &Mlp,
        hidden: &Tensor,
        embeddings: &Tensor,
        (pass, rows): (&Pass, Option<&Tensor>),
    ) -> TensorResult<Tensor> {
        let gate = mlp.activate(&mlp.linear(Role::LayerInputGate, hidden)?)?;
        mlp.linear(Role::LayerInputOut, &(gate * self.of(embeddings, pass, rows)?)?)
    }
}
