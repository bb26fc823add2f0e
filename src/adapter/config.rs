//! `adapter_config.json`: what PEFT needs to rebuild the modules. It is kept whole, with typed readers for what is used.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use serde_json::{Map, Value};

use super::keys;
use super::method::Method;
use super::patterns::ModulePatterns;
use super::targets::Targets;
use super::wrapped_config::{self, WrappedName};
use crate::account::{Account, is_set};
use crate::error::{AdapterError, FileError, Result};
use crate::files;
use crate::files::json::PythonJson;
use crate::format::first_names;

pub const FILE_NAME: &str = "adapter_config.json";

/// The configuration of an adapter (PEFT's `LoraConfig` and its relatives). Unknown keys and the order of keys are kept.
#[derive(Debug, Clone)]
pub struct AdapterConfig {
    pub raw: Map<String, Value>,
    pub method: Method,
    /// Where the method has such numbers.
    pub rank: Option<usize>,
    pub alpha: Option<f64>,
    pub targets: Targets,
    /// What the file holds that is not used, or not as it is written, one sentence each.
    pub remarks: Vec<String>,
    /// The keys that the file does not have and that have PEFT's defaults in `raw`.
    pub assumed: Vec<&'static str>,
    /// The names in the file that have wrappers of training, which `raw` does not have.
    pub wrapped: Vec<WrappedName>,
    /// The selection of modules as the file has it, if such names are among it.
    pub stored_targets: Option<Targets>,
    ranks: ModulePatterns,
    alphas: ModulePatterns,
    /// `modules_to_save`.
    saved: HashSet<String>,
}

/// The most names in `modules_to_save`.
const MOST_SAVED: usize = 10_000;

impl PartialEq for AdapterConfig {
    fn eq(&self, other: &Self) -> bool {
        // Everything else is read from it.
        self.raw == other.raw
    }
}

