//! `--minimize`: what is written is what was measured, within its limits and for its runtimes.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{fixture, lora_slim, pico_loss, read_json, read_safetensors};

/// Pico adapters that help. A random adapter is far from what training makes: wide margins let it shrink.
const CASES: [&str; 6] = ["mistral", "mixtral", "paligemma", "granite", "phi3", "qwen2-moe"];
const LENIENT: [&str; 5] = ["--margin", "60%", "--confidence", "0.5", "--loss-only"];

fn slim(adapter: &Path, case: &str, out: &Path, more: &[&str]) -> Command {
    let mut command = lora_slim();
    command.arg("slim").arg(adapter).arg("--base").arg(fixture("pico").join(case).join("base"));
    command.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).args(["--precision", "f32", "--force", "-o"]);
    command.arg(out).args(more);
    command
}

/// Slims the adapter of a pico case, which has to work.
fn minimize(case: &str, out: &Path, more: &[&str]) -> Value {
    let adapter = fixture("pico").join(case).join("adapter");
    slim(&adapter, case, out, &[&LENIENT[..], more].concat()).assert().success();
    read_json(&out.join("slim_report.json"))
}

/// Minimises a pico adapter that is refused, and gives what is said.
fn refused(adapter: PathBuf, case: &str, more: &[&str]) -> String {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    let output = slim(&adapter, case, &out, more).assert().failure().get_output().clone();
    assert!(!out.exists());
    String::from_utf8(output.stderr).unwrap()
}

fn bytes_of(adapter: &Path) -> u64 {
    let header = std::fs::read(adapter.join("adapter_model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&header).unwrap();
    tensors.tensors().iter().map(|(_, tensor)| tensor.data().len() as u64).sum()
}

/// The loss of a whole adapter, by `scan`.
fn loss_of(adapter: &Path, case: &str) -> f64 {
    pico_loss(&fixture("pico/samples.tokens.jsonl"), adapter, case)
}

#[test]
fn what_is_written_is_what_was_measured() {
    let folder = TempDir::new().unwrap();
    let mut saved = 0;
    for case in CASES {
        let out = folder.path().join(case);
        let report = minimize(case, &out, &["--minimize", "bytes"]);
        let minimized = &report["minimized"];
        let (said, measured) = (minimized["loss"].as_f64().unwrap(), loss_of(&out, case));
        assert!((said - measured).abs() < 1e-5, "{case}: {measured} instead of {said}");
        let last = report["steps"].as_array().unwrap().last().unwrap();
        assert_eq!(last["losses"]["loss"], minimized["loss"], "{case}");
        let (after, before) = (&report["output"]["bytes_after"], report["output"]["bytes_before"].as_u64().unwrap());
        assert_eq!(after.as_u64().unwrap(), bytes_of(&out), "{case}");
        let frontier = minimized["frontier"].as_array().unwrap();
        let sizes: Vec<u64> = frontier.iter().map(|point| point["bytes"].as_u64().unwrap()).collect();
        assert!(sizes.windows(2).all(|pair| pair[0] > pair[1]), "{case}: {sizes:?}");
        let chosen: Vec<&Value> = frontier.iter().filter(|point| point["chosen"] == true).collect();
        assert!(chosen.iter().all(|point| point["holds"] == true && &point["bytes"] == after), "{case}: {chosen:?}");
        saved += u64::from(2 * after.as_u64().unwrap() < before);
    }
    assert!(saved >= 3, "smaller than by the type alone in {saved} cases");
}

/// What is dropped has no tensors, and the sum of the ranks that are kept is that of the tensors.
#[test]
fn the_report_has_the_ranks_that_are_written() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    let report = minimize("phi3", &out, &["--minimize", "bytes", "--dtype", "f32"]);
    let tensors = read_safetensors(&out.join("adapter_model.safetensors"));
    for kept in report["minimized"]["kept"].as_array().unwrap() {
        let ending = format!("{}.lora_A.weight", kept["name"].as_str().unwrap());
        let ranks: Vec<u64> =
            tensors.iter().filter(|(name, _)| name.ends_with(&ending)).map(|(_, (shape, _))| shape[0] as u64).collect();
        assert_eq!(
            (kept["kept"].as_u64(), kept["ranks"].as_u64()),
            (Some(ranks.len() as u64), Some(ranks.iter().sum()))
        );
    }
}

#[test]
fn a_limit_is_kept_and_the_lowest_loss_is_looked_for_within_it() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    let whole = bytes_of(&fixture("pico/phi3/adapter"));
    let mut losses = Vec::new();
    for share in [2, 4, 8] {
        let limit = whole / share;
        let report = minimize("phi3", &out, &["--minimize", "loss", "--max-bytes", &limit.to_string()]);
        assert!(bytes_of(&out) <= limit, "{} of {limit}", bytes_of(&out));
        assert!(bytes_of(&out) > limit / 2, "{} of {limit}: the room is used", bytes_of(&out));
        losses.push(report["minimized"]["difference"].as_f64().unwrap().abs());
    }
    // All ranks fit into half of the bytes, at half of the width.
    assert!(losses[0] < losses[2], "{losses:?}");
    let too_small = [&LENIENT[..], &["--minimize", "loss", "--max-bytes", "10"]].concat();
    let said = refused(fixture("pico/phi3/adapter"), "phi3", &too_small);
    assert!(said.contains("nothing fits `--max-bytes 10`"), "{said}");
}

