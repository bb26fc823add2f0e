//! Runtimes for one machine.

use super::{VARIANTS, VARIANTS_BUT_ACTIVATED, differs, loads, refuses};
use crate::audit::runtimes::facts::AdapterFact as F;
use crate::audit::runtimes::{Remedy as R, Runtime};
use crate::export::Format;

const CONVERTER: &str = "convert_lora_to_gguf.py";
const LLAMA_ADAPTER: &str = "src/llama-adapter.cpp";
const GGUF: R = R::Format(Format::Gguf);

pub static LLAMA_CPP: Runtime = Runtime {
    name: "llama.cpp",
    aliases: &["llama.cpp", "llama-cpp", "llamacpp"],
    version: "0c1e570",
    repository: "ggml-org/llama.cpp",
    folder: "",
    reads: &[Format::Gguf, Format::Peft],
    source: CONVERTER,
    rules: &[
        loads(
            &[F::Always],
            "read after its convert_lora_to_gguf.py, which needs torch and the base's config.json",
            GGUF,
            CONVERTER,
        ),
        refuses(
            &[F::OtherMethod, F::Key(&["use_dora"]), F::Key(&["lora_bias"]), F::Bias, F::Tokens],
            "only lora_A and lora_B are converted",
            R::None,
            CONVERTER,
        ),
        refuses(&[F::SavedVocabulary], "a whole embedding or head is not converted", R::None, CONVERTER),
        refuses(&[F::SavedOther], "only lora_A and lora_B are converted", R::None, CONVERTER),
        differs(&[F::SavedNorms], "they are converted and then skipped when loaded", R::None, LLAMA_ADAPTER),
        refuses(&[F::Parameters], "experts without a number have no name there", R::None, CONVERTER),
        refuses(&[F::Infix], "only lora_A.weight and lora_B.weight are converted", R::Portable, CONVERTER),
        refuses(
            &[F::Shards, F::OtherName],
            "only adapter_model.safetensors and adapter_model.bin are read",
            R::Rewrite,
            CONVERTER,
        ),
        refuses(
            &[F::Key(&["fan_in_fan_out"])],
            "the factors are transposed with the weights of GPT-2",
            GGUF,
            "conversion/gpt2.py",
        ),
        differs(&[F::RankStabilised], "it is ignored: the scaling is alpha / rank", R::Portable, "src/llama-adapter.h"),
        differs(&[F::AlphasDiffer], "it is ignored: alpha is lora_alpha for all", R::Portable, CONVERTER),
        differs(&[F::ChangesBase], "the base model stays as it is", R::None, CONVERTER),
        differs(&[F::Key(VARIANTS_BUT_ACTIVATED)], "it is ignored", R::None, CONVERTER),
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
    folder: "",
    reads: &[Format::Gguf, Format::Peft],
    source: CONVERT,
    rules: &[
        refuses(
            &[F::FamilyOtherThan(OLLAMA_FAMILIES)],
            "safetensors are imported for llama and gemma2 only",
            GGUF,
            CONVERT,
        ),
        loads(&[F::FamilyUnknown], "safetensors are imported for llama and gemma2 only", GGUF, CONVERT),
        differs(
            &[F::PermutedQueries],
            "on a base of the architecture llama its lora_A is reordered where lora_B should be",
            GGUF,
            LLAMA_CONVERT,
        ),
        refuses(&[F::OtherMethod], "only lora_A and lora_B are imported", R::None, LLAMA_CONVERT),
        refuses(
            &[
                F::Key(&["use_dora"]),
                F::Key(&["lora_bias"]),
                F::Bias,
                F::Tokens,
                F::SavedVocabulary,
                F::SavedNorms,
                F::SavedOther,
            ],
            "only lora_A and lora_B are loaded",
            R::None,
            LLAMA_CONVERT,
        ),
        refuses(&[F::EmbeddingLora], "only lora_A and lora_B are loaded", GGUF, LLAMA_CONVERT),
        refuses(
            &[F::HeadLora, F::TypeOtherThan(LLAMA_MODULES)],
            "only attention and MLP are imported",
            GGUF,
            LLAMA_CONVERT,
        ),
        refuses(&[F::StackOtherThan("model.layers")], "such names are not imported", GGUF, LLAMA_CONVERT),
        refuses(&[F::Infix], "such names are not imported", R::Portable, LLAMA_CONVERT),
        refuses(&[F::Pickle], "only safetensors are imported", R::Rewrite, "convert/reader.go"),
        refuses(&[F::FractionalAlpha], "it is read as a whole number", R::Portable, CONVERT),
        differs(&[F::RankStabilised], "it is ignored: the scaling is alpha / rank", R::Portable, CONVERT),
        differs(&[F::AlphasDiffer], "it is ignored: alpha is lora_alpha for all", R::Portable, CONVERT),
        differs(&[F::ChangesBase], "the base model stays as it is", R::None, CONVERT),
        differs(&[F::Key(VARIANTS)], "it is ignored", R::None, CONVERT),
    ],
};

pub static MLX_LM: Runtime = Runtime {
    name: "MLX-LM",
    aliases: &["mlx-lm", "mlx"],
    version: "0.32.2",
    repository: "ml-explore/mlx-lm",
    folder: "mlx_lm/",
    reads: &[Format::Mlx],
    source: "tuner/utils.py",
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
    folder: "",
    reads: &[Format::Peft],
    source: RUNTIME,
    rules: &[
        refuses(&[F::OtherMethod], "only LoRA is read", R::None, QUANT_LORA),
        refuses(&[F::Key(&["use_dora"])], "DoRA is not supported", R::None, QUANT_LORA),
        refuses(&[F::Key(&["lora_bias"])], "biases of lora_B are not supported", R::None, QUANT_LORA),
        refuses(&[F::Bias], "trained biases are not supported", R::None, QUANT_LORA),
        refuses(&[F::Key(&["modules_to_save"])], "saved modules are not supported", R::None, QUANT_LORA),
        refuses(&[F::Key(&["trainable_token_indices"])], "trained tokens are not supported", R::None, QUANT_LORA),
        refuses(
            &[F::ChangesBase, F::LoraGa],
            "it fits only a base model that was changed with it",
            R::None,
            QUANT_LORA,
        ),
        refuses(
            &[F::Key(&[
                "alora_invocation_tokens",
                "use_qalora",
                "layer_replication",
                "use_bdlora",
                "arrow_config",
                "monteclora_config",
                "ensure_weight_tying",
            ])],
            "that is not supported",
            R::None,
            QUANT_LORA,
        ),
        differs(&[F::Key(&["kasa_config"])], "it is ignored", R::None, QUANT_LORA),
        refuses(
            &[F::ParametersOtherThan(&["experts.gate_up_proj", "experts.down_proj"])],
            "only those of experts are read",
            R::None,
            QUANT_LORA,
        ),
        refuses(&[F::HeadLora], "LoRA on the head is not supported", R::None, LOADER),
        refuses(
            &[F::EmbeddingLora, F::SavedVocabulary, F::SavedNorms, F::Bare],
            "tensors that belong to no linear layer are refused",
            R::None,
            LOADER,
        ),
        refuses(&[F::Towers], "tensors that belong to no linear layer of the text model are refused", R::None, LOADER),
        refuses(&[F::NotNamed], "such tensors are refused", R::Else("name the modules that have tensors"), LOADER),
        refuses(&[F::Convolution], "only matrices are read", R::None, LOADER),
        refuses(&[F::Pickle, F::Shards, F::OtherName], "adapter_model.safetensors is needed", R::Rewrite, RUNTIME),
        loads(&[F::RankAbove(256)], "the default allows 256", R::Serve("--lora-max-rank", &[]), RUNTIME),
    ],
};

const OV_ADAPTER: &str = "adapter.cpp";

pub static OPENVINO: Runtime = Runtime {
    name: "OpenVINO GenAI",
    aliases: &["openvino", "openvino-genai"],
    version: "2026.1 (da1db86, 2026-08-21)",
    repository: "openvinotoolkit/openvino.genai",
    folder: "src/cpp/src/lora/",
    reads: &[Format::Peft],
    source: OV_ADAPTER,
    rules: &[
        differs(&[F::OtherMethod], "only lora_A and lora_B are read", R::None, OV_ADAPTER),
        refuses(&[F::Pickle], "only a safetensors file is read", R::Rewrite, OV_ADAPTER),
        refuses(&[F::Shards], "only one file is read", R::Rewrite, OV_ADAPTER),
        differs(&[F::Infix], "such names are ignored, so that nothing is applied", R::Portable, OV_ADAPTER),
        differs(&[F::ScalingsDiffer], "one alpha, given by the caller, is used for all", R::Portable, OV_ADAPTER),
        loads(
            &[F::ScalingNotOne],
            "adapter_config.json is not read",
            R::Else("give this scaling as alpha: `AdapterConfig(adapter, alpha)`"),
            OV_ADAPTER,
        ),
        differs(&[F::Key(&["use_dora"])], "the magnitudes are ignored", R::None, OV_ADAPTER),
        differs(&[F::Key(&["lora_bias"])], "biases of lora_B are ignored", R::None, OV_ADAPTER),
        differs(&[F::Bias], "trained biases are ignored", R::None, OV_ADAPTER),
        differs(&[F::SavedNorms], "whole norms are ignored", R::None, OV_ADAPTER),
        differs(&[F::SavedOther], "whole modules are ignored", R::None, OV_ADAPTER),
        differs(&[F::Tokens], "trained tokens are ignored", R::None, OV_ADAPTER),
        differs(&[F::EmbeddingLora], "it is ignored", R::None, OV_ADAPTER),
        differs(&[F::Parameters], "they are ignored", R::None, OV_ADAPTER),
        differs(&[F::ChangesBase], "the base model stays as it is", R::None, OV_ADAPTER),
        differs(&[F::Key(VARIANTS)], "it is ignored", R::None, OV_ADAPTER),
    ],
};

const EXL2: &str = "lora.py";

pub static EXLLAMAV2: Runtime = Runtime {
    name: "exllamav2",
    aliases: &["exllamav2", "exl2"],
    version: "0.3.2",
    repository: "turboderp-org/exllamav2",
    folder: "exllamav2/",
    reads: &[Format::Peft],
    source: EXL2,
    rules: &[
        refuses(
            &[F::OtherMethod, F::Key(&["use_dora"]), F::Key(&["lora_bias"])],
            "only lora_A and lora_B are read",
            R::None,
            EXL2,
        ),
        refuses(&[F::Bias], "only biases of zeros are read", R::None, EXL2),
        refuses(&[F::Key(&["fan_in_fan_out"])], "that is not supported", R::None, EXL2),
        refuses(&[F::SavedNorms, F::SavedOther], "only whole embeddings and heads are read", R::None, EXL2),
        refuses(&[F::Tokens], "trained tokens are not read", R::None, EXL2),
        refuses(&[F::EmbeddingLora, F::HeadLora], "only modules in the layers are read", R::None, EXL2),
        refuses(&[F::Parameters], "such names are not read", R::None, EXL2),
        refuses(&[F::StackOtherThan("model.layers")], "only `model.layers` is read", R::None, EXL2),
        refuses(&[F::Infix], "such names are not read", R::Portable, EXL2),
        refuses(
            &[F::Shards, F::OtherName],
            "only adapter_model.safetensors and adapter_model.bin are read",
            R::Rewrite,
            EXL2,
        ),
        differs(&[F::RanksDiffer], "the scaling is lora_alpha / r for all", R::Portable, EXL2),
        differs(&[F::AlphasDiffer], "it is ignored: the scaling is lora_alpha / r for all", R::Portable, EXL2),
        differs(&[F::ChangesBase], "the base model stays as it is", R::None, EXL2),
        differs(&[F::Key(VARIANTS)], "it is ignored", R::None, EXL2),
    ],
};
