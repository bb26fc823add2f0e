//! SentencePiece BPE, Llama 2's kind of tokenizer.

use serde_json::{Map, Value, json};

use super::keys::TokenizerKeys;
use super::splits::TokenSplits;
use super::vocabulary::{self, Vocabulary};
use super::{TokenizerParts, missing};

pub fn read(keys: &TokenizerKeys, vocabulary: &Vocabulary) -> Result<TokenizerParts, String> {
    let scores = keys.numbers("scores")?.ok_or_else(|| missing("scores"))?;
    vocabulary::at_least(&scores, "scores", vocabulary.tokens.len())?;
    let unknown = vocabulary.role(keys, "unknown")?.and_then(|id| vocabulary.text(id));
    let prefix = keys.boolean("add_space_prefix")?.unwrap_or(true);
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let normalizer = if prefix {
        json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]})
    } else {
        replace
    };
    let json = Map::from_iter([
        ("normalizer".into(), normalizer),
        ("decoder".into(), decoder(prefix)),
        (
            "model".into(),
            json!({"type": "BPE", "unk_token": unknown, "fuse_unk": true, "byte_fallback": true,
                   "vocab": vocabulary.to_json(), "merges": merges(vocabulary, &scores)?}),
        ),
    ]);
    Ok(TokenizerParts { json, begins: true })
}

fn decoder(prefix: bool) -> Value {
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": decoders})
}

/// GGUF holds scores instead of merges. As in the converters of transformers, every split of a token into two tokens is a merge,
/// and better scores come first.
fn merges<'a>(vocabulary: &'a Vocabulary, scores: &[f32]) -> Result<Vec<(&'a str, &'a str)>, String> {
    let mut splits = TokenSplits::of(vocabulary.ids());
    let mut merges = Vec::new();
    for (score, token) in scores.iter().zip(&vocabulary.tokens) {
        for [(first, left), (second, right)] in splits.of_token(token)? {
            merges.push((score, (first, second), (left, right)));
        }
    }
    merges.sort_by(|x, y| y.0.total_cmp(x.0).then(x.1.cmp(&y.1)));
    Ok(merges.into_iter().map(|(_, _, pair)| pair).collect())
}
