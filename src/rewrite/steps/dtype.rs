//! `--dtype`: every floating tensor in one type.

use std::sync::Arc;

use super::blocks;
use super::{FlagValue, Order, PlannedChanges, Purpose, SharedStep, Step, StepDetails, StepFlag, StepInput};
use crate::adapter::{Adapter, AdapterTensor};
use crate::error::Result;
use crate::files::Staging;
use crate::rewrite::write::{self, NewTensor};
use crate::tensors::Dtype;

pub static FLAG: StepFlag = StepFlag {
    name: "dtype",
    value: FlagValue::OneOf(
        "TYPE",
        &[
            ("bf16", Some("8 bits of precision, the range of f32")),
            ("f16", Some("11 bits of precision, up to 65504")),
            ("f32", None),
            (blocks::NAME, Some("8 bits in blocks of 32, with --format gguf")),
        ],
    ),
    help: "Then store all floating tensors in this type",
    purpose: Purpose::Size,
    parse: |value| match value {
        Some("bf16") => Ok(Arc::new(Cast(Dtype::BF16))),
        Some("f16") => Ok(Arc::new(Cast(Dtype::F16))),
        Some("f32") => Ok(Arc::new(Cast(Dtype::F32))),
        Some(blocks::NAME) => Ok(Arc::new(RoundToBlocks)),
        other => Err(format!("`{}` is not a type of numbers", other.unwrap_or_default())),
    },
};

/// The step to bf16.
pub fn to_bf16() -> SharedStep {
    Arc::new(Cast(Dtype::BF16))
}

/// Stores floating tensors in this type.
#[derive(Debug)]
struct Cast(Dtype);

impl Step for Cast {
    fn flag(&self) -> &'static StepFlag {
        &FLAG
    }

    fn setting(&self) -> Option<String> {
        Some(format!("{:?}", self.0).to_lowercase())
    }

    fn order(&self) -> Order {
        if self.0 == Dtype::F32 { Order::WidenTypes } else { Order::NarrowTypes }
    }

    fn check(&self, _adapter: &Adapter) -> Result<()> {
        Ok(())
    }

    fn write(&self, input: &StepInput, staging: &Staging) -> Result<StepDetails> {
        let adapter = input.adapter;
        write::copy_all_but_tensors(adapter, staging)?;
        let tensors = write::in_file_order(adapter);
        let tensors = tensors.iter().map(|tensor| self.cast(adapter, tensor)).collect::<Result<Vec<_>>>()?;
        write::write_tensors(staging, &tensors)?;
        Ok(StepDetails::default())
    }
}

impl Cast {
    fn cast<'a>(&self, adapter: &'a Adapter, tensor: &AdapterTensor<'a>) -> Result<NewTensor<'a>> {
        let mut new = NewTensor::unchanged(adapter, tensor)?;
        let is_floating =
            matches!(new.dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F8_E4M3 | Dtype::F8_E5M2);
        if is_floating && new.dtype != self.0 {
            new.bytes = write::encode(adapter, tensor.name, &adapter.weights.load_finite(tensor.name)?, self.0)?.into();
            new.dtype = self.0;
        }
        Ok(new)
    }
}

/// Rounds factors to blocks of 8 bits, and those whose rows are not whole blocks to 16 bits.
#[derive(Debug)]
struct RoundToBlocks;

impl Step for RoundToBlocks {
    fn flag(&self) -> &'static StepFlag {
        &FLAG
    }

    fn setting(&self) -> Option<String> {
        Some(blocks::NAME.into())
    }

    fn order(&self) -> Order {
        Order::NarrowTypes
    }

    fn check(&self, _adapter: &Adapter) -> Result<()> {
        Ok(())
    }

    fn plan(&self, planned: &mut PlannedChanges) {
        planned.rounds_to_blocks = true;
    }

    fn write(&self, input: &StepInput, staging: &Staging) -> Result<StepDetails> {
        Ok(StepDetails { blocks: Some(blocks::write(input.adapter, staging)?), ..StepDetails::default() })
    }
}
