//! `--format mlx`: an MLX-LM adapter, `adapter_config.json` and `adapters.safetensors` (`mlx_lm/tuner/utils.py`, `load_adapters`).
//!
//! MLX-LM counts `num_layers` from the last layer, so an adapter of the lower layers has to declare all of them. MLX-LM creates
//! factors of zeros for the layers that the file lacks.

use std::collections::BTreeSet;

use rayon::prelude::*;
use serde_json::json;

use super::pairs::{PlainPair, plain_pairs, refusal};
use super::{BaseShape, Exporter, Format, FormatEntry};
use crate::adapter::targets::last_segment;
use crate::adapter::{Adapter, config};
use crate::error::Result;
use crate::files::Staging;
use crate::rewrite::fold;
use crate::rewrite::steps::PlannedChanges;
use crate::rewrite::write::{self, NewTensor, transposed};

pub const ENTRY: FormatEntry = FormatEntry {
    name: "mlx",
    help: "An MLX-LM folder: adapter_config.json and adapters.safetensors",
    description: "an MLX-LM folder",
    file_name: "adapters.safetensors",
    exporter: |base, _| Ok(Box::new(MlxFolder { base: BaseShape::read(&base()?)? })),
};

/// The names of the layers in transformers and in MLX-LM: modules inside a layer have the same names in both.
const STACKS: [(&str, &str); 4] = [
    ("model.layers", "model.layers"),
    // The text decoders of multimodal models, in transformers since 4.52 and before.
    ("model.language_model.layers", "language_model.model.layers"),
    ("language_model.model.layers", "language_model.model.layers"),
    ("gpt_neox.layers", "model.h"),
];

/// Modules outside of the layers with the same name in both.
const OUTSIDE: [&str; 2] = ["model.embed_tokens", "lm_head"];

/// Modules inside of the layers that MLX-LM splits when it loads a model (`mlx_lm/models/deepseek_v3.py`, `sanitize`).
const SPLIT: [&str; 1] = ["kv_b_proj"];

#[derive(Debug)]
struct MlxFolder {
    base: BaseShape,
}

impl Exporter for MlxFolder {
    fn format(&self) -> Format {
        Format::Mlx
    }

    /// Refuses names that MLX-LM does not share, tensors that are one in MLX-LM and two in PEFT, and ranks that differ.
    fn check(&self, adapter: &Adapter, planned: PlannedChanges) -> Result<()> {
        // What it cannot hold may be dead.
        if planned.drops_dead_weight {
            return Ok(());
        }
        self.base.check_layers(adapter)?;
        let refuse = |feature: String| Err(refusal(adapter, Format::Mlx, feature).into());
        let pairs = plain_pairs(adapter, Format::Mlx, planned.unifies)?;
        if let Some(other) = pairs.iter().find(|pair| name(adapter, pair).is_none()) {
            return refuse(format!("LoRA on `{}`, which MLX-LM names otherwise", other.module.name));
        }
        let outside = pairs.iter().find(|pair| pair.module.layer.is_none());
        if let (Some(why), Some(pair)) = (self.base.why_not_outside(), outside) {
            return refuse(format!("LoRA on `{}`, {why}", pair.module.name));
        }
        let ranks: BTreeSet<usize> = pairs.iter().map(|pair| pair.rank).collect();
        if ranks.len() > 1 && !planned.unifies { refuse("ranks that differ".into()) } else { Ok(()) }
    }

    fn write(&self, adapter: &Adapter, staging: &Staging) -> Result<()> {
        self.check(adapter, PlannedChanges::default())?;
        let pairs = plain_pairs(adapter, Format::Mlx, false)?;
        // Nothing can be divided by a scaling of 0.
        let scale = fold::most_common(pairs.iter().map(|pair| pair.scaling).filter(|&scaling| scaling != 0.0));
        let keys: BTreeSet<&str> = pairs.iter().map(PlainPair::inside).collect();
        let config = json!({
            "fine_tune_type": "lora",
            "lora_parameters": {
                "dropout": 0.0,
                "keys": keys,
                "rank": pairs.first().map(|pair| pair.rank),
                "scale": scale,
            },
            "model": adapter.config.text("base_model_name_or_path"),
            "num_layers": self.base.layers,
        });
        staging.json(config::FILE_NAME, &config)?;
        let tensors = pairs.par_iter().map(|pair| tensors(adapter, pair, scale)).collect::<Result<Vec<_>>>()?;
        let tensors: Vec<NewTensor> = tensors.into_iter().flatten().collect();
        write::write_tensors_as(Format::Mlx.file_name(), staging, &tensors)
    }
}

/// A module's name in MLX-LM, if it has one.
fn name(adapter: &Adapter, pair: &PlainPair) -> Option<String> {
    let module = &pair.module.name;
    let Some(layer) = pair.module.layer else {
        return OUTSIDE.contains(&module.as_str()).then(|| module.clone());
    };
    let (_, stack) = STACKS.iter().find(|(stack, _)| *stack == adapter.stack)?;
    let inside = pair.inside();
    let is_other = inside.contains("experts.") || SPLIT.contains(&last_segment(inside));
    (!is_other).then(|| format!("{stack}.{layer}.{inside}"))
}

/// `lora_a` (inputs, rank) and `lora_b` (rank, outputs) of a module.
fn tensors<'a>(adapter: &Adapter, pair: &PlainPair, scale: f64) -> Result<[NewTensor<'a>; 2]> {
    let mut values = pair.load()?;
    fold::fold(&mut values.b, fold::factor(pair.scaling, scale));
    let module = name(adapter, pair).unwrap_or_else(|| pair.module.name.clone());
    let tensor = |part: &str, values: Vec<f32>, dtype, shape: [usize; 2]| -> Result<NewTensor<'a>> {
        let bytes = write::encode(adapter, &pair.module.name, &values, dtype)?;
        let name = format!("{module}.{part}");
        Ok(NewTensor { name: name.into(), dtype, shape: shape.into(), bytes: bytes.into() })
    };
    let (a, b) = (transposed(&values.a, values.inputs), transposed(&values.b, pair.rank));
    Ok([
        tensor("lora_a", a, values.dtypes.0, [values.inputs, pair.rank])?,
        tensor("lora_b", b, values.dtypes.1, [pair.rank, pair.outputs])?,
    ])
}
