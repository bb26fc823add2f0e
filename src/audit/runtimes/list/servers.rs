//! Servers for many requests at a time.

use super::{VARIANTS, buffers, differs, loads, refuses};
use crate::audit::runtimes::facts::AdapterFact as F;
use crate::audit::runtimes::memory::AdapterMemory;
use crate::audit::runtimes::{LoadRule, Maintenance, Remedy as R, Runtime};
use crate::export::Format;

const PEFT_HELPER: &str = "peft_helper.py";
const LORA_UTILS: &str = "utils.py";
const LORA_MODEL: &str = "lora_model.py";

/// The names that the mappers of its models (`hf_to_vllm_mapper`) turn into those of its own modules.
pub const VLLM_MAPPED: &[(&str, &[&str])] = &[
    ("model.layers.", &["exaone4_5", "gemma3n", "gemma4", "gemma4_unified", "mistral3", "muse_glimmer", "qwen2_5_vl", "qwen2_vl", "step3p7"]),
    ("model.language_model.layers.", &["gemma4_text", "qwen3_5_moe_text", "qwen3_5_text"]),
];

/// The decoders whose classes have no `embedding_modules`, and one that has no head among them.
const VLLM_NO_EMBEDDING: &[&str] = &["gemma", "gemma2", "gemma3_text", "mistral", "qwen2", "qwen2_5_vl", "qwen2_5_vl_text",
    "qwen2_vl", "qwen2_vl_text"];
const VLLM_NO_HEAD: &[&str] = &["cohere", "cohere2", "gemma", "gemma2", "gemma3_text", "mistral", "qwen2", "qwen2_5_vl",
    "qwen2_5_vl_text", "qwen2_vl", "qwen2_vl_text"];

pub static VLLM: Runtime = Runtime {
    name: "vLLM",
    aliases: &["vllm"],
    version: "0.32.0",
    repository: "vllm-project/vllm",
    maintenance: Maintenance::Active,
    folder: "vllm/lora/",
    reads: &[Format::Peft],
    source: LORA_MODEL,
    memory: AdapterMemory::Buffers(&buffers::VLLM),
    rules: &[
        refuses(&[F::OtherMethod], "only LoRA is read", PEFT_HELPER),
        refuses(&[F::FamilyOf(&["bloom", "gpt2", "stablelm"])], "its class for these models takes no LoRA",
            "../model_executor/models/interfaces.py"),
        refuses(&[F::EmbeddingLoraOf(VLLM_NO_EMBEDDING), F::HeadLoraOf(VLLM_NO_HEAD)],
            "its class for these models takes LoRA in the layers only", LORA_MODEL),
        refuses(&[F::Key(&["use_dora"])], "DoRA is not supported", PEFT_HELPER),
        refuses(&[F::Key(&["lora_bias"])], "biases of lora_B are not supported", PEFT_HELPER),
        refuses(&[F::Bias], "trained biases are not supported", PEFT_HELPER),
        refuses(&[F::Key(&["modules_to_save"])], "only classification heads may be saved", PEFT_HELPER),
        refuses(&[F::SavedVocabulary, F::SavedNorms, F::SavedOther], "whole weights are not read", LORA_UTILS),
        refuses(&[F::Tokens], "trained tokens are not read", LORA_UTILS),
        refuses(&[F::ChangesBase], "it fits only a base model that was changed with it", PEFT_HELPER),
        refuses(&[F::Key(&["alora_invocation_tokens", "layer_replication", "use_bdlora", "use_qalora"])],
            "that is not supported", PEFT_HELPER),
        differs(&[F::Key(&["arrow_config", "kasa_config", "monteclora_config"])], "it is ignored", PEFT_HELPER),
        refuses(&[F::Infix], "such names are not read", LORA_UTILS).unless(R::Portable),
        refuses(&[F::UnknownBut(&[".embed_tokens.base_layer.weight", ".lm_head.base_layer.weight"])],
            "every name must be that of a module's LoRA", LORA_UTILS).unless(R::Rewrite),
        refuses(&[F::BaseCopies], "only those of the embedding and the head are passed over", LORA_UTILS),
        refuses(&[F::Shards, F::OtherName], "no weights are found", LORA_MODEL).unless(R::Rewrite),
        differs(&[F::Bare], "the names match no module, so that nothing is applied", "model_manager.py"),
        differs(&[F::Unmapped(VLLM_MAPPED)],
            "its mapper for this model does not know such names, so that nothing is applied",
            "../model_executor/models/utils.py"),
        refuses(&[F::RankAbove(512)], "512 is the most that any setting allows", "config/lora.py").unless(R::Rank(512)),
        loads(&[F::RankAbove(16)],
            "the default allows 16", "config/lora.py").unless(R::Serve("--max-lora-rank", &[32, 64, 128, 256, 320, 512])),
        loads(&[F::Parameters],
            "if the request says that it is of this kind", "request.py").unless(R::Else("`is_3d_lora_weight`")),
        loads(&[F::Towers], "applied only with", "config/lora.py").unless(R::Else("`--enable-tower-connector-lora`")),
    ],
};

