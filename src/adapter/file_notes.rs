//! The notes that trainers leave in the header of weights, `__metadata__`. What is written has none of them.

use crate::format::first_names;
use crate::tensors::TensorStore;

/// What the keys of our own notes begin with: they tell of a former run, and are written anew.
pub const OWN_PREFIX: &str = "lora_slim.";
/// What PEFT writes, and so do we.
const FORMAT: &str = "format";

/// The most keys that the remark names.
const NAMED: usize = 4;

/// Names the notes that are not kept, in one sentence.
pub fn remark(weights: &TensorStore) -> Option<String> {
    let notes = weights.file_notes();
    let lost: Vec<&str> =
        notes.iter().map(String::as_str).filter(|key| *key != FORMAT && !key.starts_with(OWN_PREFIX)).collect();
    let names = first_names(&lost, NAMED);
    (!lost.is_empty())
        .then(|| format!("the header of the weights has notes that are not kept (`__metadata__`): {names}"))
}
