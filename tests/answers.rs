//! `--metric`: which answers are generated and scored, and what is said of them.

use std::fs;
use std::path::Path;

use candle_core::Device;
use lora_slim::adapter::Adapter;
use lora_slim::hub::BasePath;
use lora_slim::kernel::Arithmetic;
use lora_slim::measure::{self, GenerateOptions, Profile};
use lora_slim::model::{AdaptedModel, Model};
use lora_slim::samples::{EncodeOptions, FieldNames, GenerationTask, TextModel, encode, read};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{document, fixture, lora_slim};

pub const CASE: &str = "pico/llama-llama3-rope";
pub const WHOLE: usize = 6;
pub const QUESTIONS: [&str; 6] = [
    "Is 2024 even?",
    "Где Париж?",
    "What is 12 + 345?",
    "Who are you, and why?",
    "Name a colour.",
    "The capital of Fran",
];

/// Writes the questions with these answers.
pub fn write_samples(path: &Path, answers: &[String]) {
    let line = |(question, answer)| json!({"prompt": question, "completion": answer}).to_string();
    fs::write(path, QUESTIONS.iter().zip(answers).map(line).collect::<Vec<_>>().join("\n")).unwrap();
}

/// What the adapter cut at a boundary answers, found without the program.
pub fn answers_at(boundary: usize, samples: &Path, max_new_tokens: usize) -> Vec<String> {
    let (folder, device) = (fixture(CASE), Device::Cpu);
    let adapter = Adapter::open(&folder.join("adapter"), None).unwrap();
    let (model, _) = Model::open(&BasePath::Folder(folder.join("base")), &device, Arithmetic::F32).unwrap();
    let ends = AdaptedModel::load(&model, &adapter).unwrap();
    let text = TextModel::read(&folder.join("base")).unwrap().unwrap();
    let raws = read::read(samples, &FieldNames::default()).unwrap();
    let samples =
        encode::encode(raws, Some(&text), EncodeOptions { chat: true, ..Default::default() }, samples, samples)
            .unwrap();
    let stops = text.eos_id().into_iter().collect();
    let tasks: Vec<GenerationTask> =
        samples.iter().map(|sample| GenerationTask::new(sample, &text, &stops, Path::new("")).unwrap()).collect();
    let prompts: Vec<_> = tasks.iter().map(|task| task.prompt.clone()).collect();
    let options = GenerateOptions { memory: 1 << 30, max_new_tokens, is_ended: None };
    let profiles = [Profile::below(boundary, model.config.layers)];
    let answers = measure::generate(&ends, &prompts, &profiles, &options, &mut |_| true).unwrap().remove(0);
    tasks.iter().zip(answers).map(|(task, answer)| task.text_of(&answer.ids, &text).unwrap()).collect()
}

/// Runs `slim` or `scan` in a folder on its `samples.jsonl`.
pub fn run(command: &str, folder: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    let mut program = lora_slim();
    program.current_dir(folder).arg(command).arg(fixture(CASE).join("adapter"));
    program.arg("--base").arg(fixture(CASE).join("base")).args(["--samples", "samples.jsonl"]).args(more).assert()
}

pub fn scan(folder: &Path, more: &[&str]) -> Value {
    let assert = run("scan", folder, &[&["--chat", "--json", "--precision", "f32"], more].concat()).success();
    document(&assert.get_output().stdout)
}

/// The scores of a boundary by metric.
fn scores(report: &Value, boundary: usize) -> Vec<(String, f64, f64)> {
    let rows = report["metrics"]["boundaries"].as_array().unwrap();
    let row = rows.iter().find(|row| row["boundary"] == boundary).unwrap();
    let score = |score: &Value| {
        let number = |key: &str| score[key].as_f64().unwrap();
        (score["metric"].as_str().unwrap().to_string(), number("score"), number("difference"))
    };
    row["scores"].as_array().unwrap().iter().map(score).collect()
}

