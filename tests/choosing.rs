//! What the flags of the choice do to what `slim` chooses and says of it.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{ADAPTER, document, fixture, lora_slim, read_json, slim, stdout};

#[test]
fn limits_and_best_choose_below_the_limit() {
    let folder = TempDir::new().unwrap();
    let scan = |more: &[&str]| -> Value {
        let assert = lora_slim()
            .arg("scan")
            .arg(fixture("pico/qwen2/adapter"))
            .arg("--base")
            .arg(fixture("pico/qwen2/base"))
            .arg("--samples")
            .arg(fixture("pico/samples.tokens.jsonl"))
            .args(["--json", "--quiet"])
            .args(more)
            .assert();
        serde_json::from_slice(&assert.get_output().stdout).unwrap_or_default()
    };
    let report = scan(&["--boundary", "4"]);
    let losses: Vec<(u64, f64)> = report["curve"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["boundary"].as_u64().unwrap(), p["loss"].as_f64().unwrap()))
        .collect();
    let boundaries: Vec<u64> = losses.iter().map(|(boundary, _)| *boundary).collect();
    assert_eq!(boundaries, [0, 1, 2, 4], "layer 2 has no adapter, so boundary 3 is no candidate");
    let best = losses.iter().filter(|(b, _)| *b <= 2).min_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0;
    let limited = scan(&["--choose", "best", "--loss-only", "--max-layers", "2"]);
    match best {
        0 => assert_eq!(limited, Value::Null, "the base model alone is never chosen"),
        best => assert_eq!(limited["chosen"]["boundary"], best),
    }
    drop(folder);
}

#[test]
fn a_boundary_has_to_keep_a_layer() {
    let folder = TempDir::new().unwrap();
    let upper = folder.path().join("upper");
    lora_slim().arg("cut").arg(fixture(ADAPTER)).args(["--keep-layers", "3-5", "-o"]).arg(&upper).assert().success();
    let mut command = lora_slim();
    command.arg("slim").arg(&upper).arg("--base").arg(fixture("pico/llama-llama3-rope/base"));
    command.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).args(["--boundary", "3", "-o", "out"]);
    let assert = command.current_dir(folder.path()).assert().code(2);
    let told = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(told.contains("the lowest of the adapter is layer 3"), "{told}");
}

#[test]
fn what_counts_as_proof_is_the_users_to_say() {
    let report = |more: &[&str]| -> Value {
        let mut command = lora_slim();
        command.arg("scan").arg(fixture(ADAPTER)).arg("--base").arg(fixture("pico/llama-llama3-rope/base"));
        command.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).args(["--json", "--quiet"]).args(more);
        document(&command.assert().success().get_output().stdout)
    };
    let options = &report(&["--margin", "3%", "--confidence", "0.9"])["options"];
    assert_eq!((&options["margin"], &options["confidence"]), (&json!(0.03), &json!(0.9)));
    assert_eq!(report(&["--boundary", "2"]).get("stability"), None, "what is given hangs on no samples");
    // With one standard error all boundaries are evaluated, whatever the search.
    let report = report(&["--choose", "best", "--one-standard-error", "--search", "adaptive"]);
    assert_eq!(report["options"]["one_standard_error"], true);
    assert_eq!(report["curve"].as_array().unwrap().len(), 7);
    assert_eq!(report["work"].get("error_probability"), None);
    let shares = report["stability"].as_array().unwrap().iter().map(|share| share["share"].as_f64().unwrap());
    assert!((shares.sum::<f64>() - 1.0).abs() < 1e-9);
    assert!(report["chosen"]["reason"].as_str().unwrap().contains("within one standard error of the lowest"));
}

#[test]
fn held_out_samples_have_no_part_in_the_choice() {
    let folder = TempDir::new().unwrap();
    let report = |more: &[&str]| {
        let text = stdout(slim(folder.path(), &[&["--force", "--boundary", "3"], more].concat()).success());
        (read_json(&folder.path().join("out/slim_report.json")), text)
    };
    let all = report(&[]).0;
    assert_eq!(all.get("held_out"), None);
    let (split, text) = report(&["--holdout", "25%"]);
    let (choosing, held_out) = (&split["samples"], &split["held_out"]);
    assert_eq!((&choosing["count"], &held_out["samples"]["count"]), (&json!(9), &json!(3)));
    assert_eq!(held_out["share"], 0.25);
    let tokens = |samples: &Value| samples["answer_tokens"].as_u64().unwrap();
    assert_eq!(tokens(choosing) + tokens(&held_out["samples"]), tokens(&all["samples"]));
    assert!(text.contains("held out: 3 samples"), "{text}");
    assert_eq!(held_out["chosen"]["boundary"], 3);

    // What each part says of a boundary adds up to what all samples say.
    let loss = |report: &Value, place: usize| report["curve"][place]["loss"].as_f64().unwrap();
    for (name, place) in [("base", 0), ("chosen", 3), ("whole", 6)] {
        let part = held_out[name]["loss"].as_f64().unwrap() * tokens(&held_out["samples"]) as f64;
        let sum = loss(&split, place) * tokens(choosing) as f64 + part;
        assert!((sum / tokens(&all["samples"]) as f64 - loss(&all, place)).abs() < 1e-5, "{name}");
    }

    // A file of its own: what also chooses does not count, and the same file again is refused.
    let path = fixture("pico/samples.tokens.jsonl");
    let assert = slim(folder.path(), &["--force", "--boundary", "3", "--test", path.to_str().unwrap()]);
    let stderr = String::from_utf8_lossy(&assert.code(2).get_output().stderr).into_owned();
    assert!(stderr.contains("none of the 12 held-out samples is left to check with"), "{stderr}");
    let new = [json!({"input_ids": [40, 41, 42, 43, 44, 45, 46]}), json!({"input_ids": [50, 51, 52, 53, 54, 55]})];
    let test = format!("{}{}\n{}\n", std::fs::read_to_string(path).unwrap(), new[0], new[1]);
    std::fs::write(folder.path().join("test.jsonl"), test).unwrap();
    let (report, _) = report(&["--test", "test.jsonl"]);
    let held_out = &report["held_out"];
    assert_eq!(held_out.get("share"), None);
    assert_eq!((&held_out["samples"]["count"], &held_out["left_out"]["copies"]), (&json!(2), &json!(12)));
    let codes: Vec<&Value> = report["warnings"].as_array().unwrap().iter().map(|warning| &warning["code"]).collect();
    assert!(codes.contains(&&json!("held-out-overlap")), "{codes:?}");
}
