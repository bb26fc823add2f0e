//! What runtimes make of flaws, as data. That of PEFT and transformers was measured (`fixtures/applied.json`), that of the others
//! was read in their files.

use super::libraries::{PEFT, TRANSFORMERS};
use super::local::{EXLLAMAV2, LLAMA_CPP, MISTRAL_RS, OLLAMA, OPENVINO};
use super::servers::{LORAX, SGLANG, S_LORA, TENSORRT_LLM, TGI, VLLM};
use crate::audit::runtimes::LoadOutcome::{Differs, Loads, Refuses};
use crate::audit::runtimes::Remedy as R;
use crate::audit::runtimes::flawed::Because::{AppliesSome, Says};
use crate::audit::runtimes::flawed::FlawRule;

const UNREAD: &str = "such names are not read";
const ENDS: &str = "only the number of the layer and the end of a name count";
const NAME_EXACTLY: R = R::Else("name exactly the modules that have tensors");

pub static NAMED_WITHOUT_TENSORS: FlawRule = FlawRule {
    words: "configured modules without tensors",
    known: &[
        (&[&PEFT, &TRANSFORMERS],
            (Loads, Says("exact, with a warning of missing keys, unless loaded with `low_cpu_mem_usage=True`, which leaves them random"))),
    ],
    others: (Loads, Says("only the modules that have tensors count")),
    remedy: NAME_EXACTLY,
};

pub static NOT_NAMED: FlawRule = FlawRule {
    words: "tensors of modules that are not configured",
    known: &[
        (&[&PEFT, &TRANSFORMERS], (Differs, Says("these tensors are left out with no more than a warning"))),
        (&[&SGLANG], (Refuses, Says("its modules have no buffers"))),
        (&[&MISTRAL_RS], (Refuses, Says("such tensors are refused"))),
    ],
    others: (Differs, Says("they are applied, where PEFT leaves them out")),
    remedy: NAME_EXACTLY,
};

pub static FOREIGN_TENSOR: FlawRule = FlawRule {
    words: "tensors of another method than the configured one",
    known: &[],
    others: (Differs, Says("PEFT leaves such tensors out with no more than a warning")),
    remedy: R::Else("set `peft_type` to the method that it was trained with"),
};

pub static NO_MAGNITUDE: FlawRule = FlawRule {
    words: "`use_dora` without magnitudes",
    known: &[],
    others: (Differs, Says("PEFT takes the magnitude of the base model's weights")),
    remedy: R::None,
};

pub static UNSAID_MAGNITUDE: FlawRule = FlawRule {
    words: "magnitudes without `use_dora`",
    known: &[(&[&VLLM, &LLAMA_CPP, &OLLAMA, &EXLLAMAV2, &MISTRAL_RS], (Refuses, Says("only lora_A and lora_B are read")))],
    others: (Differs, Says("the magnitudes are left out with no more than a warning")),
    remedy: R::Else("set `use_dora`"),
};

pub static LAYERS_OF_PATTERN: FlawRule = FlawRule {
    words: "`layers_to_transform` beside a pattern in `target_modules`",
    known: &[(&[&PEFT, &TRANSFORMERS, &LORAX, &TGI], (Refuses, Says("PEFT's configuration takes only one of them")))],
    others: (Loads, Says("only the modules that have tensors count")),
    remedy: R::Portable,
};

pub static SAVES_NOTHING: FlawRule = FlawRule {
    words: "saved modules without tensors",
    known: &[
        (&[&PEFT], (Refuses, Says("it asks for the tensors of the module"))),
        (&[&TRANSFORMERS], (Loads, Says("the module keeps the base model's values"))),
    ],
    others: (Loads, Says("there is nothing to load of it")),
    remedy: R::Else("take it out of `modules_to_save`"),
};

pub static NOT_FINITE: FlawRule = FlawRule {
    words: "NaN or infinite values",
    known: &[],
    others: (Differs, Says("so are all outputs then")),
    remedy: R::None,
};

pub static WRAPPED_MODEL: FlawRule = FlawRule {
    words: "names with a wrapper of the model (`_orig_mod`, `module`, `_fsdp_wrapped_module`)",
    known: &[
        (&[&PEFT, &TRANSFORMERS, &VLLM, &LORAX, &TGI, &OPENVINO], (Differs, AppliesSome)),
        (&[&SGLANG, &TENSORRT_LLM, &EXLLAMAV2], (Loads, Says(ENDS))),
    ],
    others: (Refuses, Says(UNREAD)),
    remedy: R::Rename,
};

