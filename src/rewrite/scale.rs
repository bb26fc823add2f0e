//! A factor on what an adapter adds in its layers, put into the configuration: no tensor changes, and every runtime that reads
//! alpha applies it.

use serde_json::{Map, Value, json};

use crate::adapter::{Adapter, AdapterConfig, Capability, config};
use crate::error::Result;

impl Adapter {
    /// The adapter with what it adds in its layers multiplied, in memory only.
    pub fn scaled(mut self, factor: f64) -> Result<Self> {
        if factor != 1.0 {
            self.require(Capability::Scale)?;
            let mut raw = self.config.raw.clone();
            scale_alpha(&mut raw, &self, factor);
            self.config = AdapterConfig::from_json(Value::Object(raw), &self.path.join(config::FILE_NAME))?;
        }
        Ok(self)
    }
}

/// Multiplies the alpha of every module in the layers, wherever the configuration has it. Modules outside the layers
/// keep theirs by patterns of their own, which have to come first: PEFT takes the first that matches.
pub fn scale_alpha(raw: &mut Map<String, Value>, adapter: &Adapter, factor: f64) {
    let key = adapter.config.method.alpha_key().unwrap_or("lora_alpha");
    let scaled = |value: &Value| value.as_f64().map_or(value.clone(), |alpha| number(alpha * factor));
    let mut patterns = Map::new();
    for module in adapter.modules().values().filter(|module| module.layer.is_none()) {
        patterns.insert(fancy_regex::escape(&module.name).into_owned(), number(adapter.config.alpha_of(&module.name)));
    }
    if let Some(Value::Object(before)) = raw.get("alpha_pattern") {
        for (pattern, alpha) in before {
            patterns.entry(pattern.clone()).or_insert_with(|| scaled(alpha));
        }
    }
    if let Some(alpha) = raw.get_mut(key) {
        *alpha = scaled(alpha);
    }
    if !patterns.is_empty() {
        raw.insert("alpha_pattern".into(), Value::Object(patterns));
    }
}

/// A whole number without a fraction, as trainers write it.
fn number(value: f64) -> Value {
    const EXACT: f64 = 1e15;
    if value.fract() == 0.0 && value.abs() < EXACT { json!(value as i64) } else { json!(value) }
}
