//! Which of the files beside an adapter are copied with it: by their names here, by what they are in `folder.rs`.

mod folder;

use crate::adapter::config;
use crate::files::REPORT_NAME;
pub use folder::{LARGEST as LARGEST_SIDECAR, NotCopied, NotCopiedReason, Sidecars};

/// What becomes of a file or folder beside the adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sidecar {
    /// Whoever uses the adapter needs it.
    Copied,
    /// Weights, the state of training, or something that is written anew.
    NotOfTheAdapter,
    /// Unknown, so that the user is told.
    Left,
}

const COPIED: [&str; 20] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "vocab.bpe",
    "merges.txt",
    "bpe.codes",
    "tekken.json",
    "normalizer.json",
    "chat_template.json",
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "image_processor_config.json",
    "video_preprocessor_config.json",
    "audio_tokenizer_config.json",
    "tokenizer_class.json",
];

/// Endings of tokenizers and templates.
const COPIED_ENDINGS: [&str; 4] = [".jinja", ".model", ".tiktoken", ".spm"];

/// Beginnings of documents, in capitals. They may end in a form of text.
const DOCUMENTS: [&str; 7] = ["README", "LICENSE", "LICENCE", "NOTICE", "COPYING", "USE_POLICY", "MODEL_CARD"];
const TEXT_ENDINGS: [&str; 3] = ["md", "txt", "rst"];

/// Beginnings of what the trainers leave that people use most.
const TRAINING_STATE: [&str; 12] = [
    "optimizer",
    "scheduler",
    "scaler",
    "rng_state",
    "trainer_state",
    "training_args",
    "events.out",
    "checkpoint",
    "global_step",
    "runs",
    "logs",
    "wandb",
];
const WEIGHTS: [&str; 8] = [".safetensors", ".safetensors.index.json", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".npz"];

/// What becomes of the file or folder `name`.
pub fn of(name: &str, is_folder: bool) -> Sidecar {
    let is_known = [config::FILE_NAME, REPORT_NAME].contains(&name)
        || name.starts_with('.')
        || TRAINING_STATE.iter().any(|beginning| name.starts_with(beginning))
        || !is_folder && WEIGHTS.iter().any(|ending| name.ends_with(ending));
    // A tokenizer in custom code is a module of this name.
    let is_code = name.starts_with("tokenization_") && name.ends_with(".py");
    let is_copied = COPIED.contains(&name) || COPIED_ENDINGS.iter().any(|ending| name.ends_with(ending));
    match (is_known, is_folder) {
        (true, _) => Sidecar::NotOfTheAdapter,
        (_, false) if is_copied || is_code || is_document(name) => Sidecar::Copied,
        _ => Sidecar::Left,
    }
}

fn is_document(name: &str) -> bool {
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, "txt"));
    let stem = stem.to_uppercase();
    TEXT_ENDINGS.contains(&ending) && DOCUMENTS.iter().any(|beginning| stem.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_is_copied() {
        let copied = [
            "README.md",
            "README",
            "LICENSE-APACHE",
            "license.txt",
            "tokenizer.json",
            "tokenizer.model",
            "chat_template.jinja",
            "qwen.tiktoken",
            "special_tokens_map.json",
            "tokenization_qwen.py",
        ];
        for name in copied {
            assert_eq!(of(name, false), Sidecar::Copied, "{name}");
        }
        for name in
            ["adapter_config.json", "adapter_model.bin", "optimizer.pt", "slim_report.json", ".git", "events.out.1"]
        {
            assert_eq!(of(name, false), Sidecar::NotOfTheAdapter, "{name}");
        }
        let left = [
            "adapter_model.safetensors.bak",
            "README.md.bak",
            "merged.tar.gz",
            "pytorch_model_fsdp.distcp",
            "latest",
            "zero_to_fp32.py",
            "train.log",
            "data.jsonl",
        ];
        for name in left {
            assert_eq!(of(name, false), Sidecar::Left, "{name}");
        }
        assert_eq!(of("additional_chat_templates", true), Sidecar::Left);
        assert_eq!(of("checkpoint-500", true), Sidecar::NotOfTheAdapter);
    }
}
