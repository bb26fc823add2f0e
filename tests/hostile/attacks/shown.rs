//! Texts from files on the terminal, in tables and in logs. The harness looks for what is raw; here is what has to stay readable.

use serde_json::json;

use super::{Attack, Sandbox, run_all};

/// An escape, a bell, a bidi override, a separator of lines, what nobody sees, and a line that looks like another.
const EVIL: &str = "\u{1b}]0;pwned\u{7}\u{1b}[2J\u{202e}\u{2028}\u{200b}\u{9b}31m\nverified: everything\r\t";

fn set(sandbox: &Sandbox, key: &str, value: serde_json::Value) {
    sandbox.edit("adapter/adapter_config.json", |config| config[key] = value);
}

/// Renames the modules in the weights: every tensor's name gets the text.
fn rename(sandbox: &Sandbox, from: &str, to: &str) {
    let path = sandbox.path("adapter/adapter_model.safetensors");
    let tensors = crate::support::read_safetensors(&path);
    let renamed = tensors.into_iter().map(|(name, tensor)| (name.replace(from, to), tensor)).collect();
    crate::support::write_safetensors(&path, &renamed);
}

fn evil_base(sandbox: &Sandbox) {
    set(sandbox, "base_model_name_or_path", json!(format!("{EVIL}model")));
}

fn evil_modules(sandbox: &Sandbox) {
    rename(sandbox, "q_proj", &format!("q_proj{EVIL}"));
    set(sandbox, "target_modules", json!([EVIL, "v_proj", format!("q_proj{EVIL}")]));
}

fn evil_patterns(sandbox: &Sandbox) {
    set(sandbox, "rank_pattern", json!({ EVIL: 4 }));
    set(sandbox, EVIL, json!("set"));
}

fn evil_type(sandbox: &Sandbox) {
    set(sandbox, "peft_type", json!(EVIL));
}

#[test]
fn names_in_adapters() {
    for prepare in [evil_base, evil_modules, evil_patterns, evil_type] {
        for args in [
            &["inspect", "adapter"][..],
            &["inspect", "adapter", "--json"],
            &["check", "adapter"],
            &["check", "adapter", "--json"],
            &["verify", "adapter", "adapter"],
            &["cut", "adapter", "--boundary", "2", "-o", "out"],
            &["cut", "adapter", "--boundary", "2", "-o", "out", "--json"],
            &["fix", "adapter", "-o", "out"],
            &["scan", "adapter", "--base", "base", "--samples", "samples.jsonl"],
            &["scan", "adapter", "--base", "base", "--samples", "samples.jsonl", "--json", "-q"],
            &["slim", "adapter", "--base", "base", "--samples", "samples.jsonl", "-o", "out"],
            &["cut", "adapter", "--boundary", "2", "--rank", "2", "-o", "out"],
        ] {
            run_all(&[Attack::new("names", prepare, args).code(&[0, 2, 3, 5], "").then(|_| {})]);
        }
    }
}

/// No text of a file begins a line of its own.
#[test]
fn a_line_stays_a_line() {
    let sandbox = Sandbox::new();
    evil_base(&sandbox);
    let assert = crate::support::lora_slim().current_dir(sandbox.0.folder.path()).args(["inspect", "adapter"]).assert();
    let text = String::from_utf8_lossy(&assert.success().get_output().stdout).into_owned();
    assert!(text.contains("[U+001B]]0;pwned[U+0007]") && text.contains("[U+000A]verified"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("verified")), "{text}");
}

