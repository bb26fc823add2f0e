//! What differs from layer to layer, beside windows and mixers.

use std::collections::BTreeSet;
use std::f64::consts::SQRT_2;

use candle_core::cpu::erf::erf_inv;
use serde_json::Value;

use super::fields::ConfigFields;
use super::{LARGEST_SIZE, MOST_LAYERS};
use crate::error::Result;
use crate::model::family::{Positions, Sliding};

/// The sizes of the heads of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadSizes {
    /// Key and value heads.
    pub kv_heads: usize,
    pub head_dim: usize,
}

impl HeadSizes {
    /// The values of each token's keys (or values) over all heads.
    pub fn kv_size(self) -> usize {
        self.kv_heads * self.head_dim
    }
}

/// What differs from layer to layer.
#[derive(Debug, Clone, PartialEq)]
pub struct ByLayer {
    pub heads: Vec<HeadSizes>,
    pub mlp_sizes: Vec<usize>,
    /// The layer whose keys and values a layer reads again, if it has none of its own.
    pub keys_of: Vec<Option<usize>>,
    /// The layers whose keys, before their norm, are the values, too.
    pub keys_are_values: BTreeSet<usize>,
    /// By how many standard deviations over their mean gates of the MLP are lowered before those below 0 are cut off, in layers that
    /// do so.
    pub cutoffs: Vec<Option<f64>>,
}

impl ByLayer {
    /// Layers that do not differ.
    pub fn same(layers: usize, heads: HeadSizes, mlp_size: usize) -> Self {
        let layers = layers.min(MOST_LAYERS);
        Self {
            heads: vec![heads; layers],
            mlp_sizes: vec![mlp_size; layers],
            keys_of: vec![None; layers],
            keys_are_values: BTreeSet::new(),
            cutoffs: vec![None; layers],
        }
    }

    /// Whether no layer differs from the others.
    pub fn is_same(&self) -> bool {
        let is_same = |sizes: &[usize]| sizes.windows(2).all(|two| two[0] == two[1]);
        self.heads.windows(2).all(|two| two[0] == two[1])
            && is_same(&self.mlp_sizes)
            && self.keys_of.iter().all(Option::is_none)
            && self.keys_are_values.is_empty()
    }

    /// Whether other layers read the keys and values of a layer again.
    pub fn is_read_again(&self, layer: usize) -> bool {
        self.keys_of.contains(&Some(layer))
    }
}

