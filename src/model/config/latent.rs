//! The sizes of latent attention.

use serde_json::{Map, Value};

use super::fields::ConfigFields;
use crate::error::Result;
use crate::model::family::Role;

/// A bound on each of the sizes, far above any model, so that they multiply without overflow.
const LARGEST: usize = 1 << 14;

/// The sizes of attention whose keys and values come from one short vector for each token, its latent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatentSizes {
    pub heads: usize,
    /// Of the short vector that queries come from; `None` where one matrix makes them.
    pub query_rank: Option<usize>,
    pub rank: usize,
    /// The values of a head's queries and keys without a position.
    pub plain: usize,
    /// Those that the rotary embedding rotates. All heads share them in keys.
    pub rotated: usize,
    /// The values that a head adds.
    pub value: usize,
    /// Neighbouring values rotate together.
    pub is_interleaved: bool,
}

impl LatentSizes {
    /// A head of queries and of keys.
    pub fn head(&self) -> usize {
        self.plain + self.rotated
    }

    /// What the kernels take for queries, keys and values: the shorter ones are padded.
    pub fn padded(&self) -> usize {
        self.head().max(self.value)
    }

    /// As [`MixerSizes::shape_of`](super::MixerSizes::shape_of).
    pub fn shape_of(&self, role: Role, hidden: usize) -> Option<Vec<usize>> {
        let queries = self.heads * self.head();
        Some(match role {
            Role::LatentQuery if self.query_rank.is_none() => vec![queries, hidden],
            Role::LatentQueryDown => vec![self.query_rank?, hidden],
            Role::LatentQueryNorm => vec![self.query_rank?],
            Role::LatentQueryUp => vec![queries, self.query_rank?],
            Role::LatentDown => vec![self.rank + self.rotated, hidden],
            Role::LatentNorm => vec![self.rank],
            Role::LatentUp => vec![self.heads * (self.plain + self.value), self.rank],
            Role::LatentOut => vec![hidden, self.heads * self.value],
            _ => return None,
        })
    }

    /// The values that a cache keeps of a token.
    pub fn cached_values(&self) -> usize {
        self.rank + self.rotated
    }

    /// The values that a token takes inside the mixer, beside its queries: the short vectors, keys and values, and the padded ones.
    pub fn inner_values(&self) -> usize {
        let short = 2 * (self.query_rank.unwrap_or(0) + self.cached_values());
        short + self.heads * (self.plain + self.value + 4 * self.padded())
    }

    pub fn problem(&self) -> Option<&'static str> {
        let sizes = [self.heads, self.query_rank.unwrap_or(1), self.rank, self.plain, self.rotated, self.value];
        (!sizes.iter().all(|size| (1..=LARGEST).contains(size))).then_some("are zero or impossibly large")
    }
}

impl ConfigFields<'_> {
    pub fn latent(&self) -> Result<LatentSizes> {
        let heads = self.size("num_attention_heads")?;
        let rotated = self.size("qk_rope_head_dim")?;
        if self.optional_size("num_key_value_heads")?.is_some_and(|kv_heads| kv_heads != heads) {
            return Err(self.problem("num_key_value_heads", "differs from the number of heads").into());
        }
        if self.optional_size("head_dim")?.is_some_and(|size| size != rotated) {
            return Err(self.problem("head_dim", "differs from `qk_rope_head_dim`").into());
        }
        let sizes = LatentSizes {
            heads,
            query_rank: self.optional_size("q_lora_rank")?,
            rank: self.size("kv_lora_rank")?,
            plain: self.size("qk_nope_head_dim")?,
            rotated,
            value: match self.family.number("v_head_dim") {
                Some(_) => self.size("v_head_dim")?,
                None => self.optional_size("v_head_dim")?.unwrap_or(self.size("hidden_size")? / heads),
            },
            is_interleaved: self.flag("rope_interleave") == Some(true),
        };
        match sizes.problem() {
            Some(problem) => Err(self.problem("sizes of latent attention", problem).into()),
            None => Ok(sizes),
        }
    }

    /// What the scale of scores is multiplied by: `mscale_all_dim` counts twice, for queries and for keys.
    pub fn latent_scale(&self) -> Result<f64> {
        let object = |key: &str| self.get(key).and_then(Value::as_object).filter(|object| !object.is_empty());
        let Some(parameters) = object("rope_scaling").or(object("rope_parameters")) else { return Ok(1.0) };
        let kind = parameters.get("rope_type").or(parameters.get("type")).and_then(Value::as_str);
        let all = number(parameters, "mscale_all_dim").filter(|all| *all != 0.0);
        let (Some(all), true) = (all, kind.is_some_and(|kind| kind != "default")) else { return Ok(1.0) };
        let factor = number(parameters, "factor").ok_or_else(|| self.problem("factor", "is missing"))?;
        let scale = if factor <= 1.0 { 1.0 } else { 0.1 * all * factor.ln() + 1.0 };
        Ok(scale * scale)
    }
}

fn number(parameters: &Map<String, Value>, key: &str) -> Option<f64> {
    parameters.get(key).and_then(Value::as_f64)
}
