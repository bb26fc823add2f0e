//! The runtimes as data. To follow a new version of one: read its files again, change its entry, and write
//! `docs/runtimes.md` anew as that file says.

mod libraries;
mod local;
mod servers;

use super::facts::Fact;
use super::{Outcome, Remedy, Rule, Runtime};

/// Every runtime that is known, in the order in which they are shown.
pub static RUNTIMES: [&Runtime; 14] = [
    &libraries::PEFT,
    &libraries::TRANSFORMERS,
    &servers::VLLM,
    &servers::SGLANG,
    &servers::LORAX,
    &servers::TGI,
    &servers::S_LORA,
    &servers::TENSORRT_LLM,
    &local::LLAMA_CPP,
    &local::OLLAMA,
    &local::MLX_LM,
    &local::MISTRAL_RS,
    &local::OPENVINO,
    &local::EXLLAMAV2,
];

/// The keys that make LoRA something else and that no server but a few knows.
const VARIANTS: &[&str] = &[
    "alora_invocation_tokens",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "layer_replication",
];

/// The same without activated LoRA, which llama.cpp knows.
const VARIANTS_BUT_ACTIVATED: &[&str] = match VARIANTS {
    [_activated, others @ ..] => others,
    [] => &[],
};

const fn loads(fact: Fact, effect: &'static str, remedy: Remedy, source: &'static str) -> Rule {
    Rule { fact, outcome: Outcome::Loads, effect, remedy, source }
}

const fn differs(fact: Fact, effect: &'static str, remedy: Remedy, source: &'static str) -> Rule {
    Rule { fact, outcome: Outcome::Differs, effect, remedy, source }
}

const fn refuses(fact: Fact, effect: &'static str, remedy: Remedy, source: &'static str) -> Rule {
    Rule { fact, outcome: Outcome::Refuses, effect, remedy, source }
}
