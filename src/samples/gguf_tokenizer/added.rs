//! The tokens that are matched as a whole in the text, before it is split.

use serde_json::{Value, json};

use super::keys::TokenizerKeys;
use super::vocabulary::{CONTROL, UNKNOWN, USER_DEFINED, Vocabulary};

/// Tokens that end a text or a turn. llama.cpp takes them for control tokens whatever type the file gives them.
const ENDS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// Tokens for infilling, by their role and its old name. llama.cpp takes them for control tokens if the file names none with that
/// role.
const INFILLING: &[(&[&str], &[&str])] = &[
    (
        &["fim_pre", "prefix"],
        &[
            "<|fim_prefix|>",
            "<fim-prefix>",
            "<fim_prefix>",
            "<｜fim▁begin｜>",
            "<PRE>",
            "▁<PRE>",
            "<|code_prefix|>",
            "<|prefix|>",
        ],
    ),
    (
        &["fim_suf", "suffix"],
        &[
            "<|fim_suffix|>",
            "<fim-suffix>",
            "<fim_suffix>",
            "<｜fim▁hole｜>",
            "<SUF>",
            "▁<SUF>",
            "<|code_suffix|>",
            "<|suffix|>",
        ],
    ),
    (
        &["fim_mid", "middle"],
        &[
            "<|fim_middle|>",
            "<fim-middle>",
            "<fim_middle>",
            "<｜fim▁end｜>",
            "<MID>",
            "▁<MID>",
            "<|code_middle|>",
            "<|middle|>",
        ],
    ),
    (&["fim_pad"], &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"]),
    (&["fim_rep"], &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"]),
    (&["fim_sep"], &["<|file_sep|>"]),
];

/// Names of Phi-3, whose special tokens swallow the space after them.
const PHI3: [&str; 2] = ["phi-3", "phi3"];

/// The special tokens of Phi-3 that do not.
const KEEP_SPACE: [&str; 3] = ["<unk>", "<s>", "<|endoftext|>"];

/// The added tokens of a tokenizer.json. The name of the model is what the file says.
pub fn tokens(keys: &TokenizerKeys, vocabulary: &Vocabulary, model: Option<&str>) -> Result<Value, String> {
    let is_phi3 = model.is_some_and(|name| PHI3.iter().any(|phi| name.to_lowercase().contains(phi)));
    let controls = controls(keys)?;
    let mut added = Vec::new();
    for ((id, token), &kind) in vocabulary.tokens.iter().enumerate().zip(&vocabulary.types) {
        let token = &**token;
        let special = [CONTROL, UNKNOWN].contains(&kind) || controls.contains(&token);
        if special || kind == USER_DEFINED {
            let swallows = is_phi3 && !KEEP_SPACE.contains(&token);
            added.push(json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": swallows,
                              "normalized": false, "special": special}));
        }
    }
    Ok(added.into())
}

/// The texts that are control tokens whatever their type.
fn controls(keys: &TokenizerKeys) -> Result<Vec<&'static str>, String> {
    let mut controls = ENDS.to_vec();
    for (roles, texts) in INFILLING {
        let mut named = false;
        for role in *roles {
            named |= keys.token(role)?.is_some();
        }
        if !named {
            controls.extend(*texts);
        }
    }
    Ok(controls)
}
