//! The adapters of NeMo and Megatron, as one file of tensors: `…self_attention.linear_qkv.adapter.linear_in.weight`, or with the
//! names of NeMo 1, `…self_attention.adapter_layer.lora_kqv_adapter.linear_in.weight`.
//!
//! One adapter may serve queries, keys and values together, or gate and up: the first factor is then that of each module, and
//! the second one's rows are divided. Rows of queries, keys and values lie group by group, a group being the query heads that
//! share a key head (`nemo/export/utils/lora_converter.py`, `TransformFns.split_qkv` and `split_fc1`).

use super::mapping::map_tensors;
use super::{
    Alpha, BaseShapes, Given, Layout, LoraSettings, MappedConfig, MappedTensor, Mapping, StoredAdapter, ValueOrder,
};
use crate::adapter::names::Part;
use crate::error::{FixError, Result};

const NAME: &str = "NeMo";

#[derive(Debug)]
pub struct Nemo;

/// The modules of transformers that an adapter serves.
#[derive(Debug, Clone, Copy)]
enum Served {
    One(&'static str),
    /// Queries, keys and values, group by group.
    Attention,
    /// Gate, then up.
    GateAndUp,
}

/// What follows the layer's number, up to `linear_in` or `linear_out`.
const ADAPTERS: [(&str, Served); 18] = [
    ("self_attention.linear_qkv.adapter", Served::Attention),
    ("self_attention.linear_qkv.adapter.adapter_q", Served::One("self_attn.q_proj")),
    ("self_attention.linear_qkv.adapter.adapter_k", Served::One("self_attn.k_proj")),
    ("self_attention.linear_qkv.adapter.adapter_v", Served::One("self_attn.v_proj")),
    ("self_attention.linear_proj.adapter", Served::One("self_attn.o_proj")),
    ("mlp.linear_fc1.adapter", Served::GateAndUp),
    ("mlp.linear_fc1.adapter.adapter_gate", Served::One("mlp.gate_proj")),
    ("mlp.linear_fc1.adapter.adapter_up", Served::One("mlp.up_proj")),
    ("mlp.linear_fc2.adapter", Served::One("mlp.down_proj")),
    // NeMo 1.
    ("self_attention.adapter_layer.lora_kqv_adapter", Served::Attention),
    ("self_attention.adapter_layer.lora_unfused_kqv_adapter.q_adapter", Served::One("self_attn.q_proj")),
    ("self_attention.adapter_layer.lora_unfused_kqv_adapter.k_adapter", Served::One("self_attn.k_proj")),
    ("self_attention.adapter_layer.lora_unfused_kqv_adapter.v_adapter", Served::One("self_attn.v_proj")),
    ("self_attention.adapter_layer.lora_dense_attention_adapter", Served::One("self_attn.o_proj")),
    ("mlp.adapter_layer.lora_hto4h_adapter", Served::GateAndUp),
    ("mlp.adapter_layer.lora_unfused_hto4h_adapter.gate_adapter", Served::One("mlp.gate_proj")),
    ("mlp.adapter_layer.lora_unfused_hto4h_adapter.up_adapter", Served::One("mlp.up_proj")),
    ("mlp.adapter_layer.lora_4htoh_adapter", Served::One("mlp.down_proj")),
];

const PARTS: [(&str, Part); 2] = [(".linear_in.weight", Part::LoraA), (".linear_out.weight", Part::LoraB)];

/// What may precede `decoder.layers`.
const PREFIXES: [&str; 4] =
    ["model.decoder.layers.", "module.decoder.layers.", "decoder.layers.", "model.module.decoder.layers."];

impl Layout for Nemo {
    fn name(&self) -> &'static str {
        NAME
    }

    fn recognises(&self, stored: &StoredAdapter) -> bool {
        stored.names().any(|name| {
            name.ends_with(".linear_in.weight") && (name.contains(".adapter.") || name.contains(".adapter_layer."))
        })
    }

