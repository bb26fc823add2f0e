//! The libraries that adapters come from.

use super::{differs, refuses};
use crate::adapter::Method;
use crate::audit::runtimes::facts::AdapterFact as F;
use crate::audit::runtimes::memory::AdapterMemory;
use crate::audit::runtimes::{LoadRule, Maintenance, Remedy as R, Runtime};
use crate::export::Format;

const SAVE_AND_LOAD: &str = "utils/save_and_load.py";
const TUNERS_UTILS: &str = "tuners/tuners_utils.py";

/// What both do, since transformers builds its modules by PEFT.
const RANDOM: LoadRule = differs(&[F::RandomWithoutTensors],
     "and `init_lora_weights` is false, so that their factors stay random", SAVE_AND_LOAD)
     .unless(R::Else("name exactly the modules that have tensors, or set `init_lora_weights` to true"));

pub static PEFT: Runtime = Runtime {
    name: "PEFT",
    aliases: &["peft"],
    version: "0.21.2",
    repository: "huggingface/peft",
    maintenance: Maintenance::Active,
    folder: "src/peft/",
    reads: &[Format::Peft],
    source: SAVE_AND_LOAD,
    memory: AdapterMemory::Tensors,
    rules: &[
        refuses(&[F::Shards, F::OtherName],
            "only adapter_model.safetensors and adapter_model.bin are read", SAVE_AND_LOAD).unless(R::Rewrite),
        differs(&[F::Bare],
            "with a base that has a head (AutoModelForCausalLM) nothing is applied, only a warning is given", TUNERS_UTILS)
            .unless(R::Else("load the base as it was in training (AutoModel)")),
        RANDOM,
    ],
};

const INTEGRATION: &str = "integrations/peft.py";

/// The names that it turns into those of the base model as it loads an adapter (`conversion_mapping.py`), where PEFT does not.
const TRANSFORMERS_MAPPED: &[(&str, &[&str])] = &[("model.layers.", &["qwen2_5_vl", "qwen2_vl"])];

pub static TRANSFORMERS: Runtime = Runtime {
    name: "transformers",
    aliases: &["transformers"],
    version: "5.24.0 (load_adapter, with PEFT 0.21.2)",
    repository: "huggingface/transformers",
    maintenance: Maintenance::Active,
    folder: "src/transformers/",
    reads: &[Format::Peft],
    source: INTEGRATION,
    memory: AdapterMemory::Tensors,
    rules: &[
        refuses(&[F::Pickle, F::Shards, F::OtherName],
            "a local folder needs adapter_model.safetensors", INTEGRATION).unless(R::Rewrite),
        refuses(&[F::Method(&[Method::AdaLora])],
            "its tensors do not have the sizes that are expected", INTEGRATION).unless(R::Portable),
        refuses(&[F::Method(&[Method::Vera])], "its shared matrices cannot be injected", INTEGRATION),
        differs(&[F::Key(&["use_dora"])],
            "the magnitudes are not loaded", INTEGRATION).unless(R::Else("load it with PEFT's PeftModel")),
        differs(&[F::StrayWeights], "it replaces the base model's weight of that name", INTEGRATION).unless(R::Rewrite),
        differs(&[F::Infix], "nothing is applied", INTEGRATION).unless(R::Portable),
        differs(&[F::Unmapped(TRANSFORMERS_MAPPED)],
            "its conversion for this model does not know such names, so that nothing is applied", "conversion_mapping.py"),
        RANDOM,
    ],
};