impl AdapterConfig {
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE_NAME);
        if !path.is_file() {
            return Err(AdapterError::NotAnAdapter { path: folder.into(), missing: "adapter_config.json" }.into());
        }
        let PythonJson { mut value, nan, infinite, repeated } = files::read_python_json(&path)?;
        let mut remarks = Vec::new();
        if !repeated.is_empty() {
            let names = first_names(&repeated, 8);
            remarks.push(format!("adapter_config.json repeats {names}: the last value counts, as in Python"));
        }
        let method = value.get("peft_type").and_then(Value::as_str).and_then(Method::by_peft_type);
        for key in nan.iter().chain(&infinite) {
            // Where a value only counted in training, PEFT's default does as well. It refuses an infinite dropout.
            let is_harmless = method.is_some_and(|method| keys::is_harmless(key, method)) && !infinite.contains(key);
            if let Some(fields) = value.as_object_mut().filter(|_| is_harmless) {
                fields.shift_remove(key);
            }
            remarks.push(format!("`{key}` in adapter_config.json is or holds NaN or Infinity, which is not used"));
        }
        let mut config = Self::from_json(value, &path)?;
        config.remarks.extend(remarks);
        Ok(config)
    }

    /// Checks a parsed configuration; `path` is only for messages.
    pub fn from_json(value: Value, path: &Path) -> Result<Self> {
        let Value::Object(mut raw) = value else {
            let source = serde::de::Error::custom("it should be an object");
            return Err(FileError::Json { path: path.into(), source }.into());
        };
        let wrong = |(key, expected)| AdapterError::ConfigValue { path: path.into(), key, expected };
        let found = raw.get("peft_type").and_then(Value::as_str);
        let unknown = || AdapterError::NotPeft {
            path: path.into(),
            found: describe_unknown(&raw, found),
            known: Method::known_types(),
        };
        let method = found.and_then(Method::by_peft_type).ok_or_else(unknown)?;
        let assumed = complete(&mut raw, method);
        let account = Account::of(&raw);
        account.get("peft_type");
        let rank_of = |key| {
            let rank = account.get(key).and_then(Value::as_u64).filter(|&rank| rank > 0);
            rank.map(|rank| rank as usize).ok_or_else(|| wrong((key, "a positive integer")))
        };
        let alpha_of = |key| {
            let alpha = account.get(key).and_then(Value::as_f64).filter(|alpha| alpha.is_finite());
            alpha.ok_or_else(|| wrong((key, "a number")))
        };
        let patterns_of = |key, expected, is_value: fn(&Value) -> bool| match method {
            // AdaLoRA keeps there which ranks it pruned; the tensors have the others.
            Method::AdaLora => Ok(account.get(key).map(|_| ModulePatterns::default()).unwrap_or_default()),
            _ if !method.has_patterns() => Ok(ModulePatterns::default()),
            _ => ModulePatterns::of(account.get(key), is_value).ok_or_else(|| wrong((key, expected))),
        };
        let saved = account.get("modules_to_save").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if saved.len() > MOST_SAVED {
            return Err(wrong(("modules_to_save", "a list of at most 10000 strings")).into());
        }
        let saved = saved.iter().filter_map(Value::as_str).map(String::from).collect();
        if method.is_low_rank() {
            let keys = EXTENSIONS.iter().chain(&VARIANTS).map(|(key, _)| *key).chain(["use_rslora"]);
            keys.for_each(|key| {
                account.get(key);
            });
        }
        Ok(Self {
            rank: method.rank_key().map(rank_of).transpose()?,
            alpha: method.alpha_key().map(alpha_of).transpose()?,
            targets: Targets::from_config(&account).map_err(wrong)?,
            ranks: patterns_of(
                "rank_pattern",
                "an object of module patterns, at most 1000 of them more than names, and positive integers",
                is_rank,
            )?,
            alphas: patterns_of(
                "alpha_pattern",
                "an object of module patterns, at most 1000 of them more than names, and numbers",
                Value::is_number,
            )?,
            remarks: keys::remarks(&account, method)
                .into_iter()
                .chain(
                    assumed
                        .iter()
                        .map(|key| format!("adapter_config.json has no `{key}`: it is {}, PEFT's default", raw[*key])),
                )
                .chain(text_flags(&raw))
                .collect(),
            assumed,
            wrapped: Vec::new(),
            stored_targets: None,
            saved,
            method,
            raw,
        })
    }

    /// The configuration without wrappers in its names. `seen` are those in the names of the tensors; `path` is only for messages.
    pub(super) fn without_wrappers(self, seen: &BTreeSet<String>, path: &Path) -> Result<Self> {
        let mut raw = self.raw.clone();
        let wrapped = wrapped_config::strip(&mut raw, seen);
        if wrapped.is_empty() {
            return Ok(self);
        }
        let stored_targets = Some(self.targets);
        Ok(Self {
            wrapped,
            stored_targets,
            remarks: self.remarks,
            assumed: self.assumed,
            ..Self::from_json(Value::Object(raw), path)?
        })
    }

    /// The entries of `rank_pattern` and `alpha_pattern` that match none of `modules`, in a sentence each.
    pub(super) fn unmatched_patterns(&self, modules: &[&str]) -> Vec<String> {
        let remark = |(key, patterns): (&str, &ModulePatterns)| {
            let names: Vec<&String> = self.raw.get(key)?.as_object()?.keys().collect();
            let unmatched = patterns.unmatched(modules.iter().copied()).into_iter();
            let unmatched: Vec<&String> = unmatched.filter_map(|place| names.get(place).copied()).collect();
            (!unmatched.is_empty())
                .then(|| format!("no module that has tensors matches {} in `{key}`", first_names(&unmatched, 3)))
        };
        [("rank_pattern", &self.ranks), ("alpha_pattern", &self.alphas)].into_iter().filter_map(remark).collect()
    }

    /// The rank of a module: that of `rank_pattern`, else the one for all.
    pub fn rank_of(&self, module: &str) -> usize {
        self.ranks.value(module).map_or(self.rank.unwrap_or(1), |rank| rank as usize)
    }

    /// The alpha of a module: that of `alpha_pattern`, else the one for all.
    pub fn alpha_of(&self, module: &str) -> f64 {
        self.alphas.value(module).or(self.alpha).unwrap_or(1.0)
    }

    /// The factor on the change of a module's weight: alpha / rank, or alpha / √rank with rsLoRA, after the
    /// patterns (PEFT, `LoraLayer.update_layer`).
    pub fn scaling_of(&self, module: &str) -> f64 {
        if self.method == Method::AdaLora {
            // The initial rank, and the constant of `SVDLinear.forward`.
            return self.alpha.unwrap_or(1.0) / (self.rank.unwrap_or(1) as f64 + 1e-5);
        }
        let (alpha, rank) = (self.alpha_of(module), self.rank_of(module) as f64);
        if self.is_rank_stabilised() { alpha / rank.sqrt() } else { alpha / rank }
    }

    /// Whether a key holds something other than false and 0.
    pub fn is_set_to_more(&self, key: &str) -> bool {
        match self.raw.get(key) {
            Some(Value::Number(number)) => number.as_f64() != Some(0.0),
            _ => self.flag(key),
        }
    }

    /// Whether the scaling is alpha / √rank. Only LoRA has that.
    pub fn is_rank_stabilised(&self) -> bool {
        self.method == Method::Lora && self.flag("use_rslora")
    }

    /// The tokens of `trainable_token_indices` for a module. A list is the embedding's; an object names modules.
    pub fn tokens_of(&self, module: &str, is_embedding: bool) -> Vec<usize> {
        let list = match self.raw.get("trainable_token_indices") {
            Some(Value::Object(by_module)) => {
                by_module.iter().find(|(name, _)| module.ends_with(name.as_str())).map(|(_, tokens)| tokens)
            }
            list => list.filter(|_| is_embedding),
        };
        let tokens = list.and_then(Value::as_array).into_iter().flatten();
        tokens.filter_map(|token| token.as_u64().map(|token| token as usize)).collect()
    }

    /// The outermost module that `modules_to_save` names and that is `module` or contains it. PEFT takes the names as endings.
    pub fn saved_ancestor<'a>(&self, module: &'a str) -> Option<&'a str> {
        if self.saved.is_empty() {
            return None;
        }
        let ends = module.match_indices('.').map(|(at, _)| at).chain([module.len()]);
        let mut names = ends.map(|end| &module[..end]);
        let endings = |name: &'a str| name.char_indices().map(|(at, _)| &name[at..]).chain([""]);
        names.find(|name| endings(name).any(|ending| self.saved.contains(ending)))
    }

    /// Whether `layers_to_transform` lists layers, so that the model may have others.
    pub fn lists_layers(&self) -> bool {
        self.targets.layers.is_some()
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.raw.get(key)?.as_str().filter(|text| !text.is_empty())
    }

    /// Whether a key is true to Python.
    pub fn flag(&self, key: &str) -> bool {
        self.raw.get(key).is_some_and(|value| is_set(value) && value.as_f64() != Some(0.0))
    }

    /// What this adapter has beyond low-rank pairs on linear layers, in words. Empty for plain LoRA.
    pub fn features(&self) -> Vec<String> {
        let extensions = EXTENSIONS.iter().filter(|(key, _)| self.flag(key));
        let mut features: Vec<String> = extensions.map(|(key, words)| format!("{words} (`{key}`)")).collect();
        if let Some(bias) = self.text("bias").filter(|&bias| bias != "none") {
            features.push(format!("trained biases (`bias: {bias}`)"));
        }
        features.extend(self.variants());
        features.extend(
            self.changes_base().map(|init| format!("an initialisation that changes the base weights ({init})")),
        );
        features
    }

    /// The variants of LoRA that are set and that only PEFT computes, in words.
    pub fn variants(&self) -> impl Iterator<Item = String> {
        // An empty object has all the defaults of the variant's own configuration.
        let is_on = |key: &str| self.flag(key) || self.raw.get(key).is_some_and(Value::is_object);
        VARIANTS.iter().filter(move |(key, _)| is_on(key)).map(|(key, words)| format!("{words} (`{key}`)"))
    }

    /// The initialisation, where the adapter fits only a base model that was changed with it.
    pub fn changes_base(&self) -> Option<String> {
        let init = self.raw.get("init_lora_weights")?.as_str()?;
        let changes = CHANGES_BASE.iter().any(|method| init.to_lowercase().starts_with(method));
        changes.then(|| format!("`init_lora_weights: {init}`"))
    }
}