#[test]
fn the_boundary_that_gave_the_references_scores_all() {
    let folder = TempDir::new().unwrap();
    let samples = folder.path().join("samples.jsonl");
    write_samples(&samples, &QUESTIONS.map(|_| "x".to_string()));
    let answers = answers_at(3, &samples, 10);
    assert!(answers.iter().all(|answer| answer.chars().count() >= 6), "{answers:?}");
    write_samples(&samples, &answers);
    let flags = ["--boundary", "3", "--max-new-tokens", "10", "--metric", "exact-match,f1", "--metric", "chrf,f1"];
    let report = scan(folder.path(), &flags);
    let metrics = &report["metrics"];
    assert_eq!(
        (&metrics["on"], &metrics["samples"], &metrics["max_new_tokens"]),
        (&json!("choosing"), &json!(6), &json!(10))
    );
    assert!(metrics.get("examples").is_none(), "words are for the page");
    for ((name, score, difference), wanted) in scores(&report, 3).into_iter().zip(["exact-match", "f1", "chrf"]) {
        assert_eq!((name.as_str(), score), (wanted, 100.0));
        assert!(difference > 50.0, "{name}: the whole adapter answers otherwise");
    }
    assert!(scores(&report, WHOLE).iter().all(|(_, score, difference)| *score < 50.0 && *difference == 0.0));
    let rows = metrics["boundaries"].as_array().unwrap();
    let scored: Vec<u64> = rows.iter().map(|row| row["boundary"].as_u64().unwrap()).collect();
    assert!(scored.len() == 5 && scored.is_sorted() && scored[0] == 0 && scored[4] == WHOLE as u64, "{scored:?}");
}

#[test]
fn held_out_samples_are_answered_where_there_are_any() {
    let folder = TempDir::new().unwrap();
    write_samples(&folder.path().join("samples.jsonl"), &QUESTIONS.map(|question| format!("{question} Yes.")));
    let flags = ["--boundary", "3", "--holdout", "50%", "--metric", "bleu", "--max-new-tokens", "4", "--chat"];
    let report = scan(folder.path(), &flags[..8]);
    assert_eq!((&report["metrics"]["on"], &report["metrics"]["samples"]), (&json!("held-out"), &json!(3)));
    let text = String::from_utf8(run("scan", folder.path(), &flags).get_output().stdout.clone()).unwrap();
    let table = text.split("answers to 3 held-out samples, greedy, at most 4 tokens each:\n").nth(1).unwrap();
    assert!(table.starts_with(" boundary        bleu\n        0 "), "{table}");
    assert!(table.contains("◀ chosen") && table.contains("answers without an end: 3 at 0"), "{table}");
}

#[test]
fn answers_are_shown_on_the_page_and_nowhere_else() {
    let folder = TempDir::new().unwrap();
    write_samples(&folder.path().join("samples.jsonl"), &QUESTIONS.map(|_| "a <b>secret</b>".to_string()));
    let flags = [
        "--boundary",
        "3",
        "--chat",
        "--metric",
        "chrf",
        "--max-new-tokens",
        "6",
        "-o",
        "out",
        "--report",
        "page.html",
    ];
    run("slim", folder.path(), &flags).success();
    let report = fs::read_to_string(folder.path().join("out/slim_report.json")).unwrap();
    assert!(report.contains("\"metrics\"") && !report.contains("secret") && !report.contains("\"examples\""));
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    let shown = page.split("<section id=\"answers\">").nth(1).unwrap().split("</section>").next().unwrap();
    assert!(shown.contains("a &lt;b&gt;secret&lt;/b&gt;") && shown.contains("boundary 3, chosen: "), "{shown}");
}

#[test]
fn what_cannot_be_answered_is_refused_before_the_sweep() {
    let folder = TempDir::new().unwrap();
    let refused = |sample: Value, base: &str| -> String {
        fs::write(folder.path().join("samples.jsonl"), sample.to_string()).unwrap();
        let mut program = lora_slim();
        program.current_dir(folder.path()).arg("scan").arg(fixture(base).join("adapter"));
        program.arg("--base").arg(fixture(base).join("base")).args(["--samples", "samples.jsonl", "--metric", "f1"]);
        String::from_utf8(program.assert().code(3).get_output().stderr.clone()).unwrap()
    };
    let no_prompt = refused(json!({"text": "all of it is an answer"}), CASE);
    assert!(no_prompt.contains("samples.jsonl:1: there is no prompt") && no_prompt.contains("--metric"), "{no_prompt}");
    let tokens = json!({"input_ids": [5, 6, 7], "labels": [-100, -100, 7]});
    let no_tokenizer = refused(tokens, "pico/qwen2");
    assert!(no_tokenizer.contains("no tokenizer was found") && no_tokenizer.contains("--tokenizer"), "{no_tokenizer}");
}

#[test]
fn metrics_are_asked_for_by_their_names() {
    let folder = TempDir::new().unwrap();
    write_samples(&folder.path().join("samples.jsonl"), &QUESTIONS.map(|_| "x".to_string()));
    run("scan", folder.path(), &["--metric", "accuracy"]).code(2);
    run("scan", folder.path(), &["--max-new-tokens", "5"]).code(2);
    run("scan", folder.path(), &["--metric", "f1", "--max-new-tokens", "0"]).code(2);
    let little = run("scan", folder.path(), &["--metric", "f1", "--memory", "300kB"]);
    little.code(2);
}
