//! What PEFT 0.21.2 refuses to load because of its configuration alone, though the adapter can be computed.

use serde_json::Value;

use super::flaws::{Flaw, RefusedBy};
use crate::adapter::names::Part;
use crate::adapter::{Adapter, Method};

/// A configuration that PEFT does not load, and what it does.
struct Refusal {
    is_so: fn(&Adapter) -> bool,
    what: &'static str,
    by: RefusedBy,
}

const fn refusal(is_so: fn(&Adapter) -> bool, what: &'static str) -> Refusal {
    Refusal { is_so, what, by: RefusedBy::Both }
}

/// A refusal of PEFT's own way to load tensors.
const fn refusal_of_tensors(is_so: fn(&Adapter) -> bool, what: &'static str) -> Refusal {
    Refusal { is_so, what, by: RefusedBy::PeftAlone }
}

/// Each was seen in PEFT.
static REFUSALS: [Refusal; 16] = [
    refusal_of_tensors(
        |adapter| {
            value(adapter, "modules_to_save").is_some_and(|value| value.as_str().is_some_and(|name| !name.is_empty()))
        },
        "`modules_to_save` is a string and not a list: PEFT takes its characters for names of modules and raises KeyError",
    ),
    refusal(
        |adapter| value(adapter, "target_parameters").is_some_and(Value::is_string),
        "`target_parameters` is a string and not a list: PEFT raises TypeError",
    ),
    refusal(
        |adapter| value(adapter, "task_type").is_some_and(|value| !is_any(value, &TASK_TYPES)),
        "`task_type` is none of PEFT's: it raises ValueError",
    ),
    refusal(
        |adapter| adapter.config.raw.get("bias").is_some_and(|bias| !is_bias(bias)),
        "`bias` is neither `none` nor `all` nor `lora_only`: PEFT raises an error",
    ),
    refusal(
        |adapter| ["rank_pattern", "alpha_pattern"].iter().any(|key| is_null(adapter, key)),
        "`rank_pattern` or `alpha_pattern` is null and not an object: PEFT raises AttributeError",
    ),
    refusal(
        |adapter| is_on(adapter, "layers_pattern") && value(adapter, "layers_to_transform").is_none(),
        "`layers_pattern` is set without `layers_to_transform`: PEFT raises ValueError",
    ),
    refusal(
        |adapter| is_on(adapter, "layers_pattern") && value(adapter, "target_modules").is_some_and(Value::is_string),
        "`layers_pattern` cannot go with a pattern in `target_modules`: PEFT raises ValueError",
    ),
    refusal(
        |adapter| {
            let is_empty = value(adapter, "target_modules").is_some_and(|value| value == &Value::Array(Vec::new()));
            is_empty && adapter.config.targets.parameters.is_empty()
        },
        "`target_modules` is empty, and there are no `target_parameters`: PEFT raises an error",
    ),
    refusal(
        |adapter| is_lora(adapter) && adapter.config.raw.get("lora_dropout").is_some_and(|value| !is_share(value)),
        "`lora_dropout` is no number between 0 and 1: PEFT raises an error",
    ),
    refusal(
        |adapter| has_parameters(adapter) && adapter.config.is_set_to_more("lora_dropout"),
        "`lora_dropout` is not 0 beside `target_parameters`: PEFT raises ValueError; it only counts in training and can be set to 0",
    ),
    refusal(
        |adapter| has_parameters(adapter) && ["use_dora", "lora_bias"].into_iter().any(|key| is_on(adapter, key)),
        "`use_dora` and `lora_bias` cannot go with `target_parameters`: PEFT raises ValueError",
    ),
    refusal(
        |adapter| is_lora(adapter) && value(adapter, "init_lora_weights").is_some_and(|value| !is_init(value)),
        "`init_lora_weights` is none that PEFT knows: it raises ValueError",
    ),
    refusal(
        |adapter| is_on(adapter, "lora_bias") && is_on(adapter, "use_dora"),
        "`lora_bias` cannot go with `use_dora`: PEFT raises ValueError",
    ),
    refusal(
        |adapter| is_on(adapter, "lora_bias") && value(adapter, "init_lora_weights").is_some_and(Value::is_string),
        "`lora_bias` cannot go with this `init_lora_weights`: PEFT raises ValueError",
    ),
    refusal_of_tensors(
        |adapter| {
            let has_rows = adapter.tensors().any(|tensor| tensor.key.part == Part::Tokens);
            is_on(adapter, "trainable_token_indices") && !has_rows
        },
        "`trainable_token_indices` is set, but no tensor holds the rows of the tokens: PEFT raises KeyError",
    ),
    refusal(
        |adapter| is_lora(adapter) && is_on(adapter, "megatron_config"),
        "`megatron_config` is set: PEFT loads it only where Megatron is installed",
    ),
];

const TASK_TYPES: [&str; 6] =
    ["SEQ_CLS", "SEQ_2_SEQ_LM", "CAUSAL_LM", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION"];

/// The values of `init_lora_weights`; PiSSA's may go on with a number of iterations.
const INITIALISATIONS: [&str; 9] =
    ["gaussian", "eva", "olora", "corda", "loftq", "orthogonal", "lora_ga", "mica", "pissa"];

impl Adapter {
    /// What PEFT refuses of the configuration.
    pub(super) fn refused_by_peft(&self) -> Vec<Flaw> {
        let refused = REFUSALS.iter().filter(|refusal| (refusal.is_so)(self));
        refused.map(|refusal| Flaw::Refused { what: refusal.what, by: refusal.by }).collect()
    }
}

fn has_parameters(adapter: &Adapter) -> bool {
    is_lora(adapter) && !adapter.config.targets.parameters.is_empty()
}

fn is_lora(adapter: &Adapter) -> bool {
    adapter.config.method == Method::Lora
}

/// The value of a key that is neither absent nor null.
fn value<'a>(adapter: &'a Adapter, key: &str) -> Option<&'a Value> {
    adapter.config.raw.get(key).filter(|value| !value.is_null())
}

fn is_null(adapter: &Adapter, key: &str) -> bool {
    adapter.config.method.has_patterns() && adapter.config.raw.get(key).is_some_and(Value::is_null)
}

fn is_on(adapter: &Adapter, key: &str) -> bool {
    adapter.config.flag(key)
}

fn is_any(value: &Value, names: &[&str]) -> bool {
    value.as_str().is_some_and(|name| names.contains(&name))
}

fn is_bias(value: &Value) -> bool {
    value.as_str().is_some_and(|bias| matches!(bias, "none" | "all") || bias.ends_with("_only"))
}

fn is_share(value: &Value) -> bool {
    value.as_f64().is_some_and(|share| (0.0..=1.0).contains(&share))
}

fn is_init(value: &Value) -> bool {
    let is_known = |name: &str| INITIALISATIONS.contains(&name) || name.starts_with("pissa_niter_");
    value.is_boolean() || value.as_str().is_some_and(|name| is_known(&name.to_lowercase()))
}