/// Keys that add something to plain LoRA that this program computes too.
const EXTENSIONS: [(&str, &str); 5] = [
    ("use_dora", "DoRA"),
    ("lora_bias", "biases of lora_B"),
    ("modules_to_save", "saved modules"),
    ("trainable_token_indices", "trainable tokens"),
    ("target_parameters", "LoRA on parameters"),
];

/// Keys that turn LoRA into something that this program does not compute.
const VARIANTS: [(&str, &str); 8] = [
    ("layer_replication", "replicated layers"),
    ("alora_invocation_tokens", "activated LoRA"),
    ("use_qalora", "QALoRA"),
    ("use_bdlora", "BD-LoRA"),
    ("arrow_config", "Arrow routing"),
    ("kasa_config", "KaSA"),
    ("monteclora_config", "MonteCLoRA"),
    ("enable_lora", "MergedLinear slices"),
];

/// Initialisations that change the base weights, so that the adapter fits only those.
const CHANGES_BASE: [&str; 6] = ["pissa", "olora", "corda", "loftq", "lora_ga", "lora-ga"];

/// Puts PEFT's defaults into a configuration without a rank or an alpha. Returns the keys.
fn complete(raw: &mut Map<String, Value>, method: Method) -> Vec<&'static str> {
    let absent: Vec<_> = method.number_keys().filter(|(key, _)| !raw.contains_key(*key)).collect();
    raw.extend(absent.iter().map(|(key, default)| (key.to_string(), (*default).into())));
    absent.into_iter().map(|(key, _)| key).collect()
}

