//! One module of an adapter: where it is, and which tensors it has.

use std::collections::BTreeMap;

use super::config::AdapterConfig;
use super::names::Part;

/// A module of the base model that the adapter wraps.
#[derive(Debug, Clone)]
pub struct Module {
    /// The name inside the base model.
    pub name: String,
    /// Its decoder layer; `None` outside the stack.
    pub layer: Option<usize>,
    /// The parameter that it adapts, where that is LoRA on a parameter of several dimensions rather than on a linear layer.
    pub parameter: Option<String>,
    pub(super) tensors: BTreeMap<Part, String>,
}

impl Module {
    /// The name of the tensor that is this part.
    pub fn tensor(&self, part: Part) -> Option<&str> {
        self.tensors.get(&part).map(String::as_str)
    }

    pub fn has(&self, part: Part) -> bool {
        self.tensors.contains_key(&part)
    }

    pub fn parts(&self) -> impl Iterator<Item = Part> {
        self.tensors.keys().copied()
    }

    /// The tensors of its pair, those of LoRA or of an embedding.
    pub fn pair(&self) -> Option<(&str, &str)> {
        let pair = |a, b| Some((self.tensor(a)?, self.tensor(b)?));
        pair(Part::LoraA, Part::LoraB).or_else(|| pair(Part::EmbeddingA, Part::EmbeddingB))
    }

    /// The name that the configuration has for it.
    pub fn configured_name(&self) -> &str {
        self.parameter.as_ref().unwrap_or(&self.name)
    }

    pub fn last_segment(&self) -> &str {
        super::targets::last_segment(&self.name)
    }

    /// The configured scaling.
    pub fn scaling(&self, config: &AdapterConfig) -> f64 {
        config.scaling_of(self.configured_name())
    }
}

impl AdapterConfig {
    /// The parameter that the pair of a module belongs to, where that is LoRA on a parameter of several dimensions. Two
    /// of one module are nested: PEFT wraps the first inside the second, as `…base_layer`.
    pub(super) fn parameter_of(&self, module: &str) -> Option<String> {
        let owner = module.trim_end_matches(".base_layer");
        let mut parameters = self.targets.parameters_of(owner);
        if parameters.is_empty() || parameters == ["weight"] {
            return None;
        }
        // In the order of their definition in all families: the gate before what follows it.
        parameters.sort_by_key(|name| (!name.starts_with("gate_up") && *name != "up_proj", *name));
        // PEFT itself may write a name twice, with its module and without.
        parameters.dedup();
        let depth = (module.len() - owner.len()) / ".base_layer".len();
        let place = parameters.len().checked_sub(1 + depth)?;
        Some(format!("{owner}.{}", parameters[place]))
    }
}
