//! What values are multiplied by, and soft bounds on them.

use super::fields::ConfigFields;
use crate::error::Result;
use crate::model::family::{AttentionScale, EmbeddingScale, Family};

/// Constants by which values are multiplied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scales {
    pub embedding: f64,
    /// What a block adds to the hidden states.
    pub residual: f64,
    /// The products of queries and keys; usually 1/√head_dim.
    pub attention: f64,
    /// The input of attention, and what it adds.
    pub attention_input: f64,
    pub attention_output: f64,
    /// The gate of the MLP before its activation, and what the MLP adds.
    pub mlp_gate: f64,
    pub mlp_output: f64,
    /// What a gated delta net writes.
    pub delta_write: f64,
    pub logits: f64,
}

impl Scales {
    /// Those of a family whose configuration does not change them.
    pub fn plain(family: &Family, hidden_size: usize, head_dim: usize) -> Self {
        let embedding = match family.embedding_scale {
            EmbeddingScale::RootOfHidden => (hidden_size as f64).sqrt(),
            EmbeddingScale::One => 1.0,
        };
        let attention = match family.attention_scale {
            AttentionScale::InverseRoot => 1.0 / (head_dim as f64).sqrt(),
            AttentionScale::One => 1.0,
        };
        Self {
            embedding,
            residual: 1.0,
            attention,
            attention_input: 1.0,
            attention_output: 1.0,
            mlp_gate: 1.0,
            mlp_output: 1.0,
            delta_write: 1.0,
            logits: 1.0,
        }
    }
}

/// Soft bounds c·tanh(x / c) on scores and logits, if the model has them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Softcaps {
    pub attention: Option<f64>,
    pub logits: Option<f64>,
}

impl ConfigFields<'_> {
    /// The scales of a configuration, from those of its family.
    pub fn scales(&self, plain: Scales, hidden_size: usize, layers: usize) -> Result<Scales> {
        let by_scalar = self.float("query_pre_attn_scalar").map_or(plain.attention, |scalar| 1.0 / scalar.sqrt());
        // GPT-2 can do without the root.
        let attention = if self.flag("scale_attn_weights") == Some(false) { 1.0 } else { by_scalar };
        let embedding = match self.flag("embeddings_are_scaled") {
            Some(true) => (hidden_size as f64).sqrt(),
            _ => plain.embedding,
        };
        let divided = self.float("logits_scaling").map_or(plain.logits, |divisor| 1.0 / divisor);
        let by_depth = self.float("scale_depth").map(|depth| depth / (layers as f64).sqrt());
        let by_width = self.float("dim_model_base").map(|base| base / hidden_size as f64);
        let number = |key: &str| self.float(key).unwrap_or(1.0);
        let mlp = self.numbers("mlp_multipliers")?.unwrap_or([1.0; 2]);
        Ok(Scales {
            embedding: self.float("embedding_multiplier").unwrap_or(embedding),
            residual: self.float("residual_multiplier").or(by_depth).unwrap_or(plain.residual),
            // Keys are multiplied before they turn, which comes to the same as scores.
            attention: self.float("attention_multiplier").or(self.float("softmax_scale")).unwrap_or(attention)
                * number("key_multiplier"),
            attention_input: number("attention_in_multiplier"),
            attention_output: number("attention_out_multiplier"),
            mlp_gate: mlp[0],
            mlp_output: mlp[1],
            delta_write: if self.flag("linear_allow_neg_eigval") == Some(true) { 2.0 } else { plain.delta_write },
            logits: self.float("logit_scale").or(self.float("lm_head_multiplier")).or(by_width).unwrap_or(divided),
        })
    }
}
