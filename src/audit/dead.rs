//! Proof that what an adapter lacks of its original changes nothing (`--dead-weight`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::adapter::names::Part;
use crate::adapter::{Adapter, AdapterTensor, is_vocabulary};
use crate::error::Result;
use crate::rewrite::dead_weight::{BaseWeights, DeadWeight, DeadWeightSummary};
use crate::rewrite::exact_types::{StoredValues, rows_of};

/// What an original has that changes nothing and that another adapter lacks.
#[derive(Debug, Default)]
pub struct ProvenDead {
    /// The tensors of the original, by name.
    tensors: BTreeSet<String>,
    /// The tensors of the other adapter that hold the rows that are left, by name.
    rows: BTreeSet<String>,
    /// The keys of the configuration that may differ, with the values that they must have.
    keys: BTreeMap<&'static str, Value>,
    pub summary: DeadWeightSummary,
}

impl ProvenDead {
    /// Of the tensors that `is_missing` says `slimmed` lacks, those that are dead in `original`.
    pub fn find(
        original: &Adapter,
        slimmed: &Adapter,
        base: BaseWeights,
        is_missing: impl Fn(&AdapterTensor) -> bool,
    ) -> Result<Self> {
        if !original.tensors().any(|tensor| is_missing(&tensor)) {
            return Ok(Self::default());
        }
        let mut dead = DeadWeight::find(original, base)?;
        let (mut missing, mut rows) = (BTreeSet::new(), BTreeSet::new());
        for tensor in original.tensors().filter(|tensor| is_missing(tensor) && dead.drops(tensor.name)) {
            if let Some(tokens) = dead.rows_of(tensor.name) {
                let is_there =
                    |other: &AdapterTensor| other.key.part == Part::Tokens && other.key.module == tensor.key.module;
                let Some(other) = slimmed.tensors().find(is_there) else { continue };
                if !has_rows(original, &tensor, (slimmed, &other), tokens)? {
                    continue;
                }
                rows.insert(other.name.to_string());
            }
            missing.insert(tensor.name.to_string());
        }
        dead.retain(|name| missing.contains(name));
        let keys = keys(slimmed, &dead);
        Ok(Self { tensors: missing, rows, keys, summary: dead.summary() })
    }

    pub fn has(&self, tensor: &str) -> bool {
        self.tensors.contains(tensor)
    }

    /// Whether a tensor of the other adapter stands for one that is left out.
    pub fn explains(&self, added: &str) -> bool {
        self.rows.contains(added)
    }

    /// Whether a key of the configuration may have a value that the original does not have.
    pub fn explains_key(&self, key: &str, value: &Value) -> bool {
        self.keys.get(key) == Some(value)
    }
}

/// Whether a tensor of trained rows holds those of a tensor of the original.
fn has_rows(
    original: &Adapter,
    tensor: &AdapterTensor,
    (slimmed, rows): (&Adapter, &AdapterTensor),
    tokens: &[usize],
) -> Result<bool> {
    let expected = rows_of(original.weights.bytes(tensor.name)?, &tensor.entry.shape, tokens);
    let is_same = slimmed.weights.bytes(rows.name)? == expected && rows.entry.dtype() == tensor.entry.dtype();
    let is_narrowed = || -> Result<bool> {
        let stored = StoredValues::new(original, tensor, Some(tokens))?;
        let narrowed = rows.entry.dtype().and_then(|dtype| stored.converted(dtype));
        Ok(narrowed.as_deref() == Some(slimmed.weights.bytes(rows.name)?))
    };
    Ok(is_same || is_narrowed()?)
}

/// The keys that change with what is left out.
fn keys(slimmed: &Adapter, dead: &DeadWeight) -> BTreeMap<&'static str, Value> {
    let mut keys = BTreeMap::new();
    if dead.is_empty() {
        return keys;
    }
    let tokens = dead.trained_tokens();
    if !tokens.is_empty() {
        keys.insert("trainable_token_indices", json!(tokens));
    }
    if !slimmed.tensors().any(|tensor| is_vocabulary(&tensor.key.module)) {
        keys.insert("ensure_weight_tying", json!(false));
    }
    if !slimmed.tensors().any(|tensor| tensor.key.part == Part::Saved && tensor.name.ends_with(".bias")) {
        keys.insert("bias", json!("none"));
    }
    keys
}

/// Whether a tensor has the values of another one in a narrower type.
pub fn is_narrowed(original: &Adapter, tensor: &AdapterTensor, (slimmed, name): (&Adapter, &str)) -> Result<bool> {
    let entry = slimmed.weights.entry(name)?;
    if entry.shape != tensor.entry.shape {
        return Ok(false);
    }
    let stored = StoredValues::new(original, tensor, None)?;
    let narrowed = entry.dtype().and_then(|dtype| stored.converted(dtype));
    Ok(narrowed.as_deref() == Some(slimmed.weights.bytes(name)?))
}
