//! How the names of tensors are spelled, where that is not as PEFT saves them.
//!
//! The module can be recognised in each of these names, so that an adapter can be read and written again. PEFT compares whole names
//! and applies nothing of them.

use std::collections::HashSet;

use super::flaws::Flaw;
use crate::adapter::Adapter;
use crate::adapter::names::Part;

/// What a name has that PEFT does not write, or lacks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Spelling {
    /// A wrapper of the whole model or of its stack of layers (`_orig_mod`).
    WrappedModel(&'static str),
    /// A wrapper of a part of a layer.
    WrappedLayer(&'static str),
    /// The name of an adapter other than `default`.
    AdapterName(String),
    /// `base_model.model.` is missing.
    NoPrefix,
    /// `base_model.model.` stands twice.
    PrefixTwice,
}

/// What `torch.compile`, DDP, FSDP and activation checkpointing put into names.
const WRAPPERS: [&str; 4] = ["_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];
const PREFIX: &str = "base_model.model.";

impl Spelling {
    /// What is unusual about the name of a tensor; `None` where it is as PEFT saves it.
    pub fn of(name: &str) -> Option<Self> {
        let after_layer = name.split('.').skip_while(|segment| segment.parse::<usize>().is_err());
        let wrapper = |segment: &str| WRAPPERS.into_iter().find(|wrapper| *wrapper == segment);
        if let Some(wrapper) = after_layer.clone().find_map(wrapper) {
            return Some(Spelling::WrappedLayer(wrapper));
        }
        if let Some(wrapper) = name.split('.').find_map(wrapper) {
            return Some(Spelling::WrappedModel(wrapper));
        }
        if let Some(adapter) = adapter_name(name).filter(|adapter| *adapter != "default") {
            return Some(Spelling::AdapterName(adapter.into()));
        }
        match name.strip_prefix(PREFIX) {
            None => Some(Spelling::NoPrefix),
            Some(rest) => rest.starts_with(PREFIX).then_some(Spelling::PrefixTwice),
        }
    }

    /// The end of the sentence "The tensor is spelled …".
    pub fn in_words(&self) -> String {
        match self {
            Spelling::WrappedModel(wrapper) | Spelling::WrappedLayer(wrapper) => {
                format!("with the wrapper `{wrapper}`, which training left in its name")
            }
            Spelling::AdapterName(adapter) => format!("with the adapter's name `{adapter}`, where PEFT expects none"),
            Spelling::NoPrefix => format!("without `{PREFIX}`"),
            Spelling::PrefixTwice => format!("with `{PREFIX}` twice"),
        }
    }
}

/// What stands between a factor and `weight`: `sql.v1` of `lora_A.sql.v1.weight`.
pub fn adapter_name(name: &str) -> Option<&str> {
    const FACTORS: [&str; 3] = [".lora_A.", ".lora_B.", ".lora_magnitude_vector."];
    let after = FACTORS.iter().find_map(|factor| name.split_once(factor).map(|(_, after)| after))?;
    let adapter = after.strip_suffix(".weight").or_else(|| after.strip_suffix(".bias"))?;
    Some(adapter).filter(|adapter| !adapter.is_empty())
}

impl Adapter {
    /// One flaw for each way in which names are spelled otherwise than PEFT does.
    pub fn spelling_flaws(&self) -> Vec<Flaw> {
        let mut seen = HashSet::new();
        let mut flaws = Vec::new();
        // The shared matrices of VeRA stand outside the model.
        for tensor in self.tensors().filter(|tensor| tensor.key.part != Part::Saved) {
            if let Some(spelling) = Spelling::of(tensor.name)
                && seen.insert(spelling.clone())
            {
                flaws.push(Flaw::Spelling { tensor: tensor.name.into(), spelling });
            }
        }
        flaws
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_told_apart() {
        const INSIDE: &str = "model.layers.0.self_attn.q_proj.lora_A";
        for (name, expected) in [
            (format!("{PREFIX}{INSIDE}.weight"), None),
            (format!("{PREFIX}{INSIDE}.default.weight"), None),
            (format!("_orig_mod.{PREFIX}{INSIDE}.weight"), Some(Spelling::WrappedModel("_orig_mod"))),
            (format!("{PREFIX}module.{INSIDE}.weight"), Some(Spelling::WrappedModel("module"))),
            (
                format!("{PREFIX}model.layers.0._checkpoint_wrapped_module.self_attn.q_proj.lora_B.weight"),
                Some(Spelling::WrappedLayer("_checkpoint_wrapped_module")),
            ),
            (format!("{PREFIX}{INSIDE}.my.sql-v1.2.weight"), Some(Spelling::AdapterName("my.sql-v1.2".into()))),
            (format!("{INSIDE}.weight"), Some(Spelling::NoPrefix)),
            (format!("{PREFIX}{PREFIX}{INSIDE}.weight"), Some(Spelling::PrefixTwice)),
        ] {
            assert_eq!(Spelling::of(&name), expected, "{name}");
        }
    }
}
