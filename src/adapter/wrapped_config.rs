//! Wrappers of training in the names of a configuration, which are taken away as those in the names of tensors are.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::wrappers;

/// A name in a configuration that has a wrapper in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedName {
    pub key: &'static str,
    /// As it is in the file.
    pub name: String,
    pub wrapper: &'static str,
}

/// The keys whose values are names of modules, or patterns of them.
const NAMES: [&str; 6] = [
    "target_modules",
    "exclude_modules",
    "modules_to_save",
    "layers_pattern",
    "target_parameters",
    "feedforward_modules",
];

/// The keys whose values are objects by such names.
const BY_NAME: [&str; 3] = ["rank_pattern", "alpha_pattern", "trainable_token_indices"];

/// Takes the wrappers out of the names in a configuration, and says which had them. `seen` are those in the names of the tensors.
pub fn strip(raw: &mut Map<String, Value>, seen: &BTreeSet<String>) -> Vec<WrappedName> {
    let mut wrapped = Vec::new();
    let mut clean = |key: &'static str, name: &mut String| {
        let (rest, wrappers) = wrappers::strip_configured(name, seen);
        if let Some(wrapper) = wrappers.first().filter(|_| !rest.is_empty()) {
            wrapped.push(WrappedName { key, name: std::mem::replace(name, rest), wrapper });
        }
    };
    for key in NAMES {
        match raw.get_mut(key) {
            Some(Value::String(name)) => clean(key, name),
            Some(Value::Array(names)) => names.iter_mut().for_each(|name| {
                if let Value::String(name) = name {
                    clean(key, name);
                }
            }),
            _ => {}
        }
    }
    for key in BY_NAME {
        let Some(Value::Object(values)) = raw.get_mut(key) else { continue };
        let cleaned = std::mem::take(values).into_iter().map(|(mut name, value)| {
            clean(key, &mut name);
            (name, value)
        });
        *values = cleaned.collect();
    }
    wrapped
}
