//! Tokens that the files beside a tokenizer.json add to it: special ones that it does not know as such, and those of
//! `added_tokens_decoder` and `added_tokens.json`. Without them a text with such a token would be split into other tokens, without
//! a word. As in transformers' `TokenizersBackend`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::chat_files;
use super::template::SpecialTokens;
use super::tokenizer::Tokenizer;
use crate::error::Result;
use crate::files;

/// Keys of lists of special tokens without a name.
const LISTS: [&str; 2] = ["extra_special_tokens", "additional_special_tokens"];

/// Adds what tokenizer_config.json (`config`) and the files beside it have to the tokenizer in `file`.
pub fn complete(
    tokenizer: &mut Tokenizer,
    config: &Map<String, Value>,
    named: &SpecialTokens,
    file: &Path,
) -> Result<()> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let known: HashMap<&str, &AddedToken> =
        tokenizer.facts().added.values().map(|token| (token.content.as_str(), token)).collect();
    let is_unknown = |token: &AddedToken| known.get(token.content.as_str()).is_none_or(|known| !is_same(known, token));
    let mut special: Vec<String> = chat_files::in_order(named).cloned().collect();
    special.extend(unnamed(config));
    special.extend(unnamed(&chat_files::special_tokens_map(config, folder)?));
    let mut added: Vec<AddedToken> = match config.get("added_tokens_decoder").and_then(Value::as_object) {
        Some(tokens) => listed(tokens).into_iter().filter(is_unknown).collect(),
        None => {
            legacy(folder, &special)?.into_iter().filter(|token| !known.contains_key(token.content.as_str())).collect()
        }
    };
    let mut seen: HashSet<String> = added.iter().map(|token| token.content.clone()).collect();
    for text in special {
        if !known.contains_key(text.as_str()) && seen.insert(text.clone()) {
            added.push(AddedToken::from(text, true));
        }
    }
    tokenizer.add(added, config.get("split_special_tokens") == Some(&Value::Bool(true)))
}

/// The special tokens without a name.
fn unnamed(fields: &Map<String, Value>) -> Vec<String> {
    let list = LISTS.iter().find_map(|key| fields.get(*key)?.as_array());
    list.into_iter().flatten().filter_map(chat_files::text).collect()
}

/// The tokens of `added_tokens_decoder`, by their ids.
fn listed(tokens: &Map<String, Value>) -> Vec<AddedToken> {
    let token = |(id, fields): (&String, &Value)| {
        let flag = |name: &str| fields.get(name).and_then(Value::as_bool);
        let special = flag("special").unwrap_or(false);
        let token = AddedToken::from(fields.get("content")?.as_str()?, special)
            .lstrip(flag("lstrip").unwrap_or(false))
            .rstrip(flag("rstrip").unwrap_or(false))
            .single_word(flag("single_word").unwrap_or(false))
            .normalized(flag("normalized").unwrap_or(!special));
        Some((id.parse::<u32>().ok()?, token))
    };
    tokens.iter().filter_map(token).collect::<BTreeMap<_, _>>().into_values().collect()
}

/// The tokens of `added_tokens.json`, by their ids.
fn legacy(folder: &Path, special: &[String]) -> Result<Vec<AddedToken>> {
    let path = folder.join("added_tokens.json");
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let ids: Map<String, Value> = files::read_json(&path)?;
    let token = |(text, id): (&String, &Value)| Some((id.as_u64()?, AddedToken::from(text, special.contains(text))));
    Ok(ids.iter().filter_map(token).collect::<BTreeMap<_, _>>().into_values().collect())
}

/// Whether two tokens of the same text are the same in all their properties.
fn is_same(one: &AddedToken, other: &AddedToken) -> bool {
    let properties =
        |token: &AddedToken| (token.lstrip, token.rstrip, token.single_word, token.normalized, token.special);
    properties(one) == properties(other)
}
