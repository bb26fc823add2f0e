//! A tokenizer from the metadata of a GGUF file, such that texts become the tokens that llama.cpp makes of them.
//!
//! ```text
//! keys ─▶ vocabulary ─▶ byte_level (with pre_tokenizers) or sentencepiece ─▶ added tokens, begin and end ─▶ tokenizer.json
//! ```
//! Where the `tokenizers` library differs from llama.cpp, and no tokenizer.json can tell it otherwise:
//! - Of two special tokens that overlap in a text, llama.cpp takes the longer one, the library the one that begins first.
//! - Where two pairs make the same SentencePiece token, or tokens of one score, llama.cpp takes the pair that begins first.

mod added;
mod byte_level;
mod keys;
mod pre_tokenizers;
mod sentencepiece;
mod splits;
mod vocabulary;

use serde_json::{Map, Value, json};

use crate::tensors::GgufMetadata;
use keys::TokenizerKeys;
use vocabulary::Vocabulary;

/// A tokenizer as tokenizer.json, and the keys of the file that may matter to it and are not used, in a sentence.
pub struct GgufTokenizer {
    pub json: Vec<u8>,
    pub remark: Option<String>,
}

/// What depends on the kind of tokenizer.
struct TokenizerParts {
    /// `normalizer`, `pre_tokenizer`, `decoder` and `model` of a tokenizer.json.
    json: Map<String, Value>,
    /// Whether texts begin with the begin token if the file does not say.
    begins: bool,
}

/// Builds the tokenizer, or says why it cannot.
pub fn build(metadata: &GgufMetadata) -> Result<GgufTokenizer, String> {
    let keys = TokenizerKeys::of(metadata);
    let kind = keys.string("model")?.ok_or_else(|| missing("model"))?;
    let vocabulary = Vocabulary::read(&keys)?;
    let TokenizerParts { json, begins } = match kind {
        "gpt2" => byte_level::read(&keys, &vocabulary)?,
        "llama" => sentencepiece::read(&keys, &vocabulary)?,
        other => return Err(format!("the GGUF tokenizer model `{other}` is not supported")),
    };
    let mut tokenizer = json;
    tokenizer.insert("version".into(), "1.0".into());
    tokenizer.insert("added_tokens".into(), added::tokens(&keys, &vocabulary, metadata.string("general.name"))?);
    tokenizer.insert("post_processor".into(), post_processor(&keys, &vocabulary, begins)?);
    Ok(GgufTokenizer { json: Value::from(tokenizer).to_string().into_bytes(), remark: keys.unread() })
}

fn missing(name: &str) -> String {
    format!("`{}` is missing", keys::full(name))
}

/// Puts the begin token before every text and the end token after it, where the file asks for them.
fn post_processor(keys: &TokenizerKeys, vocabulary: &Vocabulary, begins: bool) -> Result<Value, String> {
    let begin = keys.boolean("add_bos_token")?.unwrap_or(begins);
    let end = keys.boolean("add_eos_token")?.unwrap_or(false);
    let (mut template, mut special) = (vec![json!({"Sequence": {"id": "A", "type_id": 0}})], Map::new());
    for (role, wanted) in [("bos", begin), ("eos", end)] {
        if !wanted {
            continue;
        }
        let id = vocabulary.role(keys, role)?.ok_or_else(|| {
            format!("texts are to have the {role} token, but `{}` is missing", keys::full(&format!("{role}_token_id")))
        })?;
        let text = vocabulary.text(id).ok_or_else(|| format!("the {role} token {id} is not in the vocabulary"))?;
        let token = json!({"SpecialToken": {"id": text, "type_id": 0}});
        template.insert(if role == "bos" { 0 } else { template.len() }, token);
        special.insert(text.into(), json!({"id": text, "ids": [id], "tokens": [text]}));
    }
    if special.is_empty() {
        return Ok(Value::Null);
    }
    Ok(json!({"type": "TemplateProcessing", "single": template, "pair": template, "special_tokens": special}))
}

/// The text of a token that the metadata names by its role: `bos`, `eos`, `unknown`.
pub fn token_text<'a>(metadata: &'a GgufMetadata, tokens: &[&'a str], role: &str) -> Option<&'a str> {
    let id = metadata.integer(&keys::full(&format!("{role}_token_id")));
    let is_sentencepiece = metadata.string(&keys::full("model")) == Some(vocabulary::SENTENCEPIECE);
    let id = id.or_else(|| vocabulary::usual_id(role).filter(|_| is_sentencepiece))?;
    tokens.get(usize::try_from(id).ok()?).copied()
}
