//! MLX-LM's folders: `adapter_config.json` with `lora_parameters`, and `adapters.safetensors`.
//!
//! `lora_a` is (inputs, rank) and `lora_b` (rank, outputs), ΔWᵀ = scale · lora_a · lora_b (`mlx_lm/tuner/lora.py`, 0.32.2). So
//! both are transposed, and PEFT's alpha is scale · rank. `num_layers` counts from the last layer, but the names have the layer's
//! index in the whole model.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::mapping::{map_tensors, require_common_names};
use super::{Alpha, Given, Layout, LoraSettings, MappedConfig, MappedTensor, Mapping, StoredAdapter, ValueOrder};
use crate::account::{Account, Harmless};
use crate::adapter::names::{Part, stack_and_layer};
use crate::error::{AdapterError, FixError, Result};
use crate::format::{first_names, ranges, upper_layers};

const NAME: &str = "MLX-LM";

#[derive(Debug)]
pub struct MlxLm;

/// The parts of a module: MLX-LM's name, PEFT's, and how the values lie.
const PARTS: [(&str, Part, ValueOrder); 3] = [
    ("lora_a", Part::LoraA, ValueOrder::Transposed),
    ("lora_b", Part::LoraB, ValueOrder::Transposed),
    // DoRA's magnitude has one dimension in both.
    ("m", Part::Magnitude, ValueOrder::Unchanged),
];

/// The decoder's layers in MLX-LM and in the text models of transformers.
const STACKS: [(&str, &str); 2] = [("model.layers", "model.layers"), ("language_model.model.layers", "model.layers")];

/// What MLX-LM splits or joins when it loads a model (`sanitize` in `mlx_lm/models/`), so that no one module of transformers
/// is the same.
const OTHER_IN_MLX: [&str; 4] = ["switch_mlp", "switch_glu", "embed_q", "unembed_out"];

/// Settings of the training, which the tensors are the outcome of.
#[rustfmt::skip]
const HARMLESS: [Harmless; 31] = [
    ("adapter_path", "where it was written"), ("batch_size", "training"), ("clear_cache_threshold", "memory"),
    ("config", "where the flags came from"), ("data", "training"), ("grad_accumulation_steps", "training"),
    ("grad_checkpoint", "memory"), ("hf_dataset", "training"), ("iters", "training"), ("learning_rate", "training"),
    ("lora_layers", "the tensors tell the layers"), ("lr_schedule", "training"), ("mask_prompt", "training"),
    ("max_seq_length", "training"), ("optimizer", "training"),
    ("optimizer_config", "training"), ("project_name", "logging"), ("prompt_feature", "training"),
    ("report_to", "logging"), ("resume_adapter_file", "training"), ("save_every", "training"), ("seed", "training"),
    ("steps_per_eval", "training"), ("steps_per_report", "logging"), ("test", "training"), ("test_batches", "training"),
    ("train", "training"), ("trust_remote_code", "loading of the tokenizer"), ("use_dora", "a former name, read below"),
    ("val_batches", "training"), ("wandb", "logging"),
];

/// What is harmless in `lora_parameters`.
const HARMLESS_PARAMETERS: [Harmless; 2] = [("dropout", "training"), ("keys", "the tensors tell the modules")];

impl Layout for MlxLm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn recognises(&self, stored: &StoredAdapter) -> bool {
        let has_parameters = stored.config.as_ref().is_some_and(|config| Account::of(config).has("lora_parameters"));
        has_parameters || stored.names().any(|name| name.ends_with(".lora_a")) && stored.config.is_none()
    }

    fn describe(&self, stored: &StoredAdapter) -> Option<String> {
        let layers = stored.names().filter_map(|name| Some(stack_and_layer(name)?.1));
        let layers: Vec<usize> = layers.collect::<BTreeSet<usize>>().into_iter().collect();
        // Without `num_layers` in its settings, MLX-LM trains the last 16.
        let upper = upper_layers(&layers).map(|_| format!(", with LoRA in layers {} alone", ranges(&layers)));
        Some(format!("an adapter in the layout of {NAME}{}", upper.unwrap_or_default()))
    }

    fn map(&self, stored: &StoredAdapter, given: &Given) -> Result<Mapping> {
        let settings = stored.config.as_ref().map(|config| Settings::read(config, stored)).transpose()?;
        let (settings, remarks) = settings.unwrap_or_default();
        let alpha = match (settings.scale, given.alpha) {
            (Some(scale), None) => Alpha::Scaling(scale),
            (None, Some(alpha)) => Alpha::All(alpha),
            (Some(_), Some(_)) => return Err(FixError::AlphaKnown { path: stored.path.clone() }.into()),
            (None, None) => return Err(FixError::NoAlpha { path: stored.path.clone() }.into()),
        };
        let tensors = map_tensors(stored, NAME, |name| map(stored, name, given))?;
        require_common_names(stored, NAME, &tensors, given)?;
        let change = match alpha {
            Alpha::Scaling(scale) => format!("lora_alpha is MLX-LM's scale, {scale}, times the rank"),
            _ => "lora_alpha is the one given".into(),
        };
        let changes = vec![
            "the tensors have PEFT's names, and their rows and columns are exchanged".into(),
            format!("adapter_config.json is PEFT's; {change}"),
        ];
        let settings = LoraSettings {
            alpha,
            use_dora: settings.use_dora,
            base_model: settings.base_model,
            layers: settings.layers,
        };
        Ok(Mapping { tensors, config: MappedConfig::Lora(settings), changes, remarks })
    }
}

