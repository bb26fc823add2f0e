//! Runtimes for one machine.

use super::{VARIANTS, VARIANTS_BUT_ACTIVATED, differs, loads, refuses};
use crate::audit::runtimes::facts::AdapterFact as F;
use crate::audit::runtimes::memory::AdapterMemory;
use crate::audit::runtimes::{Maintenance, Remedy as R, Runtime};
use crate::export::Format;

const CONVERTER: &str = "convert_lora_to_gguf.py";
const LLAMA_ADAPTER: &str = "src/llama-adapter.cpp";
const GGUF: R = R::Format(Format::Gguf);

pub static LLAMA_CPP: Runtime = Runtime {
    name: "llama.cpp",
    aliases: &["llama.cpp", "llama-cpp", "llamacpp"],
    version: "0c1e570",
    repository: "ggml-org/llama.cpp",
    maintenance: Maintenance::Active,
    folder: "",
    reads: &[Format::Gguf, Format::Peft],
    source: CONVERTER,
    memory: AdapterMemory::Tensors,
    rules: &[
        loads(&[F::Always],
            "read after its convert_lora_to_gguf.py, which needs torch and the base's config.json", CONVERTER).unless(GGUF),
        refuses(&[F::OtherMethod, F::Key(&["use_dora"]), F::Key(&["lora_bias"]), F::Bias, F::Tokens],
            "only lora_A and lora_B are converted", CONVERTER),
        refuses(&[F::SavedVocabulary], "a whole embedding or head is not converted", CONVERTER),
        refuses(&[F::SavedOther], "only lora_A and lora_B are converted", CONVERTER),
        differs(&[F::SavedNorms], "they are converted and then skipped when loaded", LLAMA_ADAPTER),
        refuses(&[F::Parameters], "experts without a number have no name there", CONVERTER),
        refuses(&[F::Infix], "only lora_A.weight and lora_B.weight are converted", CONVERTER).unless(R::Portable),
        refuses(&[F::UnknownBut(&[".base_layer.weight", "_layernorm", ".norm"])],
            "only lora_A and lora_B are converted", CONVERTER).unless(R::Rewrite),
        refuses(&[F::Shards, F::OtherName],
            "only adapter_model.safetensors and adapter_model.bin are read", CONVERTER).unless(R::Rewrite),
        refuses(&[F::Key(&["fan_in_fan_out"])],
            "the factors are transposed with the weights of GPT-2", "conversion/gpt2.py").unless(GGUF),
        differs(&[F::RankStabilised], "it is ignored: the scaling is alpha / rank", "src/llama-adapter.h")
            .unless(R::Portable),
        differs(&[F::AlphasDiffer], "it is ignored: alpha is lora_alpha for all", CONVERTER).unless(R::Portable),
        differs(&[F::ChangesBase], "the base model stays as it is", CONVERTER),
        differs(&[F::Key(VARIANTS_BUT_ACTIVATED)], "it is ignored", CONVERTER),
    ],
};

const CONVERT: &str = "convert/convert.go";
const LLAMA_CONVERT: &str = "convert/convert_llama_adapter.go";

