//! The process that runs a tokenizer, against the same tokenizer in this one; and the beginnings of texts against the whole.

use std::fs;
#[cfg(unix)]
use std::process::{Command, Stdio};
#[cfg(unix)]
use std::time::{Duration, Instant};

use lora_slim::samples::TextModel;
use lora_slim::samples::tokenizer::{EncodeAs, Tokenizer};
use lora_slim::tensors::TensorStore;
use lora_slim::{Samples, Slim};
use serde_json::{Value, json};

use crate::bad_input::Setup;
use crate::support::{document, fixture};

/// The program asks a process, and the library asks in its own.
#[test]
fn the_program_and_the_library_see_the_same_tokens() {
    let setup = Setup::new();
    let turns = |answer: &str| {
        json!({"messages": [{"role": "user", "content": "né 👍🏽?"}, {"role": "assistant", "content": answer}]})
            .to_string()
    };
    fs::write(setup.path("samples.jsonl"), ["yes", "no way", "é"].map(turns).join("\n")).unwrap();
    let template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                    {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    fs::write(setup.path("base/chat_template.jinja"), template).unwrap();
    let output = setup.slim(&["--dry-run", "--json", "--boundary", "2"]).output().unwrap();
    let report = document(&output.stdout);
    let name = |path: &str| setup.path(path).display().to_string();
    let slim = Slim::new(name("adapter"), Samples::file(setup.path("samples.jsonl"))).base(name("base")).boundary(2);
    let slim = slim.exhaustive();
    let own = serde_json::to_value(slim.evaluate().unwrap().report()).unwrap();
    assert_eq!(own["curve"], report["curve"]);
    assert_eq!(own["samples"]["per_sample"], report["samples"]["per_sample"]);
    assert!(own["samples"]["answer_tokens"].as_u64().unwrap() > 10);
}

/// A text of words, punctuation, numbers and scripts of all kinds.
fn random_text(random: &mut fastrand::Rng, words: usize) -> String {
    const PARTS: [&str; 24] = [
        "the",
        "Hello",
        "don't",
        "we'll",
        "x",
        "ab",
        "ünïcode",
        "e\u{301}\u{323}",
        "中文字符",
        "かな",
        "नमस्ते",
        "العربية",
        "👍🏽",
        "123",
        "4567890",
        "!!!",
        "...",
        "(a",
        "<|im_end|>",
        "\t",
        "   ",
        "\r\n",
        "\n\n",
        "_",
    ];
    let mut text = String::new();
    for _ in 0..words {
        text.push_str(PARTS[random.usize(0..PARTS.len())]);
        text.push_str(["", " ", " ", " ", "\n"][random.usize(0..5)]);
    }
    text
}

fn tokenizers() -> Vec<TextModel> {
    let gguf = fixture("pico/llama-gguf/base/base.gguf");
    let (_, metadata) = TensorStore::open_gguf(&gguf).unwrap();
    let folders = ["pico/tokenizer", "trl/bytes"].map(|name| TextModel::read(&fixture(name)).unwrap().unwrap());
    let mut all = Vec::from(folders);
    all.push(TextModel::from_gguf(&metadata, &gguf).unwrap());
    all
}

/// The first tokens of a long text follow from its beginning.
#[test]
fn beginnings_have_the_tokens_of_the_whole() {
    let mut random = fastrand::Rng::with_seed(20);
    let mut compared = 0;
    for text_model in tokenizers() {
        let tokenizer = &text_model.tokenizer;
        for round in 0..30 {
            let text = random_text(&mut random, 2000 + 100 * round);
            for wanted in [EncodeAs::Plain, EncodeAs::WithSpecial, EncodeAs::Offsets] {
                let most = random.usize(1..400);
                let whole = tokenizer.encode(&text, wanted).unwrap();
                let Some(start) = tokenizer.encode_beginning(&text, wanted, most).unwrap() else { continue };
                assert_eq!(start.ids, whole.ids[..most], "{}: {most} of {text:?}", text_model.path.display());
                assert_eq!(start.offsets, whole.offsets[..most.min(whole.offsets.len())]);
                compared += 1;
            }
        }
    }
    assert!(compared > 150, "{compared}");
}

/// A word without an end is one piece, and a tokenizer whose steps look far gets all of the text.
#[test]
fn texts_without_a_place_to_cut_are_tokenised_whole() {
    let read = |pattern: &str| {
        let mut json: Value = serde_json::from_slice(&fs::read(fixture("trl/bytes/tokenizer.json")).unwrap()).unwrap();
        json["pre_tokenizer"] =
            json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        Tokenizer::read(json.to_string().as_bytes(), "tokenizer.json".as_ref()).unwrap()
    };
    let words = "one two ".repeat(10_000);
    assert!(read(r" ?\p{L}+|\s+(?!\S)|\s+").encode_beginning(&words, EncodeAs::Plain, 9).unwrap().is_some());
    assert!(
        read(r" ?\p{L}+|\s+(?!\S)|\s+").encode_beginning(&"a".repeat(80_000), EncodeAs::Plain, 9).unwrap().is_none()
    );
    assert!(read("(?s).*END|.").encode_beginning(&words, EncodeAs::Plain, 9).unwrap().is_none());
}

/// What the library panics on is an error in the process of a caller, too.
#[test]
fn panics_of_the_library_are_errors() {
    let mut json: Value = serde_json::from_slice(&fs::read(fixture("trl/bytes/tokenizer.json")).unwrap()).unwrap();
    json["normalizer"] = json!({"type": "Replace", "pattern": {"Regex": ""}, "content": "b"});
    let tokenizer = Tokenizer::read(json.to_string().as_bytes(), "tokenizer.json".as_ref()).unwrap();
    let error = tokenizer.encode("hello", EncodeAs::Plain).unwrap_err().to_string();
    assert!(error.contains("`tokenizer.json`") && error.contains("library fails on it"), "{error}");
}

/// The first signal ends a run at once, whatever its tokenizer works on: here a text for half a minute.
#[cfg(unix)]
#[test]
fn a_signal_does_not_wait_for_a_long_text() {
    const TOKENISING: Duration = Duration::from_secs(3);
    let setup = Setup::new();
    setup.edit_json("base/tokenizer.json", |tokenizer| {
        tokenizer["normalizer"] = json!({"type": "Sequence", "normalizers": vec![json!({"type": "NFKD"}); 1000]});
    });
    let sample = json!({"prompt": "banana", "completion": "né ".repeat(1 << 19)});
    fs::write(setup.path("samples.jsonl"), sample.to_string()).unwrap();
    for signal in ["INT", "TERM"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lora-slim"));
        let line = ["slim", "adapter", "--base", "base", "--samples", "samples.jsonl", "-o", "out"];
        command.current_dir(setup.folder.path()).args(line).stdout(Stdio::null()).stderr(Stdio::piped());
        let run = command.spawn().unwrap();
        std::thread::sleep(TOKENISING);
        let signalled = Instant::now();
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {}", run.id())]).status().unwrap();
        let output = run.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(sent.success(), "it ended before: {text}");
        assert_eq!(output.status.code(), Some(130), "{text}");
        assert!(signalled.elapsed() < TOKENISING, "{:?}", signalled.elapsed());
        assert!(!setup.path("out").exists());
    }
}