/// All sizes are shown without a part in the choice, and any of them can be written by its bytes.
#[test]
fn every_size_of_the_frontier_can_be_written() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    let needed = minimize("phi3", &out, &["--minimize", "bytes"]);
    let all = minimize("phi3", &out, &["--minimize", "bytes", "--search", "exhaustive"]);
    assert_eq!(needed["output"]["bytes_after"], all["output"]["bytes_after"]);
    let points = |report: &Value| report["minimized"]["frontier"].as_array().unwrap().clone();
    assert!(points(&all).len() > points(&needed).len());
    for point in points(&all) {
        let size = point["bytes"].to_string();
        let written = minimize("phi3", &out, &["--minimize", "loss", "--max-bytes", &size]);
        assert_eq!(written["output"]["bytes_after"], point["bytes"], "{size}");
        let again = &points(&written)[0];
        assert_eq!((&again["ranks"], &again["modules"]), (&point["ranks"], &point["modules"]), "{size}");
        if point["role"] == "testing" {
            let difference = |point: &Value| point["against"][0]["difference"].as_f64().unwrap();
            assert!((difference(again) - difference(&point)).abs() < 1e-9, "{size}");
        }
    }
}

#[test]
fn runtimes_that_need_it_get_one_rank() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    for flags in [&["--same-rank"][..], &["--for", "sglang"]] {
        let report = minimize("mistral", &out, &[&["--minimize", "bytes"], flags].concat());
        assert_eq!(report["minimized"]["same_rank"], true, "{flags:?}");
        let config = read_json(&out.join("adapter_config.json"));
        assert!(config["rank_pattern"].as_object().is_none_or(|pattern| pattern.is_empty()), "{flags:?}");
    }
}

/// Where nothing may be given up, nothing is a share of it.
#[test]
fn a_page_without_a_margin_has_numbers() {
    let folder = TempDir::new().unwrap();
    let page = folder.path().join("page.html");
    let strict = ["--minimize", "bytes", "--confidence", "0.5", "--loss-only", "--margin", "0", "--report"];
    let adapter = fixture("pico/mistral/adapter");
    let mut command = slim(&adapter, "mistral", &folder.path().join("out"), &strict);
    command.arg(&page).assert().success();
    let page = std::fs::read_to_string(page).unwrap();
    let (page, _) = page.split_once("<script").unwrap();
    assert!(page.contains("What each size costs") && !page.contains("NaN"), "{page}");
    assert!(page.contains("differ&shy;ence") && !page.contains("[U+00AD]"), "{page}");
}

#[test]
fn what_cannot_be_minimised_is_refused() {
    let adapter = |case: &str| fixture("pico").join(case).join("adapter");
    for (flags, words) in [
        (&["--minimize", "bytes", "--rank", "2"][..], "finds the ranks"),
        (&["--minimize", "loss"], "needs a limit"),
        (&["--minimize", "bytes", "--max-bytes", "1MB"], "`--minimize loss`"),
        (&["--minimize", "bytes", "--search", "subset"], "`exhaustive` for all sizes"),
        (&["--same-rank"], "--minimize"),
        (&["--minimize", "bytes", "--max-samples", "3"], "too few"),
    ] {
        let said = refused(adapter("mistral"), "mistral", &[&LENIENT[..], flags].concat());
        assert!(said.contains(words), "{flags:?}: {said}");
    }
    let said = refused(adapter("bloom"), "bloom", &["--minimize", "bytes"]);
    assert!(said.contains("does not help") || said.contains("no better"), "{said}");
    let mut command = lora_slim();
    command.arg("slim").arg(fixture("kinds/loha")).arg("--base").arg(fixture("kinds/base"));
    command.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).args([
        "--minimize",
        "bytes",
        "-o",
        "nowhere/out",
    ]);
    let said = String::from_utf8(command.assert().failure().get_output().stderr.clone()).unwrap();
    assert!(said.contains("LoHa"), "{said}");
}
