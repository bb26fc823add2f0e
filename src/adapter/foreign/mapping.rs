//! What a PEFT adapter takes from files of another layout: which tensor becomes which, and the settings.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Given, StoredAdapter};
use crate::adapter::names::{Key, Part, Spelling};
use crate::error::{FixError, Result};
use crate::format::first_names;
use crate::tensors::TensorStore;

/// The PEFT adapter that stored files stand for.
#[derive(Debug)]
pub struct Mapping {
    pub tensors: Vec<MappedTensor>,
    pub config: MappedConfig,
    /// What differs from the files, one sentence each.
    pub changes: Vec<String>,
    /// What the files hold that is not used, one sentence each.
    pub remarks: Vec<String>,
}

/// Where the configuration comes from.
#[derive(Debug)]
pub enum MappedConfig {
    /// PEFT's own, to be written as it is.
    Kept(Map<String, Value>),
    /// Plain LoRA with these settings, on the modules of the tensors and with their ranks.
    Lora(LoraSettings),
}

/// What a layout says of its adapters beside the tensors.
#[derive(Debug)]
pub struct LoraSettings {
    pub alpha: Alpha,
    pub use_dora: bool,
    pub base_model: Option<String>,
    /// The layers of the base model, if the files tell.
    pub layers: Option<usize>,
}

/// The scaling of ΔW = scaling · B · A in its various spellings.
#[derive(Debug)]
pub enum Alpha {
    /// alpha; the scaling is alpha / rank.
    All(f64),
    /// alpha of each module, by its name.
    ByModule(BTreeMap<String, f64>),
    /// The scaling itself.
    Scaling(f64),
}

impl Alpha {
    /// PEFT's alpha of a module of this rank. A module without its own has its rank, a scaling of 1.
    pub fn of(&self, module: &str, rank: usize) -> f64 {
        match self {
            Self::All(alpha) => *alpha,
            Self::ByModule(alphas) => alphas.get(module).copied().unwrap_or(rank as f64),
            Self::Scaling(scaling) => scaling * rank as f64,
        }
    }
}

/// A tensor of the PEFT adapter and where its values come from.
#[derive(Debug, Clone, PartialEq)]
pub struct MappedTensor {
    /// The name in the stored files.
    pub source: String,
    /// The name that PEFT gives it.
    pub name: String,
    pub order: ValueOrder,
}

/// How the values of a tensor lie in the stored one. No value is ever computed anew.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueOrder {
    Unchanged,
    /// A matrix with rows and columns exchanged.
    Transposed,
    /// These rows of the stored tensor, in this order.
    Rows(Vec<usize>),
}

/// The shape and the bytes of a tensor.
pub type MappedValues<'a> = (Vec<usize>, Cow<'a, [u8]>);

impl MappedTensor {
    /// A tensor of a module.
    pub fn of(source: &str, module: &str, part: Part, order: ValueOrder) -> Self {
        let key = Key { module: module.into(), part, spelling: Spelling::default() };
        let name = key.plain_name("").into_owned();
        Self { source: source.into(), name, order }
    }

    /// PEFT's name, taken apart.
    pub fn key(&self) -> Key {
        Key::parse(&self.name, None)
    }

    /// The module that it belongs to.
    pub fn module(&self) -> String {
        self.key().module
    }

    /// The shape and the bytes of the values in their new order. `None` if the stored tensor has no such order.
    pub fn values<'a>(&self, weights: &'a TensorStore) -> Result<Option<MappedValues<'a>>> {
        let (shape, bytes) = (&weights.entry(&self.source)?.shape, weights.bytes(&self.source)?);
        Ok(match (&self.order, shape.as_slice()) {
            (ValueOrder::Unchanged, _) => Some((shape.clone(), bytes.into())),
            (ValueOrder::Transposed, &[rows, columns]) => {
                Some((vec![columns, rows], transposed(bytes, rows, columns).into()))
            }
            (ValueOrder::Rows(order), [height, rest @ ..]) => {
                let width = bytes.len() / (*height).max(1);
                let row = |&row: &usize| bytes.get(row * width..(row + 1) * width);
                let rows: Option<Vec<&[u8]>> = order.iter().map(row).collect();
                rows.map(|rows| ([&[order.len()], rest].concat(), rows.concat().into()))
            }
            _ => None,
        })
    }
}

/// The bytes of a matrix (rows, columns) as those of (columns, rows).
fn transposed(bytes: &[u8], rows: usize, columns: usize) -> Vec<u8> {
    let size = bytes.len() / (rows * columns).max(1);
    let mut out = Vec::with_capacity(bytes.len());
    for column in 0..columns {
        for row in 0..rows {
            let at = (row * columns + column) * size;
            out.extend_from_slice(&bytes[at..at + size]);
        }
    }
    out
}

/// Maps every tensor of the files; names that `map` does not know are an error that lists them.
pub fn map_tensors(
    stored: &StoredAdapter,
    layout: &'static str,
    map: impl Fn(&str) -> Result<Option<Vec<MappedTensor>>>,
) -> Result<Vec<MappedTensor>> {
    let (mut tensors, mut unknown) = (Vec::new(), Vec::new());
    for name in stored.names() {
        match map(name)? {
            Some(mapped) => tensors.extend(mapped),
            None => unknown.push(name),
        }
    }
    match unknown.as_slice() {
        [] => Ok(tensors),
        names => {
            let names = first_names(names, 3);
            Err(FixError::UnknownTensors { path: stored.path.clone(), layout, names }.into())
        }
    }
}

/// Modules that decoders of most families have under these names in `model.layers`.
const COMMON: [&str; 9] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "self_attn.qkv_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
    "mlp.gate_up_proj",
];

/// Without the base model, only modules with the common names are certain.
pub fn require_common_names(
    stored: &StoredAdapter,
    layout: &'static str,
    tensors: &[MappedTensor],
    given: &Given,
) -> Result<()> {
    let is_common = |tensor: &MappedTensor| {
        let module = tensor.module();
        let place = || module.strip_prefix("model.layers.")?.split_once('.');
        module == "lm_head" || place().is_some_and(|(_, inside)| COMMON.contains(&inside))
    };
    if given.base.is_some() || tensors.iter().all(is_common) {
        return Ok(());
    }
    let needs = "it tells whether it has modules of these names";
    Err(FixError::NoBase { path: stored.path.clone(), layout, needs }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_moves_whole_values() {
        assert_eq!(transposed(&[1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6], 2, 3), [1, 1, 4, 4, 2, 2, 5, 5, 3, 3, 6, 6]);
    }
}