pub static WRAPPED_LAYER: FlawRule = FlawRule {
    words: "names with a wrapper inside a layer (`_checkpoint_wrapped_module`)",
    known: &[
        (&[&PEFT, &TRANSFORMERS, &VLLM, &LORAX, &TGI, &OPENVINO], (Differs, AppliesSome)),
        (&[&SGLANG], (Loads, Says(ENDS))),
    ],
    others: (Refuses, Says(UNREAD)),
    remedy: R::Rename,
};

pub static WRAPPED_CONFIG: FlawRule = FlawRule {
    words: "a wrapper in a name of the configuration",
    known: &[(&[&PEFT, &TRANSFORMERS, &LORAX, &TGI], (Differs, Says("it finds no module of such a name")))],
    others: (Loads, Says("only the modules that have tensors count")),
    remedy: R::Rename,
};

pub static WRAPPED_TARGETS: FlawRule = FlawRule {
    words: "a wrapper in all names of the configuration",
    known: &[(&[&PEFT, &TRANSFORMERS, &LORAX, &TGI], (Refuses, Says("it finds no module to wrap and raises ValueError")))],
    others: (Loads, Says("only the modules that have tensors count")),
    remedy: R::Rename,
};

pub static ADAPTER_NAME: FlawRule = FlawRule {
    words: "names with that of an adapter (`lora_A.reference.weight`)",
    known: &[
        (&[&PEFT, &TRANSFORMERS, &LORAX, &TGI, &OPENVINO], (Differs, AppliesSome)),
        (&[&SGLANG], (Loads, Says(ENDS))),
        (&[&MISTRAL_RS], (Loads, Says("what stands between the factor and `weight` is passed over"))),
    ],
    others: (Refuses, Says(UNREAD)),
    remedy: R::Rename,
};

pub static NO_PREFIX: FlawRule = FlawRule {
    words: "names without `base_model.model.`",
    known: &[
        (&[&PEFT, &LORAX, &TGI, &OPENVINO], (Differs, AppliesSome)),
        (&[&S_LORA], (Refuses, Says(UNREAD))),
    ],
    others: (Loads, Says("the prefix may be missing")),
    remedy: R::Rename,
};

pub static PREFIX_TWICE: FlawRule = FlawRule {
    words: "names with `base_model.model.` twice",
    known: &[
        (&[&PEFT, &LORAX, &TGI, &OPENVINO], (Differs, AppliesSome)),
        (&[&S_LORA, &MISTRAL_RS], (Refuses, Says(UNREAD))),
    ],
    others: (Loads, Says("the prefix is taken away wherever it stands")),
    remedy: R::Rename,
};

pub static OTHER_STACK: FlawRule = FlawRule {
    words: "layers that the base model has under another name (`model.layers`, `model.language_model.layers`)",
    known: &[
        (&[&PEFT, &LORAX, &TGI, &OPENVINO], (Differs, AppliesSome)),
        (&[&SGLANG, &TENSORRT_LLM], (Loads, Says(ENDS))),
        (&[&TRANSFORMERS], (Loads, Says("its conversion for this model renames them"))),
        (&[&VLLM], (Loads, Says("its mapper for this model renames them"))),
        (&[&LLAMA_CPP], (Loads, Says("its converter reads the names of the text model"))),
    ],
    others: (Refuses, Says(UNREAD)),
    remedy: R::RenameForBase,
};

pub static OTHER_NAME: FlawRule = FlawRule {
    words: "modules outside the layers that the base model has under another name (`unembed_tokens`)",
    known: &[
        (&[&PEFT, &TRANSFORMERS, &VLLM, &LORAX, &TGI, &OPENVINO], (Differs, AppliesSome)),
        (&[&SGLANG], (Loads, Says("it knows several names of embedding and head"))),
    ],
    others: (Refuses, Says(UNREAD)),
    remedy: R::RenameForBase,
};