const SGLANG_LORA: &str = "lora.py";
const SGLANG_POOL: &str = "mem_pool.py";
const SGLANG_MANAGER: &str = "lora_manager.py";

pub static SGLANG: Runtime = Runtime {
    name: "SGLang",
    aliases: &["sglang"],
    version: "0.5.23",
    repository: "sgl-project/sglang",
    maintenance: Maintenance::Active,
    folder: "python/sglang/srt/lora/",
    reads: &[Format::Peft],
    source: SGLANG_LORA,
    memory: AdapterMemory::Buffers(&buffers::SGLANG),
    rules: &[
        refuses(&[F::OtherMethod], "only LoRA is read", SGLANG_LORA),
        refuses(&[F::Key(&["use_dora"])], "DoRA is not supported", SGLANG_MANAGER),
        refuses(&[F::Pattern], "only a list of names is read, or `all-linear`", "utils.py").unless(R::Portable),
        refuses(&[F::NullTargets], "only a list of names is read, or `all-linear`", "utils.py").unless(R::Portable),
        refuses(&[F::AddedTokens], "adapters that add tokens are not supported", SGLANG_MANAGER),
        refuses(&[F::RanksDiffer], "the buffers have the rank `r`", SGLANG_POOL).unless(R::Portable),
        differs(&[F::RankStabilised], "it is ignored: the scaling is alpha / r", SGLANG_LORA).unless(R::Portable),
        differs(&[F::AlphasDiffer], "it is ignored: the scaling is lora_alpha / r", SGLANG_LORA).unless(R::Portable),
        refuses(&[F::PartOfFused], "query, key and value, and gate and up, are one matrix each", SGLANG_LORA),
        refuses(&[F::SavedNorms, F::SavedOther], "whole weights in the layers have no buffers", SGLANG_POOL),
        refuses(&[F::UnknownInLayers], "every tensor in the layers is taken for LoRA", SGLANG_LORA).unless(R::Rewrite),
        refuses(&[F::BaseCopies], "every tensor in the layers is taken for LoRA", SGLANG_LORA),
        differs(&[F::SavedVocabulary], "whole weights are not used", SGLANG_LORA),
        differs(&[F::Tokens], "trained tokens are not used", SGLANG_LORA),
        refuses(&[F::BiasOfAll], "those of query, key and value do not go together", SGLANG_LORA),
        refuses(&[F::HasType(&["w1", "w2", "w3"])],
            "they are renamed to gate, down and up, which the configuration does not name", SGLANG_LORA),
        differs(&[F::Bias], "trained biases are not used", SGLANG_POOL),
        differs(&[F::Key(&["lora_bias"])], "biases of lora_B are not used", SGLANG_POOL),
        differs(&[F::ChangesBase], "the base model stays as it is", "lora_config.py"),
        differs(&[F::Key(VARIANTS)], "it is ignored", "lora_config.py"),
        refuses(&[F::NamedAsParameters], "only `target_modules` is read, so that they have no buffers", SGLANG_POOL),
    ],
};

const LORA: &str = "lora.py";

/// The types of modules that have a place in the layers of most models of LoRAX and TGI.
const PLACES: &[&str] = &[
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "qkv_proj", "gate_up_proj", "c_proj",
    "c_fc",
];

