//! PEFT's own tensors with something missing or added: shards without an index, no `peft_type`, no configuration, no or
//! doubled prefixes, names of wrappers and of adapters inside the names.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::mapping::map_tensors;
use super::{Alpha, Given, Layout, LoraSettings, MappedConfig, MappedTensor, Mapping, StoredAdapter, ValueOrder};
use crate::adapter::names::{Key, Part, adapter_names};
use crate::adapter::strays::Strays;
use crate::adapter::{AdapterConfig, Method, WEIGHTS_NAME, training_state, wrapped_config};
use crate::error::{AdapterError, FixError, Result};
use crate::format::plural;

const NAME: &str = "PEFT";

#[derive(Debug)]
pub struct Peft;

/// The names of weight files that adapters are opened from.
const OPENED: [&str; 5] = [
    WEIGHTS_NAME,
    "adapter_model.safetensors.index.json",
    "adapter_model.bin",
    "model.safetensors",
    "model.safetensors.index.json",
];

impl Layout for Peft {
    fn name(&self) -> &'static str {
        NAME
    }

    fn recognises(&self, stored: &StoredAdapter) -> bool {
        let is_known = |config: &Map<String, Value>| {
            config
                .get("peft_type")
                .is_none_or(|kind| kind.as_str().is_some_and(|kind| Method::by_peft_type(kind).is_some()))
        };
        stored.names().any(|name| Key::parse(name, None).is_wrapped()) && stored.config.as_ref().is_none_or(is_known)
    }

    fn describe(&self, stored: &StoredAdapter) -> Option<String> {
        let flaw = match (&stored.config, stored.files.as_slice()) {
            (None, _) => "with no adapter_config.json",
            (Some(config), _) if !config.contains_key("peft_type") => "whose adapter_config.json has no `peft_type`",
            (_, [file]) if !OPENED.contains(&file.as_str()) => "whose weights have another name",
            _ => return None,
        };
        Some(format!("a PEFT adapter {flaw}"))
    }

    fn map(&self, stored: &StoredAdapter, given: &Given) -> Result<Mapping> {
        let mut changes = Vec::new();
        if stored.files.len() > 1 {
            changes.push(format!("{} are one file", plural(stored.files.len(), "shard")));
        }
        let config = config(stored, given, &mut changes)?;
        let states = training_state::names(stored.names());
        let names = || stored.names().filter(|name| !states.iter().any(|state| state == name));
        let adapters = adapter_names(names());
        if adapters.len() > 1 {
            let names = adapters.into_iter().collect();
            return Err(AdapterError::SeveralAdapters { path: stored.path.clone(), names }.into());
        }
        let adapter = adapters.first().map(String::as_str);
        let keys = || names().map(|name| (name, Key::parse(name, adapter)));
        let strays = match &config {
            MappedConfig::Kept(raw) => {
                let config = AdapterConfig::from_json(Value::Object(raw.clone()), &stored.config_path())?;
                Strays::find(keys(), &config)
            }
            MappedConfig::Lora(_) => Strays::default(),
        };
        let tensors = map_tensors(stored, NAME, |name| {
            let key = Key::parse(name, adapter);
            // Without a configuration, nothing says what other weights are for.
            let is_known =
                key.is_wrapped() || matches!(config, MappedConfig::Kept(_)) || states.iter().any(|state| state == name);
            let is_stray = || strays.ignored.iter().chain(&states).any(|stray| stray == name);
            Ok(is_known.then(|| if is_stray() { Vec::new() } else { vec![clean(name, &key)] }))
        })?;
        if !states.is_empty() {
            changes.push(format!("{} of the state of an optimizer left out", plural(states.len(), "tensor")));
        }
        let mut sources: BTreeMap<&str, &str> = BTreeMap::new();
        for tensor in &tensors {
            if let Some(one) = sources.insert(&tensor.name, &tensor.source) {
                let (path, one, other) = (stored.path.clone(), one.into(), tensor.source.clone());
                return Err(AdapterError::SamePart { path, one, other }.into());
            }
        }
        let mut renamed = tensors.iter().filter(|tensor| tensor.name != tensor.source);
        if let Some(first) = renamed.next() {
            let count = plural(1 + renamed.count(), "tensor");
            changes.push(format!("{count} renamed: `{}` is now `{}`", first.source, first.name));
        }
        let remarks = training_state::remark(&states).into_iter().chain(strays.remarks()).collect();
        Ok(Mapping { tensors, config, changes, remarks })
    }
}

/// A tensor under the name that PEFT loads.
fn clean(name: &str, key: &Key) -> MappedTensor {
    MappedTensor { source: name.into(), name: key.plain_name(name).into_owned(), order: ValueOrder::Unchanged }
}

/// The configuration, with what it lacks.
fn config(stored: &StoredAdapter, given: &Given, changes: &mut Vec<String>) -> Result<MappedConfig> {
    let path = || stored.path.clone();
    let Some(config) = &stored.config else {
        refuse_other_methods(stored)?;
        let alpha = given.alpha.ok_or_else(|| FixError::NoAlpha { path: path() })?;
        let use_dora = stored.names().any(|name| Key::parse(name, None).part == Part::Magnitude);
        changes.push(format!("adapter_config.json is made from the tensors, with lora_alpha {alpha} as given"));
        return Ok(MappedConfig::Lora(LoraSettings {
            alpha: Alpha::All(alpha),
            use_dora,
            base_model: None,
            layers: None,
        }));
    };
    let has_alpha = ["lora_alpha", "alpha"].iter().any(|key| config.contains_key(*key));
    let mut kept = Map::new();
    if !config.contains_key("peft_type") {
        refuse_other_methods(stored)?;
        kept.insert("peft_type".into(), json!(Method::Lora.peft_type()));
        changes.push("`peft_type` is LORA, as the tensors are".into());
    }
    kept.extend(config.clone());
    let wrappers = stored.names().flat_map(|name| Key::parse(name, None).spelling.wrappers).collect();
    let wrapped = wrapped_config::strip(&mut kept, &wrappers);
    if let Some(first) = wrapped.first() {
        let count = plural(wrapped.len(), "name");
        changes.push(format!(
            "{count} in adapter_config.json without wrappers, such as `{}` in `{}`",
            first.name, first.key
        ));
    }
    match given.alpha {
        Some(_) if has_alpha => return Err(FixError::AlphaKnown { path: path() }.into()),
        Some(alpha) => {
            kept.insert("lora_alpha".into(), json!(alpha));
            changes.push(format!("`lora_alpha` is {alpha} as given"));
        }
        None if !has_alpha && kept["peft_type"] == json!("LORA") => {
            return Err(FixError::NoAlpha { path: path() }.into());
        }
        None => {}
    }
    AdapterConfig::from_json(Value::Object(kept.clone()), &stored.config_path())?;
    Ok(MappedConfig::Kept(kept))
}

/// Without a `peft_type`, only tensors of LoRA say what they are.
fn refuse_other_methods(stored: &StoredAdapter) -> Result<()> {
    let is_other = |name: &&str| !Method::Lora.has(Key::parse(name, None).part);
    match stored.names().find(is_other) {
        Some(name) => {
            let reason = format!("no `peft_type` says which method `{name}` is of");
            Err(FixError::Ambiguous { path: stored.path.clone(), reason }.into())
        }
        None => Ok(()),
    }
}
