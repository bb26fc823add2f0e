//! `--by`, `--scorer`, `--stop`, `--ignore-end`, `--own-answers` and `--slice-by`: what a choice is judged by.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::answers::{QUESTIONS, WHOLE, answers_at, run, scan, write_samples};
use crate::support::document;

const LIMIT: [&str; 2] = ["--max-new-tokens", "10"];

/// A folder whose samples have the answers of a boundary.
fn with_answers_of(boundary: usize) -> TempDir {
    let folder = TempDir::new().unwrap();
    let samples = folder.path().join("samples.jsonl");
    write_samples(&samples, &QUESTIONS.map(|_| "x".to_string()));
    write_samples(&samples, &answers_at(boundary, &samples, 10));
    folder
}

fn scores(report: &Value) -> Vec<(u64, f64)> {
    let rows = report["metrics"]["boundaries"].as_array().unwrap().iter();
    rows.map(|row| (row["boundary"].as_u64().unwrap(), row["scores"][0]["score"].as_f64().unwrap())).collect()
}

fn scan_with(folder: &Path, flags: &[&str]) -> Value {
    scan(folder, &[&LIMIT, flags].concat())
}

/// The message of a run that fails with this exit code.
fn failure(folder: &Path, code: i32, flags: &[&str]) -> String {
    let assert = run("scan", folder, flags).code(code);
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

#[test]
fn the_boundary_whose_answers_are_best_is_chosen_by_their_score() {
    let folder = with_answers_of(3);
    for score in ["exact-match", "chrf"] {
        let report = scan_with(folder.path(), &["--by", score, "--choose", "best", "--no-guard"]);
        assert_eq!((&report["chosen"]["boundary"], &report["options"]["score"]), (&json!(3), &json!(score)));
        let reason = report["chosen"]["reason"].as_str().unwrap();
        assert!(reason.contains(score), "{reason}");
        let scored = scores(&report);
        assert!(scored.contains(&(3, 100.0)) && scored.iter().all(|&(boundary, score)| boundary == 3 || score < 100.0));
    }
}

#[test]
fn no_boundary_is_chosen_whose_answers_may_be_worse() {
    // All that differs from the whole adapter's answers is wrong.
    let folder = with_answers_of(WHOLE);
    let report = scan_with(folder.path(), &["--by", "exact-match", "--no-guard", "--with-texts"]);
    assert_eq!(report["chosen"]["boundary"], json!(WHOLE));
    let samples = folder.path().join("samples.jsonl");
    for row in report["metrics"]["boundaries"].as_array().unwrap() {
        let boundary = row["boundary"].as_u64().unwrap() as usize;
        assert_eq!(row["answers"], json!(answers_at(boundary, &samples, 10)), "{boundary}");
    }
    // Nor does the rule that looks for the best take one that is not surely better.
    let report = scan_with(folder.path(), &["--by", "f1", "--choose", "best", "--no-guard"]);
    assert_eq!(report["chosen"]["boundary"], json!(WHOLE));
}

#[test]
fn accuracy_of_tokens_chooses_without_answers() {
    let folder = with_answers_of(4);
    let flags = ["--chat", "--json", "--by", "accuracy", "--choose", "best", "--no-guard", "--search", "exhaustive"];
    let assert = run("scan", folder.path(), &flags).success();
    let report = document(&assert.get_output().stdout);
    let accuracy = |point: &&Value| point["token_accuracy"].as_f64().unwrap();
    let curve = report["curve"].as_array().unwrap();
    let best = curve.iter().rev().max_by(|a, b| accuracy(a).total_cmp(&accuracy(b))).unwrap();
    assert_eq!(report["options"]["measure"], json!("token-accuracy"));
    assert_eq!(report["chosen"]["boundary"], best["boundary"]);
    assert!(report.get("metrics").is_none());
}

#[test]
fn held_out_answers_confirm_or_do_not() {
    let folder = with_answers_of(3);
    let flags = ["--by", "exact-match", "--choose", "best", "--no-guard", "--holdout", "17%"];
    let report = scan_with(folder.path(), &flags);
    let score = &report["held_out"]["score"];
    assert_eq!((&score["name"], &report["held_out"]["within_margin"]), (&json!("exact-match"), &json!(true)));
    assert!(score["difference"].as_f64().unwrap() > 0.0);
    assert_eq!((&report["metrics"]["on"], &report["choosing_metrics"]["on"]), (&json!("held-out"), &json!("choosing")));
}

#[test]
fn combinations_that_mean_nothing_are_refused() {
    let folder = with_answers_of(3);
    let refused = |flags: &[&str]| failure(folder.path(), 2, &[&["--chat"], flags].concat());
    assert!(refused(&["--by", "rouge-l", "--choose", "curve"]).contains("`curve`"));
    assert!(refused(&["--by", "rouge-l", "--scale", "tune"]).contains("--scale"));
    assert!(refused(&["--by", "scorer"]).contains("--scorer"));
    assert!(refused(&["--by", "rouge-l", "--boundary", "3"]).contains("--boundary"));
    assert!(refused(&["--by", "rouge-l", "--loss-only"]).contains("--loss-only"));
    assert!(refused(&["--metric", "f1", "--answers-at", "7"]).contains("boundary 7"));
    for flag in ["--max-new-tokens=3", "--with-texts", "--answers-at=2", "--stop=x"] {
        let message = refused(&[flag]);
        assert!(message.contains("--metric") && message.contains(flag.split('=').next().unwrap()), "{message}");
    }
}

#[cfg(unix)]
mod scorer {
    use super::*;

    /// Gives an answer with an `i`, which no escape of JSON has, one point, and others none.
    const HAS_I: &str =
        r#"while IFS= read -r line; do case "$line" in *'"answer":"'*i*) echo 1 ;; *) echo 0 ;; esac; done"#;

    #[test]
    fn a_program_scores_answers() {
        let folder = with_answers_of(3);
        let flags = ["--scorer", HAS_I, "--boundary", "3", "--with-texts"];
        let report = scan_with(folder.path(), &flags);
        let mut points = 0.0;
        for row in report["metrics"]["boundaries"].as_array().unwrap() {
            let answers = row["answers"].as_array().unwrap();
            let point = |answer: &Value| f64::from(u8::from(answer.as_str().unwrap().contains('i')));
            let expected: Vec<f64> = answers.iter().map(point).collect();
            let score = &row["scores"][0];
            assert_eq!((&score["metric"], &score["per_sample"]), (&json!("scorer"), &json!(expected)), "{row}");
            let mean = expected.iter().sum::<f64>() / expected.len() as f64;
            assert!((score["score"].as_f64().unwrap() - mean).abs() < 1e-9);
            points += mean;
        }
        assert!(points > 0.0, "no answer has the letter");
    }

    #[test]
    fn it_chooses() {
        let folder = with_answers_of(3);
        let report = scan_with(folder.path(), &["--scorer", HAS_I, "--by", "scorer", "--choose", "best", "--no-guard"]);
        assert_eq!(report["options"]["score"], json!("scorer"));
        let scored = scores(&report);
        let whole = scored.last().unwrap().1;
        let chosen = report["chosen"]["boundary"].as_u64().unwrap();
        let of_chosen = scored.iter().find(|(boundary, _)| *boundary == chosen).unwrap().1;
        assert!(chosen == WHOLE as u64 || of_chosen > whole, "{scored:?}");
    }

    #[test]
    fn one_that_fails_is_named_before_the_long_run() {
        let folder = with_answers_of(3);
        let failed = |command: &str| {
            failure(folder.path(), 3, &["--chat", "--boundary", "3", "--scorer", command, "--scorer-limit", "0.3"])
        };
        assert!(failed("exit 7").contains("the scorer `exit 7` failed: it ended early"));
        assert!(failed("sleep 60").contains("it wrote no number within 0.3 s"));
        assert!(failed("read -r line; echo good").contains("`good` is not a number"));
        assert!(failed("while read -r line; do echo 1; echo 5; done").contains("more lines than it was asked for"));
        assert!(failed("yes 1").contains("more lines than it was asked for"));
        assert!(failed("read -r line; echo 1e308").contains("`1e308` is not a number"));
        assert!(failed("read -r line; echo nan").contains("`nan` is not a number"));
    }
}

#[test]
fn a_text_ends_answers() {
    let folder = with_answers_of(3);
    let answers = |flags: &[&str]| {
        let report =
            scan_with(folder.path(), &[&["--metric", "f1", "--boundary", "3", "--with-texts"], flags].concat());
        let rows = report["metrics"]["boundaries"].as_array().unwrap().clone();
        rows.into_iter()
            .map(|row| serde_json::from_value(row["answers"].clone()).unwrap())
            .collect::<Vec<Vec<String>>>()
    };
    let full = answers(&[]);
    let stop = full[0][0].chars().nth(2).unwrap().to_string();
    let expected: Vec<Vec<String>> = full
        .iter()
        .map(|texts| texts.iter().map(|text| text.split(&stop).next().unwrap().to_string()).collect())
        .collect();
    assert_ne!(full, expected);
    assert_eq!(answers(&["--stop", &stop]), expected);
}

/// One draw gives no bounds.
#[test]
fn a_page_of_one_draw_is_written() {
    let folder = with_answers_of(3);
    let line = r#"{"prompt": "a", "completion": "bcd"}"#;
    let path = folder.path().join("samples.jsonl");
    fs::write(&path, format!("{line}\n{line}\n{line}\n")).unwrap();
    let page = folder.path().join("page.html").display().to_string();
    scan_with(folder.path(), &["--metric", "f1", "--boundary", "3", "--report", &page]);
    assert!(fs::read_to_string(page).unwrap().contains("Generated answers"));
}

#[test]
fn a_stop_that_no_answer_holds_is_pointed_out() {
    let folder = with_answers_of(3);
    let warned = |stop: &str| {
        let flags = ["--metric", "f1", "--boundary", "3", "--with-texts", "--stop", stop];
        let report = scan_with(folder.path(), &flags);
        let warnings = report["warnings"].as_array().cloned().unwrap_or_default();
        (warnings.iter().any(|warning| warning["code"] == "unused-stop"), report["metrics"]["boundaries"].clone())
    };
    let (is_unused, rows) = warned("no answer says this");
    assert!(is_unused);
    let answer = rows.as_array().unwrap().last().unwrap()["answers"][0].as_str().unwrap().to_string();
    let (is_unused, rows) = warned(&answer.chars().nth(2).unwrap().to_string());
    assert!(!is_unused);
    assert!(rows.as_array().unwrap().last().unwrap()["stopped_by_text"].as_u64() > Some(0));
}

#[test]
fn ends_are_left_out_of_what_is_scored() {
    let folder = with_answers_of(3);
    let samples = |flags: &[&str]| scan(folder.path(), &[&["--boundary", "3"], flags].concat())["samples"].clone();
    let (with, without) = (samples(&[]), samples(&["--ignore-end"]));
    let ends = |samples: &Value| {
        let ends: Vec<u64> = serde_json::from_value(samples["per_sample_ends"].clone()).unwrap();
        ends.into_iter().sum::<u64>()
    };
    assert!(ends(&with) >= QUESTIONS.len() as u64);
    assert_eq!((ends(&without), &without["ignores_ends"]), (0, &json!(true)));
    let tokens = |samples: &Value| samples["answer_tokens"].as_u64().unwrap();
    assert!(tokens(&without) <= tokens(&with) - ends(&with));
}

#[test]
fn prompts_alone_are_answered_by_the_whole_adapter() {
    let folder = TempDir::new().unwrap();
    let lines = QUESTIONS.map(|question| json!({"prompt": question}).to_string());
    fs::write(folder.path().join("samples.jsonl"), lines.join("\n")).unwrap();
    let message = failure(folder.path(), 3, &["--chat"]);
    assert!(message.contains("--own-answers"), "{message}");
    let report = scan(folder.path(), &["--own-answers"]);
    assert_eq!(report["samples"]["own_answers"], json!(true));
    let curve = report["curve"].as_array().unwrap();
    let (base, whole) = (&curve[0], curve.last().unwrap());
    assert_eq!((&whole["token_accuracy"], &whole["exact_match"]), (&json!(1.0), &json!(1.0)));
    assert!(base["token_accuracy"].as_f64().unwrap() < 1.0);
    // With answers beside the prompts it is the same: they have no part in it.
    write_samples(&folder.path().join("samples.jsonl"), &QUESTIONS.map(|_| "nothing".to_string()));
    assert_eq!(scan(folder.path(), &["--own-answers"])["curve"], report["curve"]);
}

#[test]
fn what_scores_no_higher_than_the_base_model_chooses_nothing() {
    let folder = with_answers_of(0);
    let report = scan_with(folder.path(), &["--by", "exact-match", "--no-guard"]);
    assert_eq!(report["chosen"]["boundary"], json!(WHOLE));
    let codes: Vec<&Value> = report["warnings"].as_array().unwrap().iter().map(|warning| &warning["code"]).collect();
    assert!(codes.contains(&&json!("score-gains-nothing")), "{codes:?}");
}

#[test]
fn own_answers_end_where_they_are_served_to_end() {
    let folder = with_answers_of(WHOLE);
    let report = scan_with(folder.path(), &["--metric", "exact-match", "--with-texts"]);
    let answers = report["metrics"]["boundaries"].as_array().unwrap().last().unwrap()["answers"].clone();
    let stop = answers[0].as_str().unwrap().chars().nth(2).unwrap().to_string();
    let flags = ["--own-answers", "--metric", "exact-match", "--stop", &stop];
    assert_eq!(scores(&scan_with(folder.path(), &flags)).last().unwrap().1, 100.0);
}

#[test]
fn slices_are_told_apart() {
    let folder = TempDir::new().unwrap();
    let samples = folder.path().join("samples.jsonl");
    let line = |(place, question): (usize, &&str)| {
        json!({"prompt": question, "completion": "yes", "domain": if place < 2 { "law" } else { "art" }}).to_string()
    };
    fs::write(&samples, QUESTIONS.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")).unwrap();
    let report = scan(folder.path(), &["--slice-by", "domain", "--boundary", "3"]);
    let slices: Vec<(&Value, &Value)> =
        report["slices"].as_array().unwrap().iter().map(|slice| (&slice["name"], &slice["samples"])).collect();
    assert_eq!(slices, [(&json!("art"), &json!(4)), (&json!("law"), &json!(2))]);
    let point = report["curve"].as_array().unwrap().iter().find(|point| point["boundary"] == 3).unwrap();
    let per_sample: Vec<f64> = serde_json::from_value(point["per_sample"].clone()).unwrap();
    let tokens: Vec<f64> = serde_json::from_value(report["samples"]["per_sample"].clone()).unwrap();
    let law = per_sample[..2].iter().sum::<f64>() / tokens[..2].iter().sum::<f64>();
    assert!((report["slices"][1]["loss"].as_f64().unwrap() - law).abs() < 1e-9);
    let codes: Vec<&Value> = report["warnings"].as_array().unwrap().iter().map(|warning| &warning["code"]).collect();
    assert!(codes.contains(&&json!("thin-slices")), "{codes:?}");
    let message = failure(folder.path(), 3, &["--chat", "--slice-by", "topic"]);
    assert!(message.contains("samples.jsonl:1") && message.contains("`topic`"), "{message}");
    let text =
        String::from_utf8(run("scan", folder.path(), &["--chat", "--slice-by", "domain"]).get_output().stdout.clone());
    assert!(text.unwrap().contains("domain  samples"));
}