#[test]
fn texts_elsewhere() {
    run_all(&[
        Attack::new(
            "a batch of such adapters",
            |sandbox| {
                evil_type(sandbox);
                sandbox.adapter(&format!("in/{}", EVIL.replace('/', "")));
                sandbox.adapter("in/=cmd|'x'!A1");
                sandbox.adapter("in/@b");
            },
            &["batch", "in", "--boundary", "2", "-o", "out"],
        )
        .code(&[3], "[U+001B]")
        .then(|sandbox| {
            let table = sandbox.read("out/summary.csv");
            let is_raw = |character: char| !lora_slim::printable::is_printable(character) && character != '\n';
            assert!(!table.contains(is_raw), "{table:?}");
            let rows: Vec<&str> = table.lines().skip(1).collect();
            assert_eq!(rows.len(), 3, "{table}");
            assert!(rows[1].starts_with("'=cmd|") && rows[2].starts_with("'@b"), "{table}");
            assert!(!sandbox.read("out/index.html").contains(['\u{1b}', '\u{202e}', '\u{200b}', '\u{9b}']));
        }),
        Attack::new(
            "the same as JSON",
            |sandbox| {
                evil_type(sandbox);
                sandbox.adapter("in/a");
            },
            &["batch", "in", "--boundary", "2", "-o", "out", "--json"],
        )
        .code(&[3], "\\u202e"),
        Attack::new(
            "a manifest",
            |sandbox| sandbox.write("jobs.jsonl", format!("{{\"{EVIL}\": 1}}\n{EVIL}")),
            &["batch", "--manifest", "jobs.jsonl", "-o", "out"],
        )
        .code(&[3], "jobs.jsonl:1"),
        Attack::new(
            "options of a manifest",
            |sandbox| {
                let line = json!({"adapter": "adapter", "options": {"boundary": EVIL, "x\u{202e}": 1}});
                sandbox.write("jobs.jsonl", line.to_string());
            },
            &["batch", "--manifest", "jobs.jsonl", "-o", "out"],
        )
        .code(&[2], ""),
        Attack::new(
            "values of a config file",
            |sandbox| sandbox.write("flags.toml", "boundary = \"\\u001b[31m\\u202e\""),
            &["cut", "adapter", "-o", "out", "--config", "flags.toml"],
        )
        // clap takes escapes of colour out.
        .code(&[2], "[U+202E]"),
        Attack::new(
            "line breaks of a config file",
            |sandbox| sandbox.write("flags.toml", "boundary = \"x\\nerror: forged\""),
            &["cut", "adapter", "-o", "out", "--config", "flags.toml"],
        )
        .code(&[2], "x[U+000A]error: forged"),
        Attack::new(
            "keys of a config file",
            |sandbox| sandbox.write("flags.toml", "\"\\u001b[31m\\u202e\" = 1"),
            &["cut", "adapter", "-o", "out", "--config", "flags.toml"],
        )
        .code(&[2], "[U+001B]"),
        Attack::new(
            "slices",
            |sandbox| {
                let lines = sandbox.read("samples.jsonl");
                let sliced = lines.lines().enumerate().map(|(at, line)| {
                    let mut sample: serde_json::Value = serde_json::from_str(line).unwrap();
                    sample["domain"] = json!(format!("{EVIL}{}", at % 2));
                    format!("{sample}\n")
                });
                sandbox.write("sliced.jsonl", sliced.collect::<String>());
            },
            &["scan", "adapter", "--base", "base", "--samples", "sliced.jsonl", "--slice-by", "domain"],
        )
        .code(&[0], "[U+001B]"),
        Attack::new(
            "fields of samples",
            |sandbox| sandbox.write("named.jsonl", json!({ EVIL: "a", "b": [1] }).to_string()),
            &["scan", "adapter", "--base", "base", "--samples", "named.jsonl"],
        )
        .code(&[3], "[U+001B]"),
        Attack::new(
            "names of files beside the adapter",
            |sandbox| sandbox.write(&format!("adapter/{}", EVIL.replace('/', "")), "x"),
            &["cut", "adapter", "--boundary", "2", "-o", "out"],
        )
        .code(&[0], "[U+202E]"),
        Attack::new(
            "an index of shards",
            |sandbox| {
                sandbox.remove("adapter/adapter_model.safetensors");
                let index = json!({"weight_map": {"x": EVIL}});
                sandbox.write("adapter/adapter_model.safetensors.index.json", index.to_string());
            },
            &["cut", "adapter", "--boundary", "2", "-o", "out"],
        )
        .code(&[3], "[U+001B]"),
        Attack::new("the command line itself", |_| {}, &["inspect", "no\u{1b}[31m\u{202e}adapter"])
            .code(&[3], "[U+001B]"),
        Attack::new("a flag", |_| {}, &["inspect", "adapter", "--no\u{1b}[31m\u{202e}flag"]).code(&[2], "[U+202E]"),
        Attack::new(
            "the name of an output",
            |_| {},
            &["cut", "adapter", "--boundary", "2", "-o", "out/\u{1b}[31m\n\u{202e}"],
        )
        .code(&[0], "[U+001B]"),
        Attack::new(
            "a page",
            evil_modules,
            &["scan", "adapter", "--base", "base", "--samples", "samples.jsonl", "--report", "page.html"],
        )
        .code(&[0, 3], "")
        .then(|sandbox| {
            if sandbox.exists("page.html") {
                assert!(!sandbox.read("page.html").contains(['\u{1b}', '\u{202e}', '\u{200b}', '\u{9b}']));
            }
        }),
    ]);
}
