//! What runtimes make of flaws, as data. That of PEFT and transformers was measured (`fixtures/applied.json`), that of the others
//! was read in their files.

use super::libraries::{PEFT, TRANSFORMERS};
use super::local::{EXLLAMAV2, LLAMA_CPP, MISTRAL_RS, OLLAMA, OPENVINO};
use super::servers::{LORAX, SGLANG, S_LORA, TENSORRT_LLM, TGI, VLLM};
use crate::audit::runtimes::LoadOutcome::{Differs, Loads, Refuses};
use crate::audit::runtimes::Remedy as R;
use crate::audit::runtimes::flawed::FlawRule;

const NOTHING: &str = "nothing is applied";
const UNREAD: &str = "such names are not read";
const ENDS: &str = "only the number of the layer and the end of a name count";
const NAME_EXACTLY: R = R::Else("name exactly the modules that have tensors");

pub static NAMED_WITHOUT_TENSORS: FlawRule = FlawRule {
    words: "configured modules without tensors",
    known: &[
        (&[&PEFT, &TRANSFORMERS],
            (Loads, "exact, with a warning of missing keys, unless loaded with `low_cpu_mem_usage=True`, which leaves them random")),
    ],
    others: (Loads, "only the modules that have tensors count"),
    remedy: NAME_EXACTLY,
};

pub static NOT_NAMED: FlawRule = FlawRule {
    words: "tensors of modules that are not configured",
    known: &[
        (&[&PEFT, &TRANSFORMERS], (Differs, "these tensors are left out with no more than a warning")),
        (&[&SGLANG], (Refuses, "its modules have no buffers")),
        (&[&MISTRAL_RS], (Refuses, "such tensors are refused")),
    ],
    others: (Differs, "they are applied, where PEFT leaves them out"),
    remedy: NAME_EXACTLY,
};

pub static FOREIGN_TENSOR: FlawRule = FlawRule {
    words: "tensors of another method than the configured one",
    known: &[],
    others: (Differs, "PEFT leaves such tensors out with no more than a warning"),
    remedy: R::Else("set `peft_type` to the method that it was trained with"),
};

pub static NO_MAGNITUDE: FlawRule = FlawRule {
    words: "`use_dora` without magnitudes",
    known: &[],
    others: (Differs, "PEFT takes the magnitude of the base model's weights"),
    remedy: R::None,
};

pub static UNSAID_MAGNITUDE: FlawRule = FlawRule {
    words: "magnitudes without `use_dora`",
    known: &[(&[&VLLM, &LLAMA_CPP, &OLLAMA, &EXLLAMAV2, &MISTRAL_RS], (Refuses, "only lora_A and lora_B are read"))],
    others: (Differs, "the magnitudes are left out with no more than a warning"),
    remedy: R::Else("set `use_dora`"),
};

pub static LAYERS_OF_PATTERN: FlawRule = FlawRule {
    words: "`layers_to_transform` beside a pattern in `target_modules`",
    known: &[(&[&PEFT, &TRANSFORMERS, &LORAX, &TGI], (Refuses, "PEFT's configuration takes only one of them"))],
    others: (Loads, "only the modules that have tensors count"),
    remedy: R::Portable,
};

pub static SAVES_NOTHING: FlawRule = FlawRule {
    words: "saved modules without tensors",
    known: &[
        (&[&PEFT], (Refuses, "it asks for the tensors of the module")),
        (&[&TRANSFORMERS], (Loads, "the module keeps the base model's values")),
    ],
    others: (Loads, "there is nothing to load of it"),
    remedy: R::Else("take it out of `modules_to_save`"),
};

pub static NOT_FINITE: FlawRule = FlawRule {
    words: "NaN or infinite values",
    known: &[],
    others: (Differs, "so are all outputs then"),
    remedy: R::None,
};

pub static WRAPPED_MODEL: FlawRule = FlawRule {
    words: "names with a wrapper of the model (`_orig_mod`, `module`, `_fsdp_wrapped_module`)",
    known: &[
        (&[&PEFT, &TRANSFORMERS, &VLLM, &LORAX, &TGI, &OPENVINO], (Differs, NOTHING)),
        (&[&SGLANG, &TENSORRT_LLM, &EXLLAMAV2], (Loads, ENDS)),
    ],
    others: (Refuses, UNREAD),
    remedy: R::Portable,
};

pub static WRAPPED_LAYER: FlawRule = FlawRule {
    words: "names with a wrapper inside a layer (`_checkpoint_wrapped_module`)",
    known: &[
        (&[&PEFT, &TRANSFORMERS, &VLLM, &LORAX, &TGI, &OPENVINO], (Differs, NOTHING)),
        (&[&SGLANG], (Loads, ENDS)),
    ],
    others: (Refuses, UNREAD),
    remedy: R::Portable,
};

pub static ADAPTER_NAME: FlawRule = FlawRule {
    words: "names with that of an adapter (`lora_A.reference.weight`)",
    known: &[
        (&[&PEFT, &TRANSFORMERS, &LORAX, &TGI, &OPENVINO], (Differs, NOTHING)),
        (&[&SGLANG], (Loads, ENDS)),
        (&[&MISTRAL_RS], (Loads, "what stands between the factor and `weight` is passed over")),
    ],
    others: (Refuses, UNREAD),
    remedy: R::Portable,
};

pub static NO_PREFIX: FlawRule = FlawRule {
    words: "names without `base_model.model.`",
    known: &[
        (&[&PEFT, &LORAX, &TGI, &OPENVINO], (Differs, NOTHING)),
        (&[&S_LORA], (Refuses, UNREAD)),
    ],
    others: (Loads, "the prefix may be missing"),
    remedy: R::Portable,
};

pub static PREFIX_TWICE: FlawRule = FlawRule {
    words: "names with `base_model.model.` twice",
    known: &[
        (&[&PEFT, &LORAX, &TGI, &OPENVINO], (Differs, NOTHING)),
        (&[&S_LORA, &MISTRAL_RS], (Refuses, UNREAD)),
    ],
    others: (Loads, "the prefix is taken away wherever it stands"),
    remedy: R::Portable,
};

pub static ABSENT: FlawRule = FlawRule {
    words: "modules that the base model does not have",
    known: &[(&[&PEFT, &TRANSFORMERS, &VLLM, &LORAX, &TGI, &OPENVINO], (Differs, "they are left out"))],
    others: (Refuses, "there is nothing to apply them to"),
    remedy: R::None,
};

pub static OTHER_SIZES: FlawRule = FlawRule {
    words: "sizes other than those of the base model",
    known: &[],
    others: (Refuses, "they do not go together"),
    remedy: R::None,
};

/// All of them, as they are listed.
pub static FLAW_RULES: [&FlawRule; 15] = [
    &WRAPPED_MODEL, &WRAPPED_LAYER, &ADAPTER_NAME, &NO_PREFIX, &PREFIX_TWICE, &ABSENT, &OTHER_SIZES, &NOT_NAMED,
    &NAMED_WITHOUT_TENSORS, &FOREIGN_TENSOR, &NO_MAGNITUDE, &UNSAID_MAGNITUDE, &LAYERS_OF_PATTERN, &SAVES_NOTHING,
    &NOT_FINITE,
];
