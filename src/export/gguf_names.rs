//! llama.cpp's names for the modules of each family, as data: `gguf_families.json`, which `scripts/fixtures/gguf_names.py` makes from
//! llama.cpp's own converter.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::base::BaseShape;
use crate::error::{BaseError, Result};

const DATA: &str = include_str!("gguf_families.json");

/// The contents of the file.
#[derive(Deserialize)]
struct Table {
    /// The names that families with remote code share, with the tensors that they become.
    common: BTreeMap<String, String>,
    families: Vec<GgufFamily>,
}

/// The names of the modules of some architectures.
#[derive(Debug, Clone, Deserialize)]
struct GgufFamily {
    /// `general.architecture`.
    architecture: String,
    /// The classes in transformers.
    from: Vec<String>,
    /// The tensors that have the common names, too.
    #[serde(default)]
    tensors: Vec<String>,
    /// By the name inside a layer, the tensor inside `blk.N`; null for a common name that this family does not have.
    layer: BTreeMap<String, Tensor>,
    /// By the last segment of the name, the tensor.
    outside: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Tensor {
    Same(Option<String>),
    Reordered(Option<String>, RowOrder),
}

/// What llama.cpp does to the rows of a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowOrder {
    Same,
    /// It interleaves the two halves of each head of queries.
    Query,
    /// It interleaves the two halves of each head of keys.
    Key,
    /// It separates the query, key and value of all heads: first come all queries.
    Heads,
    /// It transposes the weight, which is stored by inputs. PEFT's factors are those of the transposed weight already
    /// (`fan_in_fan_out`) and stay. llama.cpp's converter of adapters transposes them, and its loader refuses the result.
    Transpose,
}

/// The families that a base model may belong to: one, or several where a GGUF file does not tell them apart.
#[derive(Debug)]
pub struct GgufNames {
    pub architecture: String,
    families: Vec<GgufFamily>,
    common: BTreeMap<String, String>,
}

impl GgufNames {
    pub fn of(base: &BaseShape) -> Result<Self> {
        let invalid = |source| BaseError::FamilyTable { source };
        let Table { common, families } = serde_json::from_str(DATA).map_err(invalid)?;
        let is_meant = |family: &GgufFamily| match base.is_gguf {
            true => family.architecture == base.architecture,
            false => family.from.contains(&base.architecture),
        };
        let mut families: Vec<GgufFamily> = families.into_iter().filter(is_meant).collect();
        // Those with names of their own come first.
        families.sort_by_key(|family| !family.tensors.is_empty());
        let unknown = || BaseError::NoGgufFamily { path: base.path.clone(), architecture: base.architecture.clone() };
        let architecture = families.first().ok_or_else(unknown)?.architecture.clone();
        Ok(Self { architecture, families, common })
    }

    /// The tensor of a module inside a layer, without `blk.N.` and `.weight`, and the order of its rows.
    pub fn in_layer(&self, inside: &str) -> Option<(String, RowOrder)> {
        self.families.iter().find_map(|family| match family.layer.get(inside) {
            Some(Tensor::Same(tensor)) => Some((tensor.clone()?, RowOrder::Same)),
            Some(Tensor::Reordered(tensor, order)) => Some((tensor.clone()?, *order)),
            None => {
                let tensor = self.common.get(inside)?;
                family.tensors.contains(tensor).then(|| (tensor.clone(), RowOrder::Same))
            }
        })
    }

    /// The tensor of a module outside of all layers, without `.weight`.
    pub fn outside(&self, module: &str) -> Option<&str> {
        let last = module.rsplit('.').next()?;
        self.families.iter().find_map(|family| family.outside.get(last)).map(String::as_str)
    }
}

impl RowOrder {
    /// The rows (outputs, rank) of a second factor in this order; `None` if the heads do not divide them.
    pub fn apply(self, rows: Vec<f32>, rank: usize, base: &BaseShape) -> Option<Vec<f32>> {
        match self.places(rows.len() / rank.max(1), base)? {
            RowPlaces::Same => Some(rows),
            RowPlaces::From(places) => {
                Some(places.into_iter().flat_map(|place| rows[place * rank..(place + 1) * rank].to_vec()).collect())
            }
        }
    }

    /// Where each of the `outputs` rows comes from; `None` if the heads do not divide them.
    pub fn places(self, outputs: usize, base: &BaseShape) -> Option<RowPlaces> {
        Some(RowPlaces::From(match self {
            RowOrder::Same | RowOrder::Transpose => return Some(RowPlaces::Same),
            RowOrder::Query | RowOrder::Key => {
                let heads = if self == RowOrder::Query { base.heads } else { base.key_heads };
                // Another number of heads would put the rows in a wrong order without any error.
                interleaved(outputs, heads).filter(|_| outputs == heads * base.head_size)?
            }
            RowOrder::Heads => apart(outputs, base.heads)?,
        }))
    }
}

/// Where the rows of a reordered factor come from.
pub enum RowPlaces {
    Same,
    From(Vec<usize>),
}

/// Where the rows come from when the halves of each head are interleaved (`LlamaModel.permute` of llama.cpp's converter).
fn interleaved(rows: usize, heads: usize) -> Option<Vec<usize>> {
    let size = rows.checked_div(heads)?;
    let fits = size > 0 && size.checked_mul(heads) == Some(rows) && size.is_multiple_of(2);
    let head = |head: usize| (0..size / 2).flat_map(move |row| [head * size + row, head * size + size / 2 + row]);
    fits.then(|| (0..heads).flat_map(head).collect())
}

/// Where the rows come from when the queries of all heads come first, then the keys, then the values.
fn apart(rows: usize, heads: usize) -> Option<Vec<usize>> {
    let size = rows.checked_div(heads.checked_mul(3)?).filter(|&size| size > 0)?;
    let part = |part: usize| (0..heads).flat_map(move |head| (0..size).map(move |row| (3 * head + part) * size + row));
    (size * 3 * heads == rows).then(|| (0..3).flat_map(part).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_alternate_within_each_head() {
        assert_eq!(interleaved(8, 2), Some(vec![0, 2, 1, 3, 4, 6, 5, 7]));
        assert_eq!(interleaved(6, 2), None, "heads of three rows have no halves");
        assert_eq!(interleaved(8, 0), None);
    }

    #[test]
    fn queries_come_before_keys_and_values() {
        // Two heads with two rows each of query, key and value.
        assert_eq!(apart(12, 2), Some(vec![0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11]));
        assert_eq!(apart(8, 2), None);
    }

    #[test]
    fn the_table_can_be_read() {
        let known: Table = serde_json::from_str(DATA).unwrap();
        assert!(known.families.len() > 100);
        for family in known.families {
            assert!(!family.from.is_empty() && !family.layer.is_empty() | !family.tensors.is_empty());
        }
    }
}
