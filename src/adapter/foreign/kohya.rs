//! Names of the trainers of image models: `NAME.lora_down.weight`, `NAME.lora_up.weight` and `NAME.alpha`.
//!
//! The scaling is alpha / rank, and 1 where alpha is absent or 0 (`networks/lora.py` of sd-scripts, `LoRAModule`). Most of these
//! adapters belong to a diffusion model and its text encoders, which are no decoders. There the dots of a name are written as
//! underscores, which cannot be undone without the model; a name with dots is the module's own.

use std::collections::BTreeMap;

use super::mapping::{map_tensors, require_common_names};
use super::{Alpha, Given, Layout, LoraSettings, MappedConfig, MappedTensor, Mapping, StoredAdapter, ValueOrder};
use crate::adapter::names::{Part, stack_and_layer};
use crate::error::{FixError, Result};

const NAME: &str = "sd-scripts (kohya)";

#[derive(Debug)]
pub struct Kohya;

const PARTS: [(&str, Part); 2] = [(".lora_down.weight", Part::LoraA), (".lora_up.weight", Part::LoraB)];
const ALPHA: &str = ".alpha";

/// How the names of modules of a diffusion model and its text encoders begin.
const NO_DECODERS: [&str; 6] = ["lora_unet", "lora_te", "lora_prior", "lora_transformer", "diffusion_model.", "unet."];

impl Layout for Kohya {
    fn name(&self) -> &'static str {
        NAME
    }

    fn recognises(&self, stored: &StoredAdapter) -> bool {
        stored.names().any(|name| name.ends_with(".lora_down.weight"))
    }

    fn map(&self, stored: &StoredAdapter, given: &Given) -> Result<Mapping> {
        let path = || stored.path.clone();
        if stored.names().any(|name| NO_DECODERS.iter().any(|start| name.starts_with(start))) {
            let what = "an adapter of an image model and its text encoders, which are no decoders";
            return Err(FixError::NotAnAdapter { path: path(), what }.into());
        }
        if given.alpha.is_some() {
            return Err(FixError::AlphaKnown { path: path() }.into());
        }
        let mut alphas = BTreeMap::new();
        for name in stored.names() {
            let Some(module) = name.strip_suffix(ALPHA) else { continue };
            let values = stored.weights.load_finite(name)?;
            let [alpha] = values[..] else {
                let reason = format!("`{name}` is not one number");
                return Err(FixError::Ambiguous { path: path(), reason }.into());
            };
            if alpha != 0.0 {
                alphas.insert(without_prefix(module).to_string(), f64::from(alpha));
            }
        }
        let tensors = map_tensors(stored, NAME, |name| map(stored, name))?;
        require_common_names(stored, NAME, &tensors, given)?;
        let changes = vec![
            "the tensors have PEFT's names".into(),
            "adapter_config.json is PEFT's, with the alphas of the file".into(),
        ];
        let settings = LoraSettings { alpha: Alpha::ByModule(alphas), use_dora: false, base_model: None, layers: None };
        Ok(Mapping { tensors, config: MappedConfig::Lora(settings), changes, remarks: Vec::new() })
    }
}

/// The module without PEFT's prefix, which some converters write.
fn without_prefix(module: &str) -> &str {
    module.strip_prefix("base_model.model.").unwrap_or(module)
}

fn map(stored: &StoredAdapter, name: &str) -> Result<Option<Vec<MappedTensor>>> {
    if name.ends_with(ALPHA) {
        // It goes into the configuration.
        return Ok(Some(Vec::new()));
    }
    let part = PARTS.iter().find_map(|(ending, part)| Some((name.strip_suffix(ending)?, *part)));
    let Some((module, part)) = part else { return Ok(None) };
    let module = without_prefix(module);
    if stack_and_layer(module).is_none() && module.contains('_') && !module.contains('.') {
        let reason = format!("`{module}` has underscores for dots, and which of them were dots cannot be known");
        return Err(FixError::Ambiguous { path: stored.path.clone(), reason }.into());
    }
    Ok(Some(vec![MappedTensor::of(name, module, part, ValueOrder::Unchanged)]))
}
