//! Errors of the base model.

use std::path::PathBuf;

use super::Kind;
use super::adapter::CUT_A_SIDE;
use crate::format::plural;

/// What was looked for under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sought {
    Adapter,
    Base,
}

/// What a name that stands for nothing on this machine looks like, which decides what to advise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameForm {
    /// It can only be a path.
    Path,
    /// A name on the Hugging Face Hub, and the command that downloads what it stands for.
    Hub { download: String },
    /// An address, and the name on the hub if it stands for one.
    Address { name: Option<String> },
}

/// Finding the base model, reading its configuration, and matching an adapter with it.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    #[error("the adapter `{}` does not name its base model", adapter.display())]
    Unnamed { adapter: PathBuf },
    #[error("`{name}` is neither a local path nor in the Hugging Face cache `{}`", cache.display())]
    NotFound { name: String, cache: PathBuf, sought: Sought, form: NameForm },
    #[error("the Hugging Face cache holds `{name}`, but not its revision `{revision}`")]
    NoRevision { name: String, revision: String },
    #[error("`{}` has the architecture `{architecture}`, whose GGUF names are not known", path.display())]
    NoGgufFamily { path: PathBuf, architecture: String },
    #[error("the table of GGUF names cannot be read: {source}")]
    FamilyTable { source: serde_json::Error },
    #[error("`{}` is not a base model: {reason}", path.display())]
    NotAModel { path: PathBuf, reason: String },
    #[error("`{}` has the model type `{model_type}`, which is not supported yet", path.display())]
    UnsupportedFamily { path: PathBuf, model_type: String },
    #[error("`{}` is quantised ({method}): its weights cannot be read as numbers", path.display())]
    Quantised { path: PathBuf, method: String },
    #[error("`{}` has no `quantization_config`, and the weights beside it are quantised ({encoding})", path.display())]
    NoQuantisation { path: PathBuf, encoding: String },
    #[error("`{}` uses {feature}, which is not supported yet", path.display())]
    UnsupportedFeature { path: PathBuf, feature: String },
    #[error("`{key}` in the configuration of `{}` {problem}", path.display())]
    Config { path: PathBuf, key: String, problem: &'static str },
    #[error("adapter module `{module}` does not exist in the base model `{}`", base.display())]
    NoSuchModule { base: PathBuf, module: String },
    #[error(
        "adapter module `{module}` maps {adapter_in} to {adapter_out} values, but in the base model `{}` it maps {base_in} to {base_out}",
        base.display()
    )]
    ModuleShape {
        base: PathBuf,
        module: String,
        adapter_in: usize,
        adapter_out: usize,
        base_in: usize,
        base_out: usize,
    },
    #[error("the adapter reaches layer {layer}, but the base model `{}` has {}", base.display(), plural(*layers, "layer"))]
    TooFewLayers { base: PathBuf, layer: usize, layers: usize },
    #[error("`{}` names another base model (`{name}`) than `{}`, and a server has one", adapter.display(), first.display())]
    Another { adapter: PathBuf, name: String, first: PathBuf },
}

impl BaseError {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::FamilyTable { .. } => Kind::Internal,
            _ => Kind::BadInput,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unnamed { .. } => "name the base model with `--base`".into(),
            Self::NotFound { name, sought: Sought::Base, form: NameForm::Hub { download }, .. }
                if full_precision(name).is_some() =>
            {
                let full = full_precision(name).unwrap_or_default();
                format!(
                    "download it (`{download}`); it is quantised, and `hf download {full}` with `--base {full}`, the model in full \
                     precision that it was probably made of, leads to other losses, but to about the same boundary"
                )
            }
            Self::NotFound { sought, form, .. } => missing(*sought, form),
            Self::NoRevision { name, revision } => {
                format!("download it (`hf download {name} --revision {revision}`), or point `--base` at a local folder")
            }
            Self::NoGgufFamily { .. } => {
                "leave out `--format gguf`, and try llama.cpp's own convert_lora_to_gguf.py".into()
            }
            Self::UnsupportedFamily { model_type, .. } if ENCODER_DECODERS.contains(&model_type.as_str()) => {
                format!("it has an encoder and a decoder, and lora-slim evaluates decoders alone: {CUT_A_SIDE}")
            }
            Self::UnsupportedFamily { .. } => {
                "docs/families.md lists those that are; `lora-slim cut --boundary N` works for any family".into()
            }
            Self::Quantised { .. } => "point `--base` at the full-precision model, or at a GGUF file of it".into(),
            Self::NoQuantisation { .. } => {
                "copy the key from the model that the folder was made of; GPTQ's is all of `quantize_config.json`"
                    .into()
            }
            Self::UnsupportedFeature { .. } => "use `lora-slim cut --boundary N`, which does not evaluate".into(),
            Self::NoSuchModule { .. } | Self::ModuleShape { .. } | Self::TooFewLayers { .. } => {
                "check that the adapter was trained on this base model".into()
            }
            Self::Another { .. } => "plan them apart, or name the model that the server runs with `--base`".into(),
            Self::FamilyTable { .. } | Self::NotAModel { .. } | Self::Config { .. } => return None,
        };
        Some(hint)
    }
}

