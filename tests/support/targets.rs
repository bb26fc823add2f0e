//! What is done with bytes that may be anything: each returns, whatever they are. Shared by the tests and by `fuzz/`.

#[path = "grammar.rs"]
mod grammar;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use clap::CommandFactory;
use lora_slim::adapter::names::{self, Key};
use lora_slim::adapter::{Adapter, AdapterConfig, Capability};
use lora_slim::batch::partition::WHOLE;
use lora_slim::batch::results::{self, Results};
use lora_slim::batch::{jobs, manifest as manifests, summary};
use lora_slim::cli::environment::Environment;
use lora_slim::cli::{Cli, config_file as config_files, flags};
use lora_slim::files::{Scratch, json};
use lora_slim::hub::BasePath;
use lora_slim::kernel::Arithmetic;
use lora_slim::model::{Model, ModelConfig};
use lora_slim::report::batch::Record;
use lora_slim::rewrite::Cut;
use lora_slim::samples::tokenizer::{EncodeAs, Tokenizer};
use lora_slim::samples::{ChatTemplate, FieldNames, Message, SpecialTokens, TemplateContext, TextModel, read};
use lora_slim::tensors::{pickle_program, safetensors_header};

/// A function of bytes, and what it is called.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: [Target; 15] = [
    ("safetensors", safetensors),
    ("gguf", gguf),
    ("pickle", pickle),
    ("adapter_keys", adapter_keys),
    ("adapter", adapter),
    ("adapter_config", adapter_config),
    ("model_config", model_config),
    ("samples", samples),
    ("template", template),
    ("template_grammar", template_grammar),
    ("tokenizer", tokenizer),
    ("encoding", encoding),
    ("manifest", manifest),
    ("results", results),
    ("config_file", config_file),
];

pub fn safetensors(bytes: &[u8]) {
    let _ = safetensors_header(Path::new("x"), bytes, bytes.len() as u64);
    // The same as a header whose length is right.
    let whole = [&(bytes.len() as u64).to_le_bytes(), bytes].concat();
    let _ = safetensors_header(Path::new("x"), &whole, u64::MAX);
}

/// A whole base model: header, configuration, tokenizer.
pub fn gguf(bytes: &[u8]) {
    let Ok(folder) = Scratch::new() else { return };
    let path = folder.path().join("base.gguf");
    if fs::write(&path, bytes).is_err() {
        return;
    }
    let base = BasePath::Gguf(path.clone());
    if let Ok((_, Some(metadata))) = Model::open(&base, &candle_core::Device::Cpu, Arithmetic::F32) {
        let _ = TextModel::from_gguf(&metadata, &path);
    }
}

pub fn pickle(bytes: &[u8]) {
    let _ = pickle_program::interpret(bytes);
}

pub fn adapter_keys(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let keys: Vec<Key> = text.lines().map(|name| Key::parse(name, None)).collect();
    for (name, key) in text.lines().zip(&keys) {
        let plain = key.plain_name(name);
        if key.is_wrapped() && !name.contains("lora_embedding") {
            assert_eq!(Key::parse(&plain, None).part, key.part, "{name}");
        }
        names::is_of_tower(&key.module);
    }
    names::find_stacks(keys.iter().map(|key| key.module.as_str()));
}

/// A folder: the length of its configuration in two bytes, the configuration, the weights.
pub fn adapter(bytes: &[u8]) {
    let Some((&length, rest)) = bytes.split_first_chunk() else { return };
    let length = usize::from(u16::from_le_bytes(length)).min(rest.len());
    let Ok(folder) = Scratch::new() else { return };
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes);
    if write("adapter_config.json", &rest[..length]).is_err()
        || write("adapter_model.safetensors", &rest[length..]).is_err()
    {
        return;
    }
    let Ok(adapter) = Adapter::open(folder.path(), None) else { return };
    let _ = adapter.flaws(&Default::default());
    let _ = adapter.require(Capability::Evaluate);
    for boundary in [1, adapter.layer_count()] {
        if let Ok(cut) = Cut::below(&adapter, boundary) {
            cut.config();
            cut.kept_size();
        }
    }
}

pub fn adapter_config(bytes: &[u8]) {
    let Ok(value) = json::parse(bytes) else { return };
    let Ok(config) = AdapterConfig::from_json(value, Path::new("x")) else { return };
    config.features();
    config.variants().count();
    for module in ["model.layers.0.self_attn.q_proj", "model.layers.11.mlp.experts.3.down_proj", "lm_head", ""] {
        config.scaling_of(module);
        config.tokens_of(module, true);
        config.targets.matches(module);
        config.targets.parameters_of(module);
    }
}

pub fn model_config(bytes: &[u8]) {
    if let Ok(serde_json::Value::Object(config)) = json::parse(bytes) {
        let _ = ModelConfig::from_hf(&config, Path::new("x"));
    }
}

pub fn samples(bytes: &[u8]) {
    let _ = read::parse(bytes, Path::new("x"), &FieldNames::default());
}