/// What `adapter_config.json` says.
#[derive(Default)]
struct Settings {
    scale: Option<f64>,
    use_dora: bool,
    base_model: Option<String>,
    layers: Option<usize>,
}

impl Settings {
    fn read(config: &Map<String, Value>, stored: &StoredAdapter) -> Result<(Self, Vec<String>)> {
        let path = stored.config_path();
        let account = Account::of(config);
        let wrong = |key, expected| AdapterError::ConfigValue { path: path.clone(), key, expected };
        let parameters = account.get("lora_parameters").and_then(Value::as_object);
        let parameters = Account::of(parameters.ok_or_else(|| wrong("lora_parameters", "an object"))?);
        let kind = account.get("fine_tune_type").and_then(Value::as_str).unwrap_or("lora");
        if !["lora", "dora"].contains(&kind) {
            return Err(FixError::NotAnAdapter {
                path: stored.path.clone(),
                what: "weights that were trained in full",
            }
            .into());
        }
        let use_dora = kind == "dora" || account.get("use_dora").and_then(Value::as_bool) == Some(true);
        // Up to version 0.19 the scaling was scale · alpha / rank; later versions do not read `alpha`.
        if parameters.has("alpha") {
            let reason =
                "its `lora_parameters` have both `alpha` and `scale`, which versions of MLX-LM multiply or not";
            return Err(FixError::Ambiguous { path: stored.path.clone(), reason: reason.into() }.into());
        }
        let scale = parameters.get("scale").and_then(Value::as_f64).filter(|scale| scale.is_finite());
        let scale = scale.ok_or_else(|| wrong("scale", "a number"))?;
        // The tensors tell it.
        parameters.get("rank");
        let base_model = account.get("model").and_then(Value::as_str).map(String::from);
        // The last layers are adapted, so that there are at least as many; -1 stands for all.
        let layers = account.get("num_layers").and_then(Value::as_u64).map(|layers| layers as usize);
        let unread = [account.unread(&HARMLESS), parameters.unread(&HARMLESS_PARAMETERS)].concat();
        let remarks = match unread.as_slice() {
            [] => Vec::new(),
            unread => vec![format!("{} in adapter_config.json is not read", first_names(unread, 5))],
        };
        Ok((Self { scale: Some(scale), use_dora, base_model, layers }, remarks))
    }
}

/// The tensor that a name of MLX-LM stands for.
fn map(stored: &StoredAdapter, name: &str, given: &Given) -> Result<Option<Vec<MappedTensor>>> {
    let Some((module, ending)) = name.rsplit_once('.') else { return Ok(None) };
    let Some((_, part, order)) = PARTS.iter().find(|(own, ..)| *own == ending) else { return Ok(None) };
    let ambiguous = |reason: String| FixError::Ambiguous { path: stored.path.clone(), reason };
    if OTHER_IN_MLX.iter().any(|other| module.split('.').any(|segment| segment == *other)) {
        return Err(ambiguous(format!("`{module}` is made of other modules in transformers")).into());
    }
    let Some((stack, layer)) = stack_and_layer(module) else {
        return match module {
            "lm_head" | "language_model.lm_head" => {
                Ok(Some(vec![MappedTensor::of(name, "lm_head", *part, order.clone())]))
            }
            _ if module.ends_with("embed_tokens") => {
                let reason =
                    "MLX-LM also applies LoRA on the embedding in a head that shares its weights, and PEFT does not";
                Err(ambiguous(reason.into()).into())
            }
            _ => Ok(None),
        };
    };
    let Some((_, own)) = STACKS.iter().find(|(mlx, _)| *mlx == stack) else { return Ok(None) };
    if stack != *own && given.base.is_none() {
        let needs = "it tells where the decoder lies";
        return Err(FixError::NoBase { path: stored.path.clone(), layout: NAME, needs }.into());
    }
    let inside = &module[stack.len()..];
    debug_assert!(inside.starts_with(&format!(".{layer}")));
    Ok(Some(vec![MappedTensor::of(name, &format!("{own}{inside}"), *part, order.clone())]))
}
