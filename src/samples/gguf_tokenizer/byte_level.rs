//! Byte-level BPE, GPT-2's kind of tokenizer.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::keys::TokenizerKeys;
use super::vocabulary::{self, Vocabulary};
use super::{TokenizerParts, missing, pre_tokenizers};

pub fn read(keys: &TokenizerKeys, vocabulary: &Vocabulary) -> Result<TokenizerParts, String> {
    let name = keys.string("pre")?;
    let pre = pre_tokenizers::named(name)
        .ok_or_else(|| format!("the GGUF pre-tokenizer `{}` is not supported", name.unwrap_or_default()))?;
    let listed = keys.strings("merges")?.ok_or_else(|| missing("merges"))?;
    vocabulary::within_limits(&listed, "merges")?;
    let merges = merges(&listed)?;
    let split = |pattern: &&str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    let steps: Vec<Value> = pre.splits.iter().map(split).chain([bytes]).collect();
    let json = Map::from_iter([
        ("pre_tokenizer".into(), json!({"type": "Sequence", "pretokenizers": steps})),
        (
            "decoder".into(),
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
        ),
        (
            "model".into(),
            json!({"type": "BPE", "ignore_merges": pre.traits.ignores_merges, "vocab": vocabulary.to_json(), "merges": merges}),
        ),
    ]);
    Ok(TokenizerParts { json, begins: pre.traits.begins })
}

/// The pairs of merges, best first. Of a pair that is there twice the first one counts, as in llama.cpp.
fn merges<'a>(merges: &[&'a str]) -> Result<Vec<(&'a str, &'a str)>, String> {
    let mut seen = HashSet::new();
    let mut pairs = Vec::with_capacity(merges.len());
    for merge in merges {
        // A token may begin with a space.
        let middle = merge.char_indices().skip(1).find(|(_, character)| *character == ' ');
        let (middle, _) = middle.ok_or_else(|| format!("the merge `{merge}` is not two tokens"))?;
        let pair = (&merge[..middle], &merge[middle + 1..]);
        if seen.insert(pair) {
            pairs.push(pair);
        }
    }
    Ok(pairs)
}
