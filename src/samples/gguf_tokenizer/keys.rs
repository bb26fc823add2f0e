//! The keys of a GGUF file that speak of its tokenizer, with an account of those that were asked for.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::account::Harmless;
use crate::format::first_names;
use crate::tensors::GgufMetadata;

/// What the keys of a tokenizer begin with. The rest of a key is its name here.
const PREFIX: &str = "tokenizer.ggml.";

/// The most keys that a remark names.
const NAMED: usize = 10;

/// Keys that change no token of a text, and why.
const HARMLESS: &[Harmless] = &[
    ("pre", "llama.cpp looks for it in byte-level tokenizers only"),
    ("merges", "SentencePiece has scores instead"),
    ("scores", "byte-level tokenizers have merges instead"),
    ("add_space_prefix", "byte-level tokenizers add no space in llama.cpp"),
    ("remove_extra_whitespaces", "llama.cpp follows it for T5's kind of tokenizer only"),
    ("normalizer.lowercase", "for BERT's kind of tokenizer only"),
    ("normalizer.strip_accents", "for BERT's kind of tokenizer only"),
    ("token_type_count", "the segments of BERT"),
    ("add_sep_token", "for BERT's kind of tokenizer only"),
    ("seperator_token_id", "separates texts, and a sample is one"),
    ("cls_token_id", "for classifiers"),
    ("mask_token_id", "for masked language models"),
    ("padding_token_id", "samples are not padded"),
    ("unknown_token_id", "byte-level tokenizers know every text"),
    ("bos_token_id", "the begin token, which is read with the special tokens"),
    ("eos_token_id", "the end token, which is read with the special tokens"),
    ("eot_token_id", "ends answers, and is read with the tokens that stop them"),
    ("eom_token_id", "ends answers, and is read with the tokens that stop them"),
    ("fim_pre_token_id", "for infilling"),
    ("fim_suf_token_id", "for infilling"),
    ("fim_mid_token_id", "for infilling"),
    ("fim_pad_token_id", "for infilling"),
    ("fim_rep_token_id", "for infilling"),
    ("fim_sep_token_id", "for infilling"),
    ("prefix_token_id", "for infilling"),
    ("suffix_token_id", "for infilling"),
    ("middle_token_id", "for infilling"),
];

/// Typed access to the keys of a tokenizer. A value of another type than the key's is an error.
pub struct TokenizerKeys<'a> {
    metadata: &'a GgufMetadata,
    asked: RefCell<BTreeSet<String>>,
}

impl<'a> TokenizerKeys<'a> {
    pub fn of(metadata: &'a GgufMetadata) -> Self {
        Self { metadata, asked: RefCell::default() }
    }

    pub fn string(&self, name: &str) -> Result<Option<&'a str>, String> {
        self.typed(name, "a text", GgufMetadata::string)
    }

    pub fn boolean(&self, name: &str) -> Result<Option<bool>, String> {
        self.typed(name, "true or false", GgufMetadata::boolean)
    }

    pub fn strings(&self, name: &str) -> Result<Option<Vec<&'a str>>, String> {
        self.typed(name, "a list of texts", GgufMetadata::strings)
    }

    pub fn integers(&self, name: &str) -> Result<Option<Vec<i64>>, String> {
        self.typed(name, "a list of integers", GgufMetadata::integers)
    }

    /// Numbers, which some files have as integers.
    pub fn numbers(&self, name: &str) -> Result<Option<Vec<f32>>, String> {
        let integers = |metadata: &GgufMetadata, key: &str| {
            metadata.integers(key).map(|values| values.into_iter().map(|value| value as f32).collect())
        };
        let either = |metadata: &'a GgufMetadata, key: &str| metadata.floats(key).or_else(|| integers(metadata, key));
        self.typed(name, "a list of numbers", either)
    }

    /// The id of the token with a role, if the file names one.
    pub fn token(&self, role: &str) -> Result<Option<u64>, String> {
        self.typed(&format!("{role}_token_id"), "a token", GgufMetadata::integer)
    }

    fn typed<T>(
        &self,
        name: &str,
        kind: &str,
        read: impl Fn(&'a GgufMetadata, &str) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let key = format!("{PREFIX}{name}");
        self.asked.borrow_mut().insert(key.clone());
        let value = read(self.metadata, &key);
        match value.is_none() && self.metadata.has(&key) {
            true => Err(format!("`{key}` is not {kind}")),
            false => Ok(value),
        }
    }

    /// Names the keys of the tokenizer that nobody asked for and that may change the tokens of a text.
    pub fn unread(&self) -> Option<String> {
        let asked = self.asked.borrow();
        let is_harmless = |name: &str| HARMLESS.iter().any(|(harmless, _)| *harmless == name);
        let is_off = |key: &str| self.metadata.boolean(key) == Some(false);
        let left = |key: &&str| {
            let name = key.strip_prefix(PREFIX);
            name.is_some_and(|name| !is_harmless(name)) && !asked.contains(*key) && !is_off(key)
        };
        let unread: BTreeSet<&str> = self.metadata.keys().filter(left).collect();
        let names = first_names(&unread.iter().collect::<Vec<_>>(), NAMED);
        (!unread.is_empty()).then(|| format!("keys of the tokenizer are not used: {names}"))
    }
}

/// A key by its whole name, for messages.
pub fn full(name: &str) -> String {
    format!("{PREFIX}{name}")
}
