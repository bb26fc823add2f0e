//! The end of `--dead-weight`: numbers in no more bits than they need.

use std::sync::Arc;

use super::{FlagValue, Order, Purpose, SharedStep, Step, StepDetails, StepFlag, StepInput};
use crate::adapter::Adapter;
use crate::error::Result;
use crate::files::Staging;
use crate::rewrite::exact_types::{ExactTypes, StoredValues, narrower};
use crate::rewrite::write::{self, NewTensor};

pub static FLAG: StepFlag = StepFlag {
    name: "exact-types",
    value: FlagValue::None,
    help: "Stores numbers in 16 bits where that changes none",
    purpose: Purpose::Size,
    parse: |_| Err("`--dead-weight` does so".into()),
};

/// The step that follows `--dead-weight`, after all others.
pub fn step() -> SharedStep {
    Arc::new(NarrowExactly)
}

/// Stores numbers in 16 bits where that changes none.
#[derive(Debug)]
struct NarrowExactly;

impl Step for NarrowExactly {
    fn flag(&self) -> &'static StepFlag {
        &FLAG
    }

    fn order(&self) -> Order {
        Order::NarrowTypes
    }

    fn check(&self, _adapter: &Adapter) -> Result<()> {
        Ok(())
    }

    fn write(&self, input: &StepInput, staging: &Staging) -> Result<StepDetails> {
        let adapter = input.adapter;
        write::copy_all_but_tensors(adapter, staging)?;
        let tensors = write::in_file_order(adapter);
        let stored = tensors.iter().map(|tensor| StoredValues::new(adapter, tensor, None));
        let stored = stored.collect::<Result<Vec<_>>>()?;
        let types = narrower(&stored);
        let mut new = Vec::new();
        for (tensor, stored) in tensors.iter().zip(&stored) {
            let mut tensor = NewTensor::unchanged(adapter, tensor)?;
            if let Some(&to) = types.get(stored.name)
                && let Some(bytes) = stored.converted(to)
            {
                (tensor.dtype, tensor.bytes) = (to, bytes.into());
            }
            new.push(tensor);
        }
        write::write_tensors(staging, &new)?;
        Ok(StepDetails { exact_types: ExactTypes::of(&stored, &types), ..StepDetails::default() })
    }
}
