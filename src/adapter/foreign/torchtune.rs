//! torchtune's own files: `adapter_model.pt` and `adapter_0.pt`, with names such as `layers.0.attn.q_proj.lora_a.weight`.
//!
//! For Llama-like families torchtune rotates neighbouring values of a head (pairs), and transformers a value of the first half
//! with one of the second; so torchtune permutes the rows of queries and keys when it reads a checkpoint, and they are put back
//! here (`torchtune/models/convert_weights.py`, 0.6.1). For Qwen 2 torchtune rotates halves itself, and nothing is permuted.

use super::mapping::map_tensors;
use super::{
    Alpha, BaseShapes, Given, Layout, LoraSettings, MappedConfig, MappedTensor, Mapping, StoredAdapter, ValueOrder,
};
use crate::account::Account;
use crate::adapter::names::Part;
use crate::error::{AdapterError, FixError, Result};

const NAME: &str = "torchtune";

#[derive(Debug)]
pub struct Torchtune;

/// Modules inside a layer, by torchtune's name and that of transformers (`_FROM_HF`).
const MODULES: [(&str, &str); 7] = [
    ("attn.q_proj", "self_attn.q_proj"),
    ("attn.k_proj", "self_attn.k_proj"),
    ("attn.v_proj", "self_attn.v_proj"),
    ("attn.output_proj", "self_attn.o_proj"),
    ("mlp.w1", "mlp.gate_proj"),
    ("mlp.w2", "mlp.down_proj"),
    ("mlp.w3", "mlp.up_proj"),
];

const PARTS: [(&str, Part); 3] =
    [(".lora_a.weight", Part::LoraA), (".lora_b.weight", Part::LoraB), (".magnitude", Part::Magnitude)];

/// Which values of a head the rotation takes together.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rotation {
    /// Neighbours, in torchtune.
    Pairs,
    /// The halves, as in transformers.
    Halves,
}

/// The families that torchtune trains with these names, by `model_type`. Those of Phi have other modules in transformers.
const FAMILIES: [(&str, Rotation); 5] = [
    ("llama", Rotation::Pairs),
    ("mistral", Rotation::Pairs),
    ("gemma", Rotation::Pairs),
    ("gemma2", Rotation::Pairs),
    ("qwen2", Rotation::Halves),
];

impl Layout for Torchtune {
    fn name(&self) -> &'static str {
        NAME
    }

    fn recognises(&self, stored: &StoredAdapter) -> bool {
        stored.names().any(|name| name.ends_with(".lora_a.weight"))
    }

    fn map(&self, stored: &StoredAdapter, given: &Given) -> Result<Mapping> {
        let path = || stored.path.clone();
        let needs = "it tells the order of the rows of queries and keys";
        let base = given.base.as_ref().ok_or_else(|| FixError::NoBase { path: path(), layout: NAME, needs })?;
        let rotation = FAMILIES.iter().find(|(family, _)| *family == base.family).map(|(_, rotation)| *rotation);
        let rotation =
            rotation.ok_or_else(|| FixError::Family { path: path(), layout: NAME, family: base.family.clone() })?;
        let (alpha, base_model) = self.settings(stored, given)?;
        let tensors = map_tensors(stored, NAME, |name| Ok(map(name, base, rotation).map(|tensor| vec![tensor])))?;
        let use_dora = stored.names().any(|name| name.ends_with(".magnitude"));
        let mut changes = vec!["the tensors have PEFT's names".into()];
        if rotation == Rotation::Pairs {
            changes.push("the rows of queries and keys have the order of transformers".into());
        }
        changes.push(format!("adapter_config.json is PEFT's, with lora_alpha {alpha}"));
        let config = MappedConfig::Lora(LoraSettings { alpha: Alpha::All(alpha), use_dora, base_model, layers: None });
        Ok(Mapping { tensors, config, changes, remarks: Vec::new() })
    }
}

impl Torchtune {
    /// Alpha and the base model, from the configuration that torchtune writes for PEFT, or as given.
    fn settings(&self, stored: &StoredAdapter, given: &Given) -> Result<(f64, Option<String>)> {
        let path = || stored.path.clone();
        let Some(config) = &stored.config else {
            return Ok((given.alpha.ok_or_else(|| FixError::NoAlpha { path: path() })?, None));
        };
        if given.alpha.is_some() {
            return Err(FixError::AlphaKnown { path: path() }.into());
        }
        let account = Account::of(config);
        let alpha = account.get("lora_alpha").and_then(|alpha| alpha.as_f64()).filter(|alpha| alpha.is_finite());
        let wrong =
            || AdapterError::ConfigValue { path: stored.config_path(), key: "lora_alpha", expected: "a number" };
        let alpha = alpha.ok_or_else(wrong)?;
        let base_model = account.get("base_model_name_or_path").and_then(|name| name.as_str()).map(String::from);
        // The tensors tell ranks and modules.
        let harmless = ["r", "target_modules", "peft_type"].map(|key| (key, "the tensors tell it"));
        match account.unread(&harmless).first() {
            Some(key) => {
                let reason = format!("`{key}` in its adapter_config.json is none of torchtune's keys");
                Err(FixError::Ambiguous { path: path(), reason }.into())
            }
            None => Ok((alpha, base_model)),
        }
    }
}

fn map(name: &str, base: &BaseShapes, rotation: Rotation) -> Option<MappedTensor> {
    let (module, part) = PARTS.iter().find_map(|(ending, part)| Some((name.strip_suffix(ending)?, *part)))?;
    if module == "output" {
        return Some(MappedTensor::of(name, "lm_head", part, ValueOrder::Unchanged));
    }
    let (layer, inside) = module.strip_prefix("layers.")?.split_once('.')?;
    layer.parse::<usize>().ok()?;
    let (_, own) = MODULES.iter().find(|(tune, _)| *tune == inside)?;
    let heads = match inside {
        "attn.q_proj" => Some(base.heads),
        "attn.k_proj" => Some(base.key_heads),
        _ => None,
    };
    let order = match heads {
        // The magnitude has one value for each row, too.
        Some(heads) if rotation == Rotation::Pairs && part != Part::LoraA => {
            ValueOrder::Rows(halves_of_pairs(heads, base.head_size))
        }
        _ => ValueOrder::Unchanged,
    };
    Some(MappedTensor::of(name, &format!("model.layers.{layer}.{own}"), part, order))
}

/// For rows in the order of transformers, their places among rows in pairs: the even rows of each head, then the odd ones.
fn halves_of_pairs(heads: usize, head_size: usize) -> Vec<usize> {
    let of_head = |head: usize| {
        let halves = (0..2).flat_map(move |half| (0..head_size / 2).map(move |pair| 2 * pair + half));
        halves.map(move |row| head * head_size + row)
    };
    (0..heads).flat_map(of_head).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_head_is_reordered_by_itself() {
        assert_eq!(halves_of_pairs(2, 4), [0, 2, 1, 3, 4, 6, 5, 7]);
    }
}
