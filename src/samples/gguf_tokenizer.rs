//! A tokenizer from the metadata of a GGUF file, as the `tokenizers` library would have read it from tokenizer.json.
//!
//! GGUF holds the vocabulary and the merges, but only the name of the way to split text (`tokenizer.ggml.pre`). The table here
//! spells it out for the supported families.

use serde_json::{Value, json};
use tokenizers::Tokenizer;

use crate::tensors::GgufMetadata;

/// The GGUF types of tokens that are matched as a whole in the text.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// Builds the tokenizer, or says why it cannot.
pub fn build(metadata: &GgufMetadata) -> Result<Tokenizer, String> {
    let missing = |key: &str| format!("`{key}` is missing");
    let tokens = metadata.strings("tokenizer.ggml.tokens").ok_or_else(|| missing("tokenizer.ggml.tokens"))?;
    let types = metadata.integers("tokenizer.ggml.token_type").unwrap_or_default();
    let kind = metadata.string("tokenizer.ggml.model").unwrap_or_default();
    let parts = match kind {
        "gpt2" => byte_level(metadata, &tokens)?,
        "llama" => sentencepiece(metadata, &tokens, &types)?,
        other => return Err(format!("the GGUF tokenizer model `{other}` is not supported")),
    };
    let added: Vec<Value> = (0..)
        .zip(&tokens)
        .zip(&types)
        .filter(|(_, kind)| [CONTROL, USER_DEFINED].contains(kind))
        .map(|((id, token), kind)| {
            let special = *kind == CONTROL;
            json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": special})
        })
        .collect();
    let mut tokenizer = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added});
    for (key, value) in parts {
        tokenizer[key] = value;
    }
    tokenizer["post_processor"] = post_processor(metadata, &tokens).unwrap_or(tokenizer["post_processor"].take());
    Tokenizer::from_bytes(tokenizer.to_string()).map_err(|error| error.to_string())
}

/// The parts of a tokenizer.json, by name.
type TokenizerParts = Vec<(&'static str, Value)>;

/// Byte-level BPE (GPT-2's kind).
fn byte_level(metadata: &GgufMetadata, tokens: &[&str]) -> Result<TokenizerParts, String> {
    let merges = metadata.strings("tokenizer.ggml.merges").ok_or("`tokenizer.ggml.merges` is missing")?;
    let pre = metadata.string("tokenizer.ggml.pre").unwrap_or("default");
    Ok(vec![
        ("normalizer", Value::Null),
        (
            "pre_tokenizer",
            pre_tokenizer(pre).ok_or_else(|| format!("the GGUF pre-tokenizer `{pre}` is not supported"))?,
        ),
        ("post_processor", Value::Null),
        ("decoder", json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true})),
        // Llama 3 keeps a word that is in the vocabulary whole, whatever the merges say.
        ("model", bpe(tokens, merges.into_iter().map(String::from).collect(), pre == "llama-bpe", None)),
    ])
}

/// How text is split before the merges.
fn pre_tokenizer(pre: &str) -> Option<Value> {
    let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": use_regex});
    let split = |pattern: &str| {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false}, bytes(false)]})
    };
    Some(match pre {
        "default" | "gpt-2" => bytes(true),
        "smollm" => {
            json!({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, bytes(true)]})
        }
        "llama-bpe" => split(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        "qwen2" => split(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        _ => return None,
    })
}

/// SentencePiece BPE (Llama 2's kind). GGUF holds scores instead of merges. As in the converters of transformers, every split of a
/// token into two tokens is a merge, and better scores come first.
fn sentencepiece(metadata: &GgufMetadata, tokens: &[&str], types: &[i64]) -> Result<TokenizerParts, String> {
    let scores = metadata.floats("tokenizer.ggml.scores").ok_or("`tokenizer.ggml.scores` is missing")?;
    let ids: std::collections::HashMap<&str, usize> =
        tokens.iter().enumerate().map(|(id, token)| (*token, id)).collect();
    let mut merges: Vec<(usize, usize, usize, String)> = Vec::new();
    for (id, token) in tokens.iter().enumerate().filter(|(id, _)| types.get(*id).is_none_or(|&kind| kind == 1)) {
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(&a), Some(&b)) = (ids.get(left), ids.get(right)) {
                merges.push((id, a, b, format!("{left} {right}")));
            }
        }
    }
    let score = |id: usize| scores.get(id).copied().unwrap_or(0.0);
    merges.sort_by(|x, y| score(y.0).total_cmp(&score(x.0)).then((x.1, x.2).cmp(&(y.1, y.2))));
    let prefix = metadata.boolean("tokenizer.ggml.add_space_prefix").unwrap_or(true);
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let normalizer = if prefix {
        json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]})
    } else {
        replace
    };
    let unknown = token_text(metadata, tokens, "unknown");
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    Ok(vec![
        ("normalizer", normalizer),
        ("pre_tokenizer", Value::Null),
        ("post_processor", Value::Null),
        ("decoder", json!({"type": "Sequence", "decoders": decoders})),
        ("model", bpe(tokens, merges.into_iter().map(|merge| merge.3).collect(), false, unknown)),
    ])
}

fn bpe(tokens: &[&str], merges: Vec<String>, ignore_merges: bool, unknown: Option<&str>) -> Value {
    let vocabulary: serde_json::Map<String, Value> =
        (0..).zip(tokens).map(|(id, t)| (t.to_string(), json!(id))).collect();
    let fallback = unknown.is_some();
    json!({"type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
           "end_of_word_suffix": null, "fuse_unk": fallback, "byte_fallback": fallback,
           "ignore_merges": ignore_merges, "vocab": vocabulary, "merges": merges})
}

/// The token that the tokenizer puts before every text, if it does so.
fn post_processor(metadata: &GgufMetadata, tokens: &[&str]) -> Option<Value> {
    let default = metadata.string("tokenizer.ggml.model") == Some("llama")
        || metadata.string("tokenizer.ggml.pre") == Some("llama-bpe");
    let add = metadata.boolean("tokenizer.ggml.add_bos_token").unwrap_or(default);
    let bos = token_text(metadata, tokens, "bos").filter(|_| add)?;
    let id = metadata.integer("tokenizer.ggml.bos_token_id")?;
    let (special, text) =
        (json!({"SpecialToken": {"id": bos, "type_id": 0}}), json!({"Sequence": {"id": "A", "type_id": 0}}));
    Some(json!({"type": "TemplateProcessing", "single": [special, text], "pair": [special, text],
                "special_tokens": {bos: {"id": bos, "ids": [id], "tokens": [bos]}}}))
}

/// The text of a token that the metadata names by its role: `bos`, `eos`, `unknown`.
pub fn token_text<'a>(metadata: &GgufMetadata, tokens: &[&'a str], role: &str) -> Option<&'a str> {
    let id = metadata.integer(&format!("tokenizer.ggml.{role}_token_id"))?;
    tokens.get(id as usize).copied()
}