impl ConfigFields<'_> {
    /// What differs from layer to layer, in layers of these sizes and windows.
    pub fn by_layer(&self, heads: HeadSizes, mlp_size: usize, windows: &[Option<usize>]) -> Result<ByLayer> {
        let mut layers = ByLayer::same(windows.len(), heads, mlp_size);
        let keys_are_values = self.flag("attention_k_eq_v") == Some(true);
        let global = HeadSizes {
            head_dim: self.optional_size("global_head_dim")?.unwrap_or(heads.head_dim),
            kv_heads: self
                .optional_size("num_global_key_value_heads")?
                .filter(|_| keys_are_values)
                .unwrap_or(heads.kv_heads),
        };
        for layer in (0..windows.len()).filter(|&layer| windows[layer].is_none()) {
            layers.heads[layer] = global;
            if keys_are_values {
                layers.keys_are_values.insert(layer);
            }
        }
        self.override_heads(&mut layers, heads)?;
        self.share_keys(&mut layers, windows)?;
        if self.flag("use_double_wide_mlp") == Some(true) {
            let sharing = layers.mlp_sizes.iter_mut().zip(&layers.keys_of).filter(|(_, keys)| keys.is_some());
            sharing.for_each(|(size, _)| *size *= 2);
        }
        if let Some(sizes) = self.intermediate_sizes()? {
            match sizes.len() == windows.len() {
                true => layers.mlp_sizes = sizes,
                false => {
                    return Err(self.problem("intermediate_size", "has not as many sizes as there are layers").into());
                }
            }
        }
        layers.cutoffs = self.cutoffs(windows.len())?;
        Ok(layers)
    }

    /// The sizes of the MLPs, where the configuration has one for each layer.
    pub fn intermediate_sizes(&self) -> Result<Option<Vec<usize>>> {
        let Some(given) = self.get("intermediate_size").and_then(Value::as_array) else { return Ok(None) };
        let sizes: Option<Vec<usize>> = given.iter().map(|size| Some(size.as_u64()? as usize)).collect();
        sizes.map(Some).ok_or_else(|| self.problem("intermediate_size", "has an entry that is not a size").into())
    }

    /// What the share of gates that are to be cut off comes to in each layer, as if gates were normally distributed.
    fn cutoffs(&self, layers: usize) -> Result<Vec<Option<f64>>> {
        const KEY: &str = "activation_sparsity_pattern";
        if !self.family.reads(KEY) {
            return Ok(vec![None; layers]);
        }
        let shares: Option<Vec<f64>> = match self.get(KEY).filter(|value| !value.is_null()) {
            Some(given) => given.as_array().and_then(|given| given.iter().map(Value::as_f64).collect()),
            None => Some((0..layers).map(|layer| if layers > 10 && layer < 10 { 0.95 } else { 0.0 }).collect()),
        };
        let shares = shares.filter(|shares| shares.len() == layers);
        let shares = shares.ok_or_else(|| self.problem(KEY, "has not one share for each layer"))?;
        if shares.iter().any(|share| (*share as f32) >= 1.0) {
            return Err(self.problem(KEY, "has a share that is not below 1").into());
        }
        let cutoff = |share: f64| (share > 0.0).then(|| erf_inv(f64::from(2.0 * share as f32 - 1.0)) * SQRT_2);
        Ok(shares.into_iter().map(cutoff).collect())
    }

    /// The layers that `attention_types` calls local: it has lists of names, each with how many times it comes.
    pub fn local_layers(&self, layers: usize) -> Result<BTreeSet<usize>> {
        const KEY: &str = "attention_types";
        if self.family.sliding != Sliding::ByAttentionTypes {
            return Ok(BTreeSet::new());
        }
        let usual = serde_json::json!([[["global", "local"], 12]]);
        let (whole, given) = (self.account.get("attention_layers"), self.account.get(KEY));
        let given = given.filter(|value| !value.is_null()).unwrap_or(&usual);
        let wrong = || self.problem(KEY, "does not name the attention of each layer");
        if layers > MOST_LAYERS {
            return Err(wrong().into());
        }
        let mut names = Vec::new();
        // A list of all layers counts before it.
        if let Some(whole) = whole {
            names.extend(whole.as_array().ok_or_else(wrong)?);
        }
        for group in given.as_array().filter(|_| whole.is_none()).into_iter().flatten() {
            let (group, times) = (group.get(0).and_then(Value::as_array), group.get(1).and_then(Value::as_u64));
            let (group, times) = group.zip(times).ok_or_else(wrong)?;
            for _ in 0..times.min(layers as u64 + 1) {
                names.extend(group);
                if names.len() > layers {
                    return Err(wrong().into());
                }
            }
        }
        let is_known = |name: &&Value| **name == "global" || **name == "local";
        if names.len() != layers || !names.iter().all(is_known) {
            return Err(wrong().into());
        }
        Ok((0..layers).filter(|&layer| *names[layer] == "local").collect())
    }

    /// Reads `per_layer_config`, which takes the place of what is said of layers without a window.
    fn override_heads(&self, layers: &mut ByLayer, usual: HeadSizes) -> Result<()> {
        let Some(given) = self.get("per_layer_config").filter(|value| !value.is_null()) else { return Ok(()) };
        let wrong = |problem| self.problem("per_layer_config", problem);
        let given = given.as_object().ok_or_else(|| wrong("is not an object"))?;
        layers.heads.fill(usual);
        for (layer, sizes) in given {
            let layer: usize = layer.parse().map_err(|_| wrong("has a key that is no layer"))?;
            let heads = layers.heads.get_mut(layer).ok_or_else(|| wrong("has a layer that is not there"))?;
            for (key, value) in sizes.as_object().ok_or_else(|| wrong("is not an object of objects"))? {
                let size = value.as_u64().filter(|size| (1..=LARGEST_SIZE as u64).contains(size));
                let size = size.ok_or_else(|| wrong("has a size that is none"))? as usize;
                match key.as_str() {
                    "head_dim" => heads.head_dim = size,
                    "num_key_value_heads" => heads.kv_heads = size,
                    other => {
                        return Err(self.unsupported(format!("`{other}` by the layer (`per_layer_config`)")).into());
                    }
                }
            }
        }
        Ok(())
    }

    /// The last layers read the keys and values of the last layer of their type that has its own.
    fn share_keys(&self, layers: &mut ByLayer, windows: &[Option<usize>]) -> Result<()> {
        let Some(sharing) = self.optional_count("num_kv_shared_layers")? else { return Ok(()) };
        let wrong = |problem| self.problem("num_kv_shared_layers", problem);
        let first = windows.len().checked_sub(sharing).ok_or_else(|| wrong("is more than there are layers"))?;
        for layer in first..windows.len() {
            let is_alike = |other: &usize| windows[*other].is_some() == windows[layer].is_some();
            let own = (0..first).rev().find(is_alike);
            layers.keys_of[layer] = Some(own.ok_or_else(|| wrong("leaves no layer of a type with keys of its own"))?);
        }
        Ok(())
    }
}

impl ConfigFields<'_> {
    /// Refuses a padding token whose row in the table of sines is a position's: transformers sets it to zero. Tables of fewer than
    /// two frequencies divide by zero there.
    pub fn check_sines(&self) -> Result<()> {
        let padding = self.optional_count("pad_token_id")?;
        let first = self.family.first_position;
        if self.family.positions == Positions::Sines && padding.is_some_and(|token| token >= first) {
            return Err(self.unsupported("a padding token that is a position (`pad_token_id`)".into()).into());
        }
        if self.family.positions == Positions::Sines && self.size("hidden_size")? < 4 {
            return Err(self.problem("hidden_size", "is too small for a table of sines").into());
        }
        Ok(())
    }
}

/// The inputs that each layer has of its own, beside the hidden states: embeddings of the tokens, and a map of their usual ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerLayerSizes {
    /// The values of one layer's input.
    pub size: usize,
    /// The tokens that have such embeddings.
    pub vocab_size: usize,
}

impl ConfigFields<'_> {
    pub fn per_layer(&self) -> Result<Option<PerLayerSizes>> {
        // Without such inputs it counts for nothing.
        self.get("vocab_size_per_layer_input");
        // 0 is no size, but says that there are none.
        if self.get("hidden_size_per_layer_input").is_some_and(|size| *size == 0) {
            return Ok(None);
        }
        let Some(size) = self.optional_size("hidden_size_per_layer_input")? else { return Ok(None) };
        if self.flag("enable_moe_block") == Some(true) {
            let feature = "experts in layers with inputs of their own (`hidden_size_per_layer_input`)";
            return Err(self.unsupported(feature.into()).into());
        }
        Ok(Some(PerLayerSizes { size, vocab_size: self.size("vocab_size_per_layer_input")? }))
    }
}
