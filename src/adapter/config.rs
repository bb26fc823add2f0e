//! `adapter_config.json`: what PEFT needs to rebuild the modules, kept whole, with typed readers for what is used.

use std::path::Path;

use serde_json::{Map, Value};

use super::targets::{Targets, pattern_value};
use crate::error::{AdapterError, FileError, Result};
use crate::files;

pub const FILE_NAME: &str = "adapter_config.json";

/// The configuration of a LoRA adapter (PEFT's `LoraConfig`). Unknown keys and the order of keys are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterConfig {
    pub raw: Map<String, Value>,
    pub rank: usize,
    pub alpha: f64,
    pub targets: Targets,
}

impl AdapterConfig {
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE_NAME);
        if !path.is_file() {
            return Err(AdapterError::NotAnAdapter { path: folder.into(), missing: "adapter_config.json" }.into());
        }
        Self::from_json(files::read_json(&path)?, &path)
    }

    /// Checks a parsed configuration; `path` is only for messages.
    pub fn from_json(value: Value, path: &Path) -> Result<Self> {
        let Value::Object(raw) = value else {
            let source = serde::de::Error::custom("it should be an object");
            return Err(FileError::Json { path: path.into(), source }.into());
        };
        match raw.get("peft_type").and_then(Value::as_str) {
            Some("LORA") => {}
            found => return Err(AdapterError::NotLora { path: path.into(), found: name_format(&raw, found) }.into()),
        }
        let wrong = |key, expected| AdapterError::ConfigValue { path: path.into(), key, expected };
        let rank = raw.get("r").and_then(Value::as_u64).filter(|&rank| rank > 0);
        let alpha = raw.get("lora_alpha").and_then(Value::as_f64).filter(|alpha| alpha.is_finite());
        Ok(Self {
            rank: rank.ok_or_else(|| wrong("r", "a positive integer"))? as usize,
            alpha: alpha.ok_or_else(|| wrong("lora_alpha", "a number"))?,
            targets: Targets::from_config(&raw).map_err(|(key, expected)| wrong(key, expected))?,
            raw,
        })
    }

    /// The rank that the configuration gives to a module: `rank_pattern`, else `r`.
    pub fn rank_of(&self, module: &str) -> usize {
        pattern_value(&self.raw, "rank_pattern", module).map_or(self.rank, |rank| rank as usize)
    }

    /// The factor before B·A for a module: alpha / rank, or alpha / √rank with rsLoRA, after the patterns
    /// (PEFT, `LoraLayer.update_layer`).
    pub fn scaling_of(&self, module: &str) -> f64 {
        let alpha = pattern_value(&self.raw, "alpha_pattern", module).unwrap_or(self.alpha);
        let rank = self.rank_of(module) as f64;
        if self.flag("use_rslora") { alpha / rank.sqrt() } else { alpha / rank }
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.raw.get(key)?.as_str().filter(|text| !text.is_empty())
    }

    pub fn flag(&self, key: &str) -> bool {
        self.raw.get(key).is_some_and(is_set)
    }

    /// What this adapter does beyond low-rank pairs on linear layers, in words. Empty for plain LoRA.
    pub fn features(&self) -> Vec<String> {
        let mut features: Vec<String> = FEATURES
            .iter()
            .filter(|(key, _)| self.flag(key))
            .map(|(key, words)| format!("{words} (`{key}`)"))
            .collect();
        if let Some(bias) = self.text("bias").filter(|&bias| bias != "none") {
            features.push(format!("trained biases (`bias: {bias}`)"));
        }
        if let Some(Value::String(init)) = self.raw.get("init_lora_weights")
            && CHANGES_BASE.iter().any(|method| init.to_lowercase().starts_with(method))
        {
            features.push(format!("an initialisation that changes the base weights (`init_lora_weights: {init}`)"));
        }
        features
    }
}

/// Keys whose setting changes what the adapter computes, beyond what plain LoRA is.
const FEATURES: [(&str, &str); 15] = [
    ("use_dora", "DoRA"),
    ("lora_bias", "biases of lora_B"),
    ("modules_to_save", "saved modules"),
    ("trainable_token_indices", "trainable tokens"),
    ("target_parameters", "LoRA on parameters"),
    ("layer_replication", "replicated layers"),
    ("alora_invocation_tokens", "activated LoRA"),
    ("use_qalora", "QALoRA"),
    ("use_bdlora", "BD-LoRA"),
    ("arrow_config", "Arrow routing"),
    ("kasa_config", "KaSA"),
    ("monteclora_config", "MonteCLoRA"),
    ("velora_config", "VeLoRA"),
    ("enable_lora", "MergedLinear slices"),
    ("corda_config", "CorDA"),
];

/// Initialisations after which the adapter only fits a base model that was changed with it.
const CHANGES_BASE: [&str; 6] = ["pissa", "olora", "corda", "loftq", "lora_ga", "lora-ga"];

/// Whether a value means "on": not null, false, empty or zero-length.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Number(_) => true,
    }
}

/// Says what a configuration is that PEFT's LoRA did not write.
fn name_format(raw: &Map<String, Value>, peft_type: Option<&str>) -> String {
    match peft_type {
        Some(other) => format!("its peft_type is {other}"),
        None if raw.contains_key("lora_parameters") => "it looks like an MLX-LM adapter".into(),
        None if raw.contains_key("architecture") || raw.contains_key("reduction_factor") => {
            "it looks like an AdapterHub adapter".into()
        }
        None => "its adapter_config.json has no peft_type".into(),
    }
}