/// LoRAX, and TGI, which took its adapters over.
macro_rules! lorax_rules {
    ($($more:expr),* $(,)?) => {
        &[
            refuses(&[F::OtherMethod], "only LoRA is read", LORA),
            differs(&[F::TypeMissing],
                "a type of module that any layer lacks is left out in all layers", LORA).unless(R::PadZeros),
            differs(&[F::Key(&["use_dora"])], "the magnitudes are ignored", LORA),
            differs(&[F::Key(&["lora_bias"])], "biases of lora_B are ignored", LORA),
            differs(&[F::Bias], "trained biases are ignored", LORA),
            differs(&[F::SavedVocabulary, F::SavedNorms, F::SavedOther], "whole weights are ignored", LORA),
            differs(&[F::Tokens], "trained tokens are ignored", LORA),
            differs(&[F::EmbeddingLora], "it is ignored", LORA),
            differs(&[F::ChangesBase], "the base model stays as it is", LORA),
            differs(&[F::Key(VARIANTS)], "it is ignored", LORA),
            differs(&[F::Parameters, F::Experts], "they are ignored", LORA),
            differs(&[F::Towers], "it is ignored", LORA),
            differs(&[F::TypeOtherThan(PLACES)], "a type without a place in the model is ignored", LORA),
            differs(&[F::Infix], "such names are ignored, so that nothing is applied", LORA).unless(R::Portable),
            differs(&[F::StackOtherThan("model.layers")], "such names are ignored, so that nothing is applied", LORA),
            refuses(&[F::RanksDifferInType], "all layers are stacked to one tensor", LORA).unless(R::Portable),
            differs(&[F::RanksDiffer], "the scaling is lora_alpha / r for all", LORA).unless(R::Portable),
            differs(&[F::AlphasDiffer], "it is ignored: the scaling is lora_alpha / r for all", LORA).unless(R::Portable),
            differs(&[F::RankOtherThan(8, 16)],
                "it is filled up for the first type of module, and the others are then scaled by the larger rank", LORA)
                .unless(R::Else("a rank of 8 or of a multiple of 16")),
            $($more,)*
        ]
    };
}

pub static LORAX: Runtime = Runtime {
    name: "LoRAX",
    aliases: &["lorax"],
    version: "a7394ba (2026-05-28)",
    repository: "predibase/lorax",
    maintenance: Maintenance::Dormant,
    folder: "server/lorax_server/adapters/",
    reads: &[Format::Peft],
    source: LORA,
    memory: AdapterMemory::Unknown,
    rules: lorax_rules![refuses(&[F::Pickle], "a local folder needs safetensors", "../utils/sources/local.py")
        .unless(R::Rewrite)],
};

pub static TGI: Runtime = Runtime {
    name: "TGI",
    aliases: &["tgi", "text-generation-inference"],
    version: "3.3.7 (db931fc, 2026-01-08)",
    repository: "huggingface/text-generation-inference",
    maintenance: Maintenance::Archived,
    folder: "server/text_generation_server/adapters/",
    reads: &[Format::Peft],
    source: LORA,
    memory: AdapterMemory::Unknown,
    rules: lorax_rules![
        differs(&[F::HeadLora], "it is ignored", "../models/__init__.py"),
        refuses(&[F::Pickle], "a local folder needs safetensors", "../utils/adapter.py").unless(R::Rewrite),
    ],
};

const LAYER_WEIGHT: &str = "layer_weights/lora_layer_weight.py";
const ADAPTER: &str = "lora_adapter.py";
const ATTENTION: &[&str] = &["q_proj", "k_proj", "v_proj", "o_proj"];

const NO_SUCH_WEIGHT: LoadRule = differs(&[F::SavedVocabulary], "whole weights are ignored", LAYER_WEIGHT);