/// A tokenizer.json. Its steps are not limited in this process, so that files that grow a text again and again are left out.
pub fn tokenizer(bytes: &[u8]) {
    let steps = ["Replace", "Sequence", "Precompiled", "SpecialToken"];
    let text = String::from_utf8_lossy(bytes);
    if bytes.len() > 100_000 || steps.iter().any(|step| text.matches(step).count() > 4) {
        return;
    }
    if let Ok(tokenizer) = Tokenizer::read(bytes, Path::new("x")) {
        for wanted in [EncodeAs::WithSpecial, EncodeAs::Offsets] {
            if let Ok(tokens) = tokenizer.encode("Hi there, né 12", wanted) {
                let _ = tokenizer.decode(&tokens.ids, true);
            }
        }
    }
}

/// A text, with the tokenizer of the tests: it comes back from its tokens, and its beginning has the same ones.
pub fn encoding(bytes: &[u8]) {
    const TOKENIZER: &[u8] = include_bytes!("../../fixtures/pico/tokenizer/tokenizer.json");
    thread_local!(static READ: Option<Tokenizer> = Tokenizer::read(TOKENIZER, Path::new("x")).ok());
    READ.with(|tokenizer| {
        let Some(tokenizer) = tokenizer else { return };
        let text = String::from_utf8_lossy(bytes);
        let Ok(tokens) = tokenizer.encode(&text, EncodeAs::Plain) else { return };
        let _ = tokenizer.decode(&tokens.ids, true);
        let long = text.repeat(2400 / text.len().max(1) + 1);
        if let (Ok(whole), Ok(Some(start))) =
            (tokenizer.encode(&long, EncodeAs::Plain), tokenizer.encode_beginning(&long, EncodeAs::Plain, 16))
        {
            assert_eq!(start.ids, whole.ids[..start.ids.len()]);
        }
    });
}

/// A template that bytes choose by the grammar.
pub fn template_grammar(bytes: &[u8]) {
    template(grammar::template(&bytes[..bytes.len().min(2000)]).as_bytes());
}

pub fn template(bytes: &[u8]) {
    let tokens =
        [("bos_token", "<s>"), ("eos_token", "</s>")].map(|(name, token)| (name.to_string(), token.to_string()));
    let template = ChatTemplate::new(&String::from_utf8_lossy(bytes), &SpecialTokens::from(tokens));
    let messages = [Message::new("system", "s"), Message::new("user", "u"), Message::new("assistant", "a")];
    let _ = template.render(&messages, &TemplateContext::default(), true);
}

/// The jobs of a batch, and the flags that they become.
pub fn manifest(bytes: &[u8]) {
    let Ok(folder) = Scratch::new() else { return };
    let path = folder.path().join("jobs.jsonl");
    if fs::write(&path, bytes).is_err() {
        return;
    }
    let Ok(jobs) = manifests::read(&path) else { return };
    let _ = jobs::check_names(&jobs);
    let (mut cli, words) = (Cli::command(), ["--chat", "--margin=2%", "--samples=s.jsonl"].map(Into::into));
    cli.build();
    for (job, command) in jobs.iter().take(3).zip(["slim", "cut", "slim"]) {
        let Some(command) = cli.find_subcommand(command) else { continue };
        if let Ok(words) = flags::overridden(command, &words, &job.options) {
            let _ = command.clone().no_binary_name(true).try_get_matches_from(words);
        }
    }
}

/// `results.jsonl` of an earlier run: it is repaired, and read as the same records again, which the summary shows.
pub fn results(bytes: &[u8]) {
    let Ok(folder) = Scratch::new() else { return };
    if fs::write(folder.path().join("results.jsonl"), bytes).is_err() {
        return;
    }
    let Ok(mut results) = Results::open(folder.path(), WHOLE) else { return };
    let Ok(before) = results::read(folder.path(), WHOLE) else { return };
    let names: BTreeSet<&str> = before.keys().map(String::as_str).collect();
    results.finish(&names).expect("a file that was read is written again");
    let records = summary::write(folder.path(), || results.of_all_parts(&names)).expect("its summary is written");
    assert_eq!(records.len(), before.len());
    for record in records {
        // Whether a job is gone is told by the names of this run.
        let earlier = Record { removed: false, ..before[&record.name].clone() };
        assert_eq!(record, earlier);
    }
}

/// A config file, and the command line that it and some flags become.
pub fn config_file(bytes: &[u8]) {
    let Ok(folder) = Scratch::new() else { return };
    let path = folder.path().join("lora-slim.toml");
    if fs::write(&path, bytes).is_err() {
        return;
    }
    for line in [&["slim", "adapter", "--chat", "--output=out"][..], &["batch", "--in=in", "--output=out"]] {
        let words: [OsString; 3] = ["lora-slim".into(), "--config".into(), path.clone().into()];
        let words = words.into_iter().chain(line.iter().map(Into::into)).collect();
        if let Ok(expanded) = config_files::expand(words, &Environment::default()) {
            let _ = Cli::command().try_get_matches_from(expanded.words);
        }
    }
}