/// The base models whose architecture is called `llama` in GGUF, and Gemma 2.
const OLLAMA_FAMILIES: &[&str] = &["llama", "mistral", "mixtral", "gemma2"];
const LLAMA_MODULES: &[&str] = &["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

pub static OLLAMA: Runtime = Runtime {
    name: "Ollama",
    aliases: &["ollama"],
    version: "0.33.0-rc2 (fb30760, 2026-08-21)",
    repository: "ollama/ollama",
    maintenance: Maintenance::Active,
    folder: "",
    reads: &[Format::Gguf, Format::Peft],
    source: CONVERT,
    memory: AdapterMemory::Unknown,
    rules: &[
        refuses(&[F::FamilyOtherThan(OLLAMA_FAMILIES)],
            "safetensors are imported for llama and gemma2 only", CONVERT).unless(GGUF),
        loads(&[F::FamilyUnknown], "safetensors are imported for llama and gemma2 only", CONVERT).unless(GGUF),
        differs(&[F::PermutedQueries],
            "on a base of the architecture llama its lora_A is reordered where lora_B should be", LLAMA_CONVERT)
            .unless(GGUF),
        refuses(&[F::OtherMethod], "only lora_A and lora_B are imported", LLAMA_CONVERT),
        refuses(&[F::Key(&["use_dora"]), F::Key(&["lora_bias"]), F::Bias, F::Tokens,
            F::SavedVocabulary, F::SavedNorms, F::SavedOther],
            "only lora_A and lora_B are loaded", LLAMA_CONVERT),
        refuses(&[F::EmbeddingLora], "only lora_A and lora_B are loaded", LLAMA_CONVERT).unless(GGUF),
        refuses(&[F::HeadLora, F::TypeOtherThan(LLAMA_MODULES)],
            "only attention and MLP are imported", LLAMA_CONVERT).unless(GGUF),
        refuses(&[F::StackOtherThan("model.layers")], "such names are not imported", LLAMA_CONVERT).unless(GGUF),
        refuses(&[F::Infix], "such names are not imported", LLAMA_CONVERT).unless(R::Portable),
        refuses(&[F::Pickle], "only safetensors are imported", "convert/reader.go").unless(R::Rewrite),
        refuses(&[F::FractionalAlpha], "it is read as a whole number", CONVERT).unless(R::Portable),
        differs(&[F::RankStabilised], "it is ignored: the scaling is alpha / rank", CONVERT).unless(R::Portable),
        differs(&[F::AlphasDiffer], "it is ignored: alpha is lora_alpha for all", CONVERT).unless(R::Portable),
        differs(&[F::ChangesBase], "the base model stays as it is", CONVERT),
        differs(&[F::Key(VARIANTS)], "it is ignored", CONVERT),
    ],
};

pub static MLX_LM: Runtime = Runtime {
    name: "MLX-LM",
    aliases: &["mlx-lm", "mlx"],
    version: "0.32.2",
    repository: "ml-explore/mlx-lm",
    maintenance: Maintenance::Active,
    folder: "mlx_lm/",
    reads: &[Format::Mlx],
    source: "tuner/utils.py",
    memory: AdapterMemory::Unknown,
    rules: &[],
};

const QUANT_LORA: &str = "mistralrs-quant/src/lora/mod.rs";
const LOADER: &str = "mistralrs-quant/src/lora/dynamic/loader.rs";
const RUNTIME: &str = "mistralrs-core/src/adapter/runtime.rs";

pub static MISTRAL_RS: Runtime = Runtime {
    name: "mistral.rs",
    aliases: &["mistral.rs", "mistralrs"],
    version: "0.9.2 (9e92262, 2026-08-22; dynamic LoRA)",
    repository: "EricLBuehler/mistral.rs",
    maintenance: Maintenance::Active,
    folder: "",
    reads: &[Format::Peft],
    source: RUNTIME,
    memory: AdapterMemory::Tensors,
    rules: &[
        refuses(&[F::OtherMethod], "only LoRA is read", QUANT_LORA),
        refuses(&[F::Key(&["use_dora"])], "DoRA is not supported", QUANT_LORA),
        refuses(&[F::Key(&["lora_bias"])], "biases of lora_B are not supported", QUANT_LORA),
        refuses(&[F::Bias], "trained biases are not supported", QUANT_LORA),
        refuses(&[F::Key(&["modules_to_save"])], "saved modules are not supported", QUANT_LORA),
        refuses(&[F::Key(&["trainable_token_indices"])], "trained tokens are not supported", QUANT_LORA),
        refuses(&[F::ChangesBase, F::LoraGa], "it fits only a base model that was changed with it", QUANT_LORA),
        refuses(&[F::Key(&["alora_invocation_tokens", "use_qalora", "layer_replication",
            "use_bdlora", "arrow_config", "monteclora_config", "ensure_weight_tying", "megatron_config"])],
            "that is not supported", QUANT_LORA),
        refuses(&[F::NullTargets], "`target_modules` must not be empty", QUANT_LORA).unless(R::Portable),
        differs(&[F::Key(&["kasa_config"])], "it is ignored", QUANT_LORA),
        refuses(&[F::ParametersOtherThan(&["experts.gate_up_proj", "experts.down_proj"])],
            "only those of experts are read", QUANT_LORA),
        refuses(&[F::HeadLora], "LoRA on the head is not supported", LOADER),
        refuses(&[F::EmbeddingLora, F::SavedVocabulary, F::SavedNorms, F::Bare],
            "tensors that belong to no linear layer are refused", LOADER),
        refuses(&[F::Towers], "tensors that belong to no linear layer of the text model are refused", LOADER),
        refuses(&[F::Convolution], "only matrices are read", LOADER),
        refuses(&[F::Pickle, F::Shards, F::OtherName], "adapter_model.safetensors is needed", RUNTIME).unless(R::Rewrite),
        loads(&[F::RankAbove(256)], "the default allows 256", RUNTIME).unless(R::Serve("--lora-max-rank", &[])),
    ],
};

const OV_ADAPTER: &str = "adapter.cpp";

pub static OPENVINO: Runtime = Runtime {
    name: "OpenVINO GenAI",
    aliases: &["openvino", "openvino-genai"],
    version: "2026.1 (da1db86, 2026-08-21)",
    repository: "openvinotoolkit/openvino.genai",
    maintenance: Maintenance::Active,
    folder: "src/cpp/src/lora/",
    reads: &[Format::Peft],
    source: OV_ADAPTER,
    memory: AdapterMemory::Unknown,
    rules: &[
        differs(&[F::OtherMethod], "only lora_A and lora_B are read", OV_ADAPTER),
        refuses(&[F::Pickle], "only a safetensors file is read", OV_ADAPTER).unless(R::Rewrite),
        refuses(&[F::Shards], "only one file is read", OV_ADAPTER).unless(R::Rewrite),
        differs(&[F::Infix], "such names are ignored, so that nothing is applied", OV_ADAPTER).unless(R::Portable),
        differs(&[F::ScalingsDiffer], "one alpha, given by the caller, is used for all", OV_ADAPTER).unless(R::Portable),
        loads(&[F::ScalingNotOne],
            "adapter_config.json is not read", OV_ADAPTER)
            .unless(R::Else("give this scaling as alpha: `AdapterConfig(adapter, alpha)`")),
        differs(&[F::Key(&["use_dora"])], "the magnitudes are ignored", OV_ADAPTER),
        differs(&[F::Key(&["lora_bias"])], "biases of lora_B are ignored", OV_ADAPTER),
        differs(&[F::Bias], "trained biases are ignored", OV_ADAPTER),
        differs(&[F::SavedNorms], "whole norms are ignored", OV_ADAPTER),
        differs(&[F::SavedOther], "whole modules are ignored", OV_ADAPTER),
        differs(&[F::Tokens], "trained tokens are ignored", OV_ADAPTER),
        differs(&[F::EmbeddingLora], "it is ignored", OV_ADAPTER),
        differs(&[F::Parameters], "they are ignored", OV_ADAPTER),
        differs(&[F::ChangesBase], "the base model stays as it is", OV_ADAPTER),
        differs(&[F::Key(VARIANTS)], "it is ignored", OV_ADAPTER),
    ],
};

const EXL2: &str = "lora.py";

pub static EXLLAMAV2: Runtime = Runtime {
    name: "exllamav2",
    aliases: &["exllamav2", "exl2"],
    version: "0.3.2",
    repository: "turboderp-org/exllamav2",
    maintenance: Maintenance::Dormant,
    folder: "exllamav2/",
    reads: &[Format::Peft],
    source: EXL2,
    memory: AdapterMemory::Unknown,
    rules: &[
        refuses(&[F::OtherMethod, F::Key(&["use_dora"]), F::Key(&["lora_bias"])], "only lora_A and lora_B are read", EXL2),
        refuses(&[F::Bias], "only biases of zeros are read", EXL2),
        refuses(&[F::Key(&["fan_in_fan_out"])], "that is not supported", EXL2),
        refuses(&[F::SavedNorms, F::SavedOther], "only whole embeddings and heads are read", EXL2),
        refuses(&[F::Tokens], "trained tokens are not read", EXL2),
        refuses(&[F::EmbeddingLora, F::HeadLora], "only modules in the layers are read", EXL2),
        refuses(&[F::Parameters], "such names are not read", EXL2),
        refuses(&[F::StackOtherThan("model.layers")], "only `model.layers` is read", EXL2),
        refuses(&[F::Infix], "such names are not read", EXL2).unless(R::Portable),
        refuses(&[F::Shards, F::OtherName],
            "only adapter_model.safetensors and adapter_model.bin are read", EXL2).unless(R::Rewrite),
        differs(&[F::RanksDiffer], "the scaling is lora_alpha / r for all", EXL2).unless(R::Portable),
        differs(&[F::AlphasDiffer], "it is ignored: the scaling is lora_alpha / r for all", EXL2).unless(R::Portable),
        differs(&[F::ChangesBase], "the base model stays as it is", EXL2),
        differs(&[F::Key(VARIANTS)], "it is ignored", EXL2),
    ],
};