pub static OTHER_PREFIX: FlawRule = FlawRule {
    words: "modules that the base model has with another prefix (`model.lm_head`)",
    known: &[
        (&[&PEFT, &VLLM, &LORAX, &TGI, &OPENVINO], (Differs, AppliesSome)),
        (&[&TRANSFORMERS], (Loads, Says("`model.` is added or taken away"))),
        (&[&SGLANG, &TENSORRT_LLM, &EXLLAMAV2], (Loads, Says(ENDS))),
    ],
    others: (Refuses, Says(UNREAD)),
    remedy: R::RenameForBase,
};

pub static SAVED_UNDER_OTHER_NAME: FlawRule = FlawRule {
    words: "saved modules under another name than in the base model",
    known: &[
        (&[&PEFT], (Refuses, Says("it asks for the tensors of this name"))),
        (&[&TRANSFORMERS], (Loads, Says("`model.` is added or taken away"))),
    ],
    others: (Differs, Says("there is nothing to load under this name")),
    remedy: R::None,
};

pub static ABSENT: FlawRule = FlawRule {
    words: "modules that the base model does not have",
    known: &[(&[&PEFT, &TRANSFORMERS, &VLLM, &LORAX, &TGI, &OPENVINO], (Differs, AppliesSome))],
    others: (Refuses, Says("there is nothing to apply them to")),
    remedy: R::None,
};

pub static NOT_CONVERTED: FlawRule = FlawRule {
    words: "LoRA on single experts, or beside them, that PEFT does not find with transformers 5",
    known: &[(&[&PEFT, &TRANSFORMERS], (Differs, AppliesSome))],
    others: (Loads, Says("only PEFT converts it")),
    remedy: R::Else("load it with transformers 4"),
};

pub static OTHER_SIZES: FlawRule = FlawRule {
    words: "sizes other than those of the base model",
    known: &[],
    others: (Refuses, Says("they do not go together")),
    remedy: R::None,
};

pub static NO_EFFECT: FlawRule = FlawRule {
    words: "an adapter that changes nothing: alpha 0, factors of zeros, modules that text does not pass",
    known: &[],
    others: (Differs, Says("the base model alone answers")),
    remedy: R::None,
};

pub static REFUSED: FlawRule = FlawRule {
    words: "a configuration that PEFT refuses",
    known: &[(&[&PEFT, &TRANSFORMERS, &LORAX, &TGI], (Refuses, Says("it does not load")))],
    others: (Loads, Says("this key is not read as PEFT reads it")),
    remedy: R::None,
};

pub static REFUSED_BY_PEFT: FlawRule = FlawRule {
    words: "a configuration whose tensors PEFT does not find",
    known: &[
        (&[&PEFT], (Refuses, Says("it does not load"))),
        (&[&TRANSFORMERS], (Loads, Says("it keeps the base model's values, with a warning of missing keys"))),
    ],
    others: (Loads, Says("this key is not read as PEFT reads it")),
    remedy: R::None,
};

pub static UNSAID_BIAS: FlawRule = FlawRule {
    words: "biases of lora_B without `lora_bias`",
    known: &[(&[&VLLM, &LLAMA_CPP, &OLLAMA, &EXLLAMAV2, &MISTRAL_RS], (Refuses, Says("only lora_A and lora_B are read")))],
    others: (Differs, Says("the biases are left out with no more than a warning")),
    remedy: R::Else("set `lora_bias`"),
};

pub static VOCABULARY: FlawRule = FlawRule {
    words: "another number of tokens than the base model has",
    known: &[],
    others: (Refuses, Says("without that it does not load")),
    remedy: R::None,
};

/// All of them, as they are listed.
pub static FLAW_RULES: [&FlawRule; 27] = [
    &WRAPPED_MODEL, &WRAPPED_LAYER, &WRAPPED_CONFIG, &WRAPPED_TARGETS, &ADAPTER_NAME, &NO_PREFIX, &PREFIX_TWICE, &OTHER_STACK, &OTHER_NAME, &OTHER_PREFIX,
    &ABSENT, &NOT_CONVERTED, &SAVED_UNDER_OTHER_NAME, &OTHER_SIZES, &NOT_NAMED,
    &NAMED_WITHOUT_TENSORS, &FOREIGN_TENSOR, &NO_MAGNITUDE, &UNSAID_MAGNITUDE, &LAYERS_OF_PATTERN, &SAVES_NOTHING,
    &NOT_FINITE, &NO_EFFECT, &REFUSED, &REFUSED_BY_PEFT, &UNSAID_BIAS, &VOCABULARY,
];