    fn map(&self, stored: &StoredAdapter, given: &Given) -> Result<Mapping> {
        let path = || stored.path.clone();
        let needs = "it tells how the rows of queries, keys and values lie";
        let base = given.base.as_ref().ok_or_else(|| FixError::NoBase { path: path(), layout: NAME, needs })?;
        let alpha = given.alpha.ok_or_else(|| no_alpha(stored))?;
        let tensors = map_tensors(stored, NAME, |name| map(stored, name, base))?;
        let changes = vec![
            "the tensors have PEFT's names; an adapter of several modules is divided among them".into(),
            format!("adapter_config.json is PEFT's, with lora_alpha {alpha} as given"),
        ];
        let settings = LoraSettings { alpha: Alpha::All(alpha), use_dora: false, base_model: None, layers: None };
        Ok(Mapping { tensors, config: MappedConfig::Lora(settings), changes, remarks: Vec::new() })
    }
}

/// NeMo writes the settings of the training as YAML.
fn no_alpha(stored: &StoredAdapter) -> FixError {
    let path = stored.path.clone();
    match stored.file_with_ending(&[".yaml", ".yml"]) {
        Some(file) => FixError::AlphaInYaml { path, file },
        None => FixError::NoAlpha { path },
    }
}

fn map(stored: &StoredAdapter, name: &str, base: &BaseShapes) -> Result<Option<Vec<MappedTensor>>> {
    let place = || {
        let (adapter, part) = PARTS.iter().find_map(|(ending, part)| Some((name.strip_suffix(ending)?, *part)))?;
        let (layer, inside) = PREFIXES.iter().find_map(|prefix| adapter.strip_prefix(prefix))?.split_once('.')?;
        layer.parse::<usize>().ok()?;
        Some((layer, part, ADAPTERS.iter().find(|(own, _)| *own == inside)?.1))
    };
    let Some((layer, part, served)) = place() else { return Ok(None) };
    let rows = stored.weights.height(name)?;
    let divided: Vec<(&str, Vec<usize>)> = match served {
        Served::One(module) => {
            let module = format!("model.layers.{layer}.{module}");
            return Ok(Some(vec![MappedTensor::of(name, &module, part, ValueOrder::Unchanged)]));
        }
        Served::GateAndUp => {
            vec![("mlp.gate_proj", (0..rows / 2).collect()), ("mlp.up_proj", (rows / 2..rows).collect())]
        }
        Served::Attention => attention_rows(base).into(),
    };
    let total: usize = divided.iter().map(|(_, rows)| rows.len()).sum();
    if part == Part::LoraB && total != rows {
        let reason = format!("`{name}` has {rows} rows, but the base model makes {total} of its modules");
        return Err(FixError::Ambiguous { path: stored.path.clone(), reason }.into());
    }
    let tensor = |(module, rows)| {
        let order = if part == Part::LoraA { ValueOrder::Unchanged } else { ValueOrder::Rows(rows) };
        MappedTensor::of(name, &format!("model.layers.{layer}.{module}"), part, order)
    };
    Ok(Some(divided.into_iter().map(tensor).collect()))
}

/// The rows of queries, keys and values where each group has its query heads, its key head and its value head.
fn attention_rows(base: &BaseShapes) -> [(&'static str, Vec<usize>); 3] {
    let groups = base.key_heads.max(1);
    let queries = base.heads / groups;
    let rows = |first: usize, heads: usize| {
        let of_group = move |group: usize| {
            let start = (group * (queries + 2) + first) * base.head_size;
            start..start + heads * base.head_size
        };
        (0..groups).flat_map(of_group).collect()
    };
    [
        ("self_attn.q_proj", rows(0, queries)),
        ("self_attn.k_proj", rows(queries, 1)),
        ("self_attn.v_proj", rows(queries + 1, 1)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_divided() {
        let base = BaseShapes { path: "base".into(), family: "llama".into(), heads: 4, key_heads: 2, head_size: 1 };
        let [queries, keys, values] = attention_rows(&base).map(|(_, rows)| rows);
        assert_eq!((queries, keys, values), (vec![0, 1, 4, 5], vec![2, 6], vec![3, 7]));
    }
}