pub static S_LORA: Runtime = Runtime {
    name: "S-LoRA",
    aliases: &["s-lora", "slora"],
    version: "c1ddf48 (2024-01-03)",
    repository: "S-LoRA/S-LoRA",
    maintenance: Maintenance::Dormant,
    folder: "slora/models/peft/",
    reads: &[Format::Peft],
    source: LAYER_WEIGHT,
    memory: AdapterMemory::Unknown,
    rules: &[
        refuses(&[F::OtherMethod], "only LoRA is read", ADAPTER),
        refuses(&[F::LacksType(ATTENTION)], "each layer needs query, key, value and output", LAYER_WEIGHT),
        refuses(&[F::TypeMissing], "each layer needs query, key, value and output", LAYER_WEIGHT).unless(R::PadZeros),
        refuses(&[F::GroupedKeys], "all four need the same sizes", LAYER_WEIGHT),
        refuses(&[F::RanksDiffer], "all four need the rank `r`", LAYER_WEIGHT).unless(R::Portable),
        refuses(&[F::Infix], "such names are not found", LAYER_WEIGHT).unless(R::Portable),
        differs(&[F::TypeOtherThan(ATTENTION)], "all but attention is ignored", LAYER_WEIGHT),
        differs(&[F::RankStabilised], "it is ignored: the scaling is alpha / r", ADAPTER).unless(R::Portable),
        differs(&[F::AlphasDiffer], "it is ignored: the scaling is lora_alpha / r", ADAPTER).unless(R::Portable),
        differs(&[F::Key(&["use_dora"])], "the magnitudes are ignored", LAYER_WEIGHT),
        differs(&[F::Key(&["lora_bias"])], "biases of lora_B are ignored", LAYER_WEIGHT),
        differs(&[F::Bias], "trained biases are ignored", LAYER_WEIGHT),
        NO_SUCH_WEIGHT,
        differs(&[F::SavedNorms], "whole weights are ignored", LAYER_WEIGHT),
        differs(&[F::Tokens], "trained tokens are ignored", LAYER_WEIGHT),
        differs(&[F::EmbeddingLora, F::HeadLora], "it is ignored", LAYER_WEIGHT),
        differs(&[F::ChangesBase], "the base model stays as it is", ADAPTER),
        differs(&[F::Key(VARIANTS)], "it is ignored", ADAPTER),
    ],
};

const MANAGER: &str = "lora_manager.py";

/// `get_default_trtllm_modules_to_hf_modules`
const TRT_MODULES: &[&str] = &[
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "down_proj", "up_proj", "gate_up_proj", "w1", "w2", "w3",
    "gate",
];

pub static TENSORRT_LLM: Runtime = Runtime {
    name: "TensorRT-LLM",
    aliases: &["tensorrt-llm", "trtllm"],
    version: "007e181",
    repository: "NVIDIA/TensorRT-LLM",
    maintenance: Maintenance::Active,
    folder: "tensorrt_llm/",
    reads: &[Format::Peft],
    source: MANAGER,
    memory: AdapterMemory::Tensors,
    rules: &[
        refuses(&[F::OtherMethod], "only LoRA is read", MANAGER),
        refuses(&[F::TypeOtherThan(TRT_MODULES)], "such modules are not in its list", MANAGER),
        refuses(&[F::SavedNorms, F::SavedOther], "whole weights in the layers are not read", MANAGER),
        refuses(&[F::Key(&["lora_bias"])], "biases of lora_B are not read", MANAGER),
        refuses(&[F::Bias], "trained biases are not read", MANAGER),
        refuses(&[F::Infix], "such names are not read", MANAGER).unless(R::Portable),
        refuses(&[F::UnknownBut(&["lm_head", "embed_tokens"])], "such names are not read", MANAGER).unless(R::Rewrite),
        refuses(&[F::BaseCopies], "such names are not read", MANAGER),
        refuses(&[F::Shards, F::OtherName], "no adapter_model is found", MANAGER).unless(R::Rewrite),
        differs(&[F::Key(&["use_dora"])],
            "the magnitudes are taken as already divided by the norms of the weights", MANAGER)
            .unless(R::Else("divide them first (`norm_dora_magnitude`)")),
        differs(&[F::AlphasDiffer], "it is ignored: alpha is lora_alpha for all", MANAGER).unless(R::Portable),
        differs(&[F::EmbeddingLora, F::HeadLora], "it is ignored", MANAGER),
        differs(&[F::SavedVocabulary], "used only of the adapter that the model is built with", MANAGER),
        differs(&[F::Tokens], "trained tokens are ignored", MANAGER),
        differs(&[F::ChangesBase], "the base model stays as it is", MANAGER),
        differs(&[F::Key(VARIANTS)], "it is ignored", MANAGER),
        loads(&[F::RankAbove(64)], "the default allows 64", MANAGER).unless(R::Serve("max_lora_rank", &[])),
    ],
};
