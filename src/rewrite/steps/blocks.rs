//! `--dtype q8_0`: factors rounded to what a GGUF file in blocks of 8 bits holds, so that the losses are those of that file.
//!
//! What is written here has the rounded numbers in f32, which hold them exactly; `--format gguf` stores them in blocks. A row of a
//! factor has to be whole blocks: the rows of `lora_B` are as long as the rank, so that below 32 it gets 16 bits (`ggml_mul_mat`).

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use crate::adapter::names::Part;
use crate::adapter::{Adapter, AdapterTensor};
use crate::error::{AdapterError, Result};
use crate::files::Staging;
use crate::format::{bytes, plural};
use crate::rewrite::blocks::{self, BLOCK, BLOCK_BYTES};
use crate::rewrite::write::{self, NewTensor, transposed};
use crate::tensors::Dtype;

/// The value of `--dtype`.
pub const NAME: &str = "q8_0";

/// What a GGUF file holds in blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BlockTypes {
    /// The tensors in blocks of 8 bits.
    pub tensors: usize,
    /// Those in 16 bits or more, whose rows are not whole blocks.
    pub other_tensors: usize,
    /// The bytes of all tensors in the file.
    pub bytes: u64,
}

impl fmt::Display for BlockTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, tensors) = (bytes(self.bytes), plural(self.tensors, "tensor"));
        write!(f, "q8_0: {tensors} in blocks of 8 bits, {} in 16 bits", self.other_tensors)?;
        if self.other_tensors > 0 {
            f.write_str(", whose rows (the rank, for lora_B) are no multiple of 32")?;
        }
        write!(f, "; {size} in the GGUF file")
    }
}

/// Writes an adapter with its factors rounded.
pub fn write(adapter: &Adapter, staging: &Staging) -> Result<BlockTypes> {
    write::copy_all_but_tensors(adapter, staging)?;
    let mut types = BlockTypes { tensors: 0, other_tensors: 0, bytes: 0 };
    let mut tensors = Vec::new();
    for tensor in write::in_file_order(adapter) {
        let new = rounded(adapter, &tensor)?;
        let numbers = new.shape.iter().product::<usize>();
        match has_blocks(&tensor) {
            true => types.tensors += 1,
            false => types.other_tensors += 1,
        }
        types.bytes += if has_blocks(&tensor) { numbers / BLOCK * BLOCK_BYTES } else { new.bytes.len() } as u64;
        tensors.push(new);
    }
    write::write_tensors(staging, &tensors)?;
    Ok(types)
}

/// Whether a GGUF file holds a tensor in blocks. The second factor of an embedding and the first, which is transposed there, have rows as
/// long as the rank.
fn has_blocks(tensor: &AdapterTensor) -> bool {
    let row = match tensor.key.part {
        Part::LoraA | Part::LoraB | Part::EmbeddingB => tensor.entry.shape.get(1),
        Part::EmbeddingA => tensor.entry.shape.first(),
        _ => None,
    };
    tensor.entry.shape.len() == 2 && row.is_some_and(|row| row % BLOCK == 0)
}

fn rounded<'a>(adapter: &'a Adapter, tensor: &AdapterTensor<'a>) -> Result<NewTensor<'a>> {
    let mut new = NewTensor::unchanged(adapter, tensor)?;
    let is_wide = matches!(new.dtype, Dtype::F64 | Dtype::F32);
    if has_blocks(tensor) {
        let values = adapter.weights.load_finite(tensor.name)?;
        let columns = new.shape[1];
        let is_transposed = tensor.key.part == Part::EmbeddingA;
        let values = if is_transposed { transposed(&values, columns) } else { values };
        let overflow =
            || AdapterError::Overflow { path: adapter.path.clone(), tensor: tensor.name.into(), dtype: NAME.into() };
        let values = blocks::rounded(&values).ok_or_else(overflow)?;
        let values = if is_transposed { transposed(&values, new.shape[0]) } else { values };
        new.bytes = write::encode(adapter, tensor.name, &values, Dtype::F32)?.into();
        new.dtype = Dtype::F32;
    } else if tensor.key.part.is_of_pair() && is_wide {
        let values = adapter.weights.load_finite(tensor.name)?;
        new.bytes = write::encode(adapter, tensor.name, &values, Dtype::F16)?.into();
        new.dtype = Dtype::F16;
    }
    Ok(new)
}
