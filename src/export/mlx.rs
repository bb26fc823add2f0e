//! An MLX-LM adapter: `adapter_config.json` and `adapters.safetensors` (`mlx_lm/tuner/utils.py`, `load_adapters`).
//!
//! MLX-LM counts `num_layers` from the last layer, so that an adapter of the lower ones has to declare all. It puts factors of
//! zeros into the layers that the file has none for.

use std::collections::BTreeSet;

use rayon::prelude::*;
use serde_json::json;

use super::Format;
use super::base::BaseShape;
use super::pairs::{Pair, plain_pairs, transposed};
use crate::adapter::targets::last_segment;
use crate::adapter::{Adapter, config};
use crate::error::{AdapterError, Result};
use crate::files::Staging;
use crate::rewrite::fold;
use crate::rewrite::steps::encode_tensor;
use crate::rewrite::write::{self, NewTensor};

/// Where transformers has the layers, and where MLX-LM has them: modules inside a layer are called the same.
const STACKS: [(&str, &str); 4] = [
    ("model.layers", "model.layers"),
    // The text decoders of multimodal models, in transformers since 4.52 and before.
    ("model.language_model.layers", "language_model.model.layers"),
    ("language_model.model.layers", "language_model.model.layers"),
    ("gpt_neox.layers", "model.h"),
];

/// Modules outside of the layers that have the same name in both.
const OUTSIDE: [&str; 2] = ["model.embed_tokens", "lm_head"];

/// Modules inside of the layers that MLX-LM takes apart when it loads a model (`mlx_lm/models/deepseek_v3.py`, `sanitize`).
const SPLIT: [&str; 1] = ["kv_b_proj"];

/// A module's name in MLX-LM, if it has one.
fn name(adapter: &Adapter, pair: &Pair) -> Option<String> {
    let Some(layer) = pair.layer else {
        return OUTSIDE.contains(&pair.module.as_str()).then(|| pair.module.clone());
    };
    let (_, stack) = STACKS.iter().find(|(stack, _)| *stack == adapter.stack)?;
    let inside = pair.inside(adapter);
    let is_other = inside.contains("experts.") || SPLIT.contains(&last_segment(inside));
    (!is_other).then(|| format!("{stack}.{layer}.{inside}"))
}

/// Refuses names that MLX-LM does not share, tensors that it has once for two, and ranks that differ.
pub fn check(adapter: &Adapter, base: &BaseShape, will_be_portable: bool) -> Result<()> {
    let refuse =
        |feature| AdapterError::NotInFormat { path: adapter.path.clone(), feature, format: Format::Mlx.to_string() };
    let pairs = plain_pairs(adapter, Format::Mlx, will_be_portable)?;
    if let Some(other) = pairs.iter().find(|pair| name(adapter, pair).is_none()) {
        return Err(refuse(format!("LoRA on `{}`, which MLX-LM names otherwise", other.module)).into());
    }
    if let (Some(why), Some(pair)) = (base.why_not_outside(), pairs.iter().find(|pair| pair.layer.is_none())) {
        return Err(refuse(format!("LoRA on `{}`, {why}", pair.module)).into());
    }
    let ranks: BTreeSet<usize> = pairs.iter().map(|pair| pair.rank).collect();
    if ranks.len() > 1 && !will_be_portable {
        return Err(refuse("ranks that differ".into()).into());
    }
    Ok(())
}

/// Writes both files.
pub fn write(adapter: &Adapter, base: &BaseShape, staging: &Staging) -> Result<()> {
    check(adapter, base, false)?;
    let pairs = plain_pairs(adapter, Format::Mlx, false)?;
    // Nothing can be divided by a scaling of 0.
    let scale = fold::most_common(pairs.iter().map(|pair| pair.scaling).filter(|&scaling| scaling != 0.0));
    let keys: BTreeSet<&str> = pairs.iter().map(|pair| pair.inside(adapter)).collect();
    let config = json!({
        "fine_tune_type": "lora",
        "lora_parameters": {
            "dropout": 0.0,
            "keys": keys,
            "rank": pairs.first().map(|pair| pair.rank),
            "scale": scale,
        },
        "model": adapter.config.text("base_model_name_or_path"),
        "num_layers": base.layers,
    });
    staging.json(config::FILE_NAME, &config)?;
    let tensors = pairs.par_iter().map(|pair| tensors(adapter, pair, scale)).collect::<Result<Vec<_>>>()?;
    let tensors: Vec<NewTensor> = tensors.into_iter().flatten().collect();
    write::write_tensors_as(Format::Mlx.file_name(), staging, &tensors)
}

/// `lora_a` (inputs, rank) and `lora_b` (rank, outputs) of a module.
fn tensors<'a>(adapter: &Adapter, pair: &Pair, scale: f64) -> Result<[NewTensor<'a>; 2]> {
    let mut factors = pair.load(adapter)?;
    fold::fold(&mut factors.b, fold::factor(pair.scaling, scale));
    let module = name(adapter, pair).unwrap_or_else(|| pair.module.clone());
    let tensor = |part: &str, values: Vec<f32>, dtype, shape: [usize; 2]| -> Result<NewTensor<'a>> {
        let bytes = encode_tensor(adapter, &pair.module, &values, dtype)?;
        let name = format!("{module}.{part}");
        Ok(NewTensor { name: name.into(), dtype, shape: shape.into(), bytes: bytes.into() })
    };
    let (a, b) = (transposed(&factors.a, factors.inputs), transposed(&factors.b, pair.rank));
    Ok([
        tensor("lora_a", a, factors.dtypes.0, [factors.inputs, pair.rank])?,
        tensor("lora_b", b, factors.dtypes.1, [pair.rank, factors.outputs])?,
    ])
}
