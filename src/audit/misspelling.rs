//! Names of tensors that PEFT does not read, by what is wrong with them.
//!
//! The module can be recognised in each of these names, so that an adapter can be read and written again. PEFT compares whole names
//! and drops such tensors.

use std::collections::HashSet;

use super::flaws::Flaw;
use crate::adapter::{Adapter, AdapterTensor};

/// What a name has that PEFT does not write, or lacks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Misspelling {
    /// A wrapper of the whole model, or of its stack of layers (`_orig_mod`).
    WrappedModel(String),
    /// A wrapper of a layer or of a part of it.
    WrappedLayer(String),
    /// The name of an adapter other than `default`.
    AdapterName(String),
    /// `base_model.model.` is missing.
    NoPrefix,
    /// `base_model.model.` stands twice.
    PrefixTwice,
}

const PREFIX: &str = "base_model.model";

impl Misspelling {
    /// What is wrong with the name of a tensor; `None` where PEFT reads it.
    fn of(tensor: &AdapterTensor) -> Option<Self> {
        let spelling = &tensor.key.spelling;
        if let Some(wrapper) = spelling.wrappers.iter().find(|wrapper| *wrapper != PREFIX) {
            let mut after_number = tensor.name.split('.').skip_while(|segment| segment.parse::<usize>().is_err());
            return Some(match after_number.any(|segment| segment == wrapper) {
                true => Misspelling::WrappedLayer(wrapper.clone()),
                false => Misspelling::WrappedModel(wrapper.clone()),
            });
        }
        match &spelling.adapter {
            _ if !spelling.wrappers.is_empty() => Some(Misspelling::PrefixTwice),
            Some(name) => Some(Misspelling::AdapterName(name.clone())),
            None => spelling.lacks_prefix.then_some(Misspelling::NoPrefix),
        }
    }

    /// The end of the sentence "The tensor has …".
    pub fn in_words(&self) -> String {
        match self {
            Misspelling::WrappedModel(wrapper) | Misspelling::WrappedLayer(wrapper) => {
                format!("the wrapper `{wrapper}` in its name")
            }
            Misspelling::AdapterName(adapter) => format!("the adapter's name `{adapter}` in its name"),
            Misspelling::NoPrefix => format!("no `{PREFIX}.` before its name"),
            Misspelling::PrefixTwice => format!("`{PREFIX}.` twice before its name"),
        }
    }
}

impl Adapter {
    /// One flaw for each way in which names are spelled otherwise than PEFT does.
    pub fn misspelling_flaws(&self) -> Vec<Flaw> {
        let applied = self.modules().keys().filter(|module| self.is_clean(module)).count();
        let reach = Reach { applied, all: self.modules().len() };
        let (mut seen, mut flaws) = (HashSet::new(), Vec::new());
        for tensor in self.tensors() {
            if let Some(misspelling) = Misspelling::of(&tensor)
                && seen.insert(misspelling.clone())
            {
                flaws.push(Flaw::Misspelled { tensor: tensor.name.into(), misspelling, reach });
            }
        }
        flaws
    }
}

/// How many of an adapter's modules PEFT applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    pub applied: usize,
    pub all: usize,
}

impl Reach {
    /// The end of the sentence "The runtime …".
    pub fn in_words(self) -> String {
        match self {
            Self { applied: 0, .. } => "applies nothing".into(),
            Self { applied, all } if applied == all => format!("applies the {all} modules without it"),
            Self { applied, all } => format!("applies {applied} of {all} modules"),
        }
    }
}