/// Flags that are texts, which are true to Python unless they are empty, whatever they say.
fn text_flags(raw: &Map<String, Value>) -> Option<String> {
    const FLAGS: [&str; 7] = [
        "use_rslora",
        "use_dora",
        "lora_bias",
        "fan_in_fan_out",
        "use_qalora",
        "ensure_weight_tying",
        "inference_mode",
    ];
    let is_text = |key: &&&str| raw.get(**key).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    let texts: Vec<&&str> = FLAGS.iter().filter(is_text).collect();
    (!texts.is_empty()).then(|| {
        let names = first_names(&texts, 8);
        format!("adapter_config.json has a text in place of a flag for {names}: PEFT takes any text for true, and so does lora-slim")
    })
}

fn is_rank(value: &Value) -> bool {
    value.as_u64().is_some_and(|rank| rank > 0)
}

/// Says what a configuration of no known method is.
fn describe_unknown(raw: &Map<String, Value>, peft_type: Option<&str>) -> String {
    match peft_type {
        Some("XLORA") => "its peft_type is XLORA, a mixture of several adapters".into(),
        Some(other) => format!("its peft_type is {other}"),
        None if raw.contains_key("lora_parameters") => "it looks like an MLX-LM adapter".into(),
        None if raw.contains_key("architecture") || raw.contains_key("reduction_factor") => {
            "it looks like an AdapterHub adapter".into()
        }
        None => "its adapter_config.json has no peft_type".into(),
    }
}