/// The model types of transformers with an encoder and a decoder that adapters are trained for.
#[rustfmt::skip]
const ENCODER_DECODERS: [&str; 34] = [
    "bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "encoder-decoder", "florence2", "fsmt", "led", "longt5",
    "m2m_100", "marian", "mbart", "moonshine", "moonshine_streaming", "mt5", "mvp", "nllb-moe", "pegasus", "pegasus_x", "plbart", "prophetnet", "seamless_m4t",
    "seamless_m4t_v2", "speech-encoder-decoder", "speech_to_text", "speecht5", "switch_transformers",
    "t5", "t5gemma", "t5gemma2", "udop", "umt5", "vision-encoder-decoder", "whisper",
];

/// What to do about a name that stands for nothing on this machine.
fn missing(sought: Sought, form: &NameForm) -> String {
    let place = match sought {
        Sought::Adapter => "the folder that PEFT's `save_pretrained` wrote",
        Sought::Base => "a local folder or GGUF file with `--base`",
    };
    match form {
        NameForm::Address { name: Some(name) } => format!("write its name on the hub, `{name}`"),
        NameForm::Address { name: None } => format!("addresses are not read; download it, and name {place}"),
        NameForm::Hub { download } => {
            let online = match cfg!(feature = "hub") {
                true => ", which lora-slim does itself without `--offline` and `HF_HUB_OFFLINE`",
                false => "",
            };
            format!("check the name, and download it (`{download}`){online}; or name {place}")
        }
        NameForm::Path => format!("check the path; name {place}, or ORG/NAME on the Hugging Face Hub"),
    }
}

/// What the names of quantised models end with on the Hugging Face Hub, in lower case. Longer endings come first.
const QUANTISED: [&str; 12] = [
    "-unsloth-bnb-4bit",
    "-bnb-4bit",
    "-bnb-8bit",
    "-gptq-int4",
    "-gptq-int8",
    "-awq-int4",
    "-gptq",
    "-awq",
    "-fp8-dynamic",
    "-fp8",
    "-int4",
    "-int8",
];

/// The repository that a quantised model was made of, by the names that most publishers give: the same without the ending.
pub(super) fn full_precision(name: &str) -> Option<&str> {
    let lower = name.to_lowercase();
    let is_name = name.split('/').count() == 2 && !name.starts_with(['/', '.']);
    let ending = QUANTISED.iter().find(|ending| is_name && name.is_ascii() && lower.ends_with(*ending))?;
    Some(&name[..name.len() - ending.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantised_models_are_known_by_their_names() {
        for (name, full) in [
            ("unsloth/llama-3-8b-Instruct-bnb-4bit", Some("unsloth/llama-3-8b-Instruct")),
            ("unsloth/Qwen3-8B-unsloth-bnb-4bit", Some("unsloth/Qwen3-8B")),
            ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", Some("Qwen/Qwen2.5-7B-Instruct")),
            ("Qwen/Qwen3-8B-FP8", Some("Qwen/Qwen3-8B")),
            ("Qwen/Qwen3-8B", None),
            ("/models/x-bnb-4bit", None),
            ("x-bnb-4bit", None),
        ] {
            assert_eq!(full_precision(name), full, "{name}");
        }
    }
}
