//! The runtimes as data. To follow a new version of one, read its files again, change its entry, and regenerate
//! `docs/runtimes.md` as that file says.

// Tables with one rule a line.
#[rustfmt::skip]
mod buffers;
#[rustfmt::skip]
pub mod flaws;
#[rustfmt::skip]
mod libraries;
#[rustfmt::skip]
mod local;
#[rustfmt::skip]
mod servers;

use super::facts::AdapterFact;
use super::{LoadOutcome, LoadRule, Remedy, Runtime};

pub use libraries::PEFT;

type Facts = &'static [AdapterFact];

/// Every runtime, in the order in which they are listed.
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

/// The keys that turn LoRA into something else, known to few servers.
const VARIANTS: &[&str] = &[
    "alora_invocation_tokens",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "layer_replication",
];

/// The same without activated LoRA, which llama.cpp supports.
const VARIANTS_BUT_ACTIVATED: &[&str] = match VARIANTS {
    [_activated, others @ ..] => others,
    [] => &[],
};

const fn rule(facts: Facts, outcome: LoadOutcome, effect: &'static str, source: &'static str) -> LoadRule {
    LoadRule { facts, outcome, effect, remedy: Remedy::None, source }
}

const fn loads(facts: Facts, effect: &'static str, source: &'static str) -> LoadRule {
    rule(facts, LoadOutcome::Loads, effect, source)
}

const fn differs(facts: Facts, effect: &'static str, source: &'static str) -> LoadRule {
    rule(facts, LoadOutcome::Differs, effect, source)
}

const fn refuses(facts: Facts, effect: &'static str, source: &'static str) -> LoadRule {
    rule(facts, LoadOutcome::Refuses, effect, source)
}

impl LoadRule {
    /// The same rule with what can be done about it.
    const fn unless(self, remedy: Remedy) -> Self {
        Self { remedy, ..self }
    }
}
