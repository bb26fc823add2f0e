//! `--dead-weight`: without the weights that change nothing.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{FlagValue, Order, PlannedChanges, Purpose, Step, StepDetails, StepFlag, StepInput};
use crate::adapter::names::Part;
use crate::adapter::{Adapter, AdapterTensor, Capability, config, is_vocabulary};
use crate::error::Result;
use crate::files::Staging;
use crate::rewrite::Cut;
use crate::rewrite::dead_weight::DeadWeight;
use crate::rewrite::exact_types::rows_of;
use crate::rewrite::write::{self, NewTensor};

pub static FLAG: StepFlag = StepFlag {
    name: "dead-weight",
    value: FlagValue::None,
    help: "Leave out what changes nothing: embeddings and heads as in the base model (or all their rows but a few), modules whose \
           change is zero, copies, and types wider than their values; the result is the same to the last digit",
    purpose: Purpose::Size,
    parse: |_| Ok(Arc::new(DropDeadWeight)),
};

/// Takes out what changes nothing.
#[derive(Debug)]
struct DropDeadWeight;

impl Step for DropDeadWeight {
    fn flag(&self) -> &'static StepFlag {
        &FLAG
    }

    fn order(&self) -> Order {
        Order::DropDeadWeight
    }

    fn check(&self, adapter: &Adapter) -> Result<()> {
        adapter.require(Capability::Cut)
    }

    fn plan(&self, planned: &mut PlannedChanges) {
        planned.drops_dead_weight = true;
    }

    fn needs_base(&self, adapter: &Adapter) -> bool {
        DeadWeight::needs_base(adapter)
    }

    fn write(&self, input: &StepInput, staging: &Staging) -> Result<StepDetails> {
        let adapter = input.adapter;
        let dead = DeadWeight::find(adapter, input.base)?;
        if dead.is_empty() {
            Cut::whole(adapter)?.write(staging)?;
        } else {
            staging.json(config::FILE_NAME, &config(adapter, &dead)?)?;
            write::copy_sidecars(&adapter.path, staging)?;
            let tensors = write::in_file_order(adapter);
            let tensors: Vec<NewTensor> =
                tensors.iter().filter_map(|tensor| left(adapter, &dead, tensor).transpose()).collect::<Result<_>>()?;
            write::write_tensors(staging, &tensors)?;
        }
        Ok(StepDetails { dead_weight: Some(dead.summary()), ..StepDetails::default() })
    }

    fn caution(&self, last: &Adapter) -> Option<&'static str> {
        last.tensors().any(|tensor| tensor.key.part == Part::Tokens).then_some(
            "rows of tokens are stored as `trainable_token_indices`, which only PEFT from 0.15 reads, and which it copies into the \
             embedding at each pass unless the adapter is merged",
        )
    }
}

/// What is left of a tensor.
fn left<'a>(adapter: &'a Adapter, dead: &DeadWeight, tensor: &AdapterTensor<'a>) -> Result<Option<NewTensor<'a>>> {
    let mut new = NewTensor::unchanged(adapter, tensor)?;
    if let Some(tokens) = dead.rows_of(tensor.name) {
        new.name = format!("base_model.model.{}.token_adapter.trainable_tokens_delta", tensor.key.module).into();
        new.bytes = rows_of(&new.bytes, &new.shape, tokens).into();
        new.shape[0] = tokens.len();
    } else if dead.drops(tensor.name) {
        return Ok(None);
    }
    Ok(Some(new))
}

/// The configuration of what is left.
fn config(adapter: &Adapter, dead: &DeadWeight) -> Result<Map<String, Value>> {
    let mut raw = Cut::without(adapter, dead.modules())?.config();
    let tokens = dead.trained_tokens();
    let is_left = |is_so: &dyn Fn(&AdapterTensor) -> bool| {
        adapter.tensors().any(|tensor| !dead.drops(tensor.name) && is_so(&tensor))
    };
    let has_vocabulary = !tokens.is_empty() || is_left(&|tensor| is_vocabulary(&tensor.key.module));
    if !tokens.is_empty() {
        raw.insert("trainable_token_indices".into(), json!(tokens));
    }
    if adapter.config.flag("ensure_weight_tying") && !has_vocabulary {
        // PEFT warns where there is nothing to tie.
        raw.insert("ensure_weight_tying".into(), json!(false));
    }
    let has_bias = is_left(&|tensor| tensor.key.part == Part::Saved && tensor.name.ends_with(".bias"));
    if adapter.config.text("bias").is_some_and(|bias| bias != "none") && !has_bias {
        raw.insert("bias".into(), json!("none"));
    }
    Ok(raw)
}
