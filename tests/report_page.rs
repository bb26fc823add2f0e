//! The page of `--report`: it says what the JSON says, nothing in it is live but its own script, and it is written as
//! carefully as an adapter.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{copy_folder, document, fixture, lora_slim, read_json};

const CASE: &str = "pico/llama-llama3-rope";

/// Runs `scan` with a page, and gives the page and the JSON.
fn scan(folder: &Path, samples: &Path, more: &[&str]) -> (String, Value) {
    let mut command = lora_slim();
    command.current_dir(folder).arg("scan").arg(fixture(CASE).join("adapter"));
    command.arg("--base").arg(fixture(CASE).join("base")).arg("--samples").arg(samples);
    let output = command.args(["--json", "--report", "page.html"]).args(more).assert().success();
    let report = document(&output.get_output().stdout);
    (fs::read_to_string(folder.join("page.html")).unwrap(), report)
}

fn slim(folder: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = lora_slim();
    command.current_dir(folder).arg("slim").arg(fixture(CASE).join("adapter"));
    command.arg("--base").arg(fixture(CASE).join("base"));
    command.arg("--samples").arg(fixture("pico/samples.tokens.jsonl"));
    command.args(["-o", "out", "--report", "page.html"]).args(more).assert()
}

/// The part of the page with this id.
fn part<'a>(page: &'a str, id: &str) -> &'a str {
    let start = page.find(&format!("<section id=\"{id}\">")).unwrap_or_else(|| panic!("no part `{id}`"));
    let length = page[start..].find("</section>").unwrap();
    &page[start..start + length]
}

/// The full values of the numbers in a piece of the page.
fn numbers(piece: &str) -> Vec<f64> {
    piece.split("<data value=\"").skip(1).map(|rest| rest.split('"').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn the_numbers_are_those_of_the_json() {
    let folder = TempDir::new().unwrap();
    let (page, report) = scan(folder.path(), &fixture("pico/samples.tokens.jsonl"), &["--boundary", "3"]);
    let fields = |list: &str, fields: &[&str]| -> Vec<f64> {
        let entries = report[list].as_array().unwrap();
        entries.iter().flat_map(|entry| fields.iter().filter_map(|field| entry[*field].as_f64())).collect()
    };
    let of_curve = ["loss", "gain_kept", "difference", "difference_at_most", "bytes"];
    assert_eq!(numbers(part(&page, "boundaries")), fields("curve", &of_curve));
    assert_eq!(numbers(part(&page, "layers")), fields("layers", &["norm", "bytes"]));
    let changed = fields("changed", &["whole", "chosen", "difference"]);
    assert!(!changed.is_empty());
    let sorted = |values: Vec<f64>| values.into_iter().map(|value| value.to_string()).collect::<BTreeSet<_>>();
    assert_eq!(sorted(numbers(part(&page, "samples"))), sorted(changed));
    let summary = numbers(part(&page, "summary"));
    assert_eq!(summary, side_by_side(&report));
    assert!(page.contains("3 of 6 layers are kept"), "{page}");
    for hash in report["adapter"]["files"].as_array().unwrap().iter().map(|file| file["blake3"].as_str().unwrap()) {
        assert!(part(&page, "inputs").contains(hash));
    }
}

/// The figures of base model, whole adapter and what is written, and their changes, in the order of the page.
fn side_by_side(report: &Value) -> Vec<f64> {
    let curve = report["curve"].as_array().unwrap();
    let (base, whole, written) = (&curve[0], &curve[curve.len() - 1], &report["chosen"]);
    let of = |one: &Value, name: &str| one[name].as_f64();
    let (before, after) = (of(&report["output"], "bytes_before"), of(&report["output"], "bytes_after"));
    let mut expected = vec![before, after, Some(after.unwrap() / before.unwrap() - 1.0)];
    let change = |name| Some(of(written, name).unwrap() - of(whole, name).unwrap());
    let row = |name| [base, whole, written].map(|one| of(one, name)).into_iter().chain([change(name)]);
    expected.extend(row("loss"));
    expected.extend([of(whole, "gain_kept"), of(written, "gain_kept")]);
    expected.extend(["token_probability", "token_accuracy", "exact_match"].into_iter().flat_map(row));
    expected.into_iter().flatten().collect()
}

#[test]
fn what_speaks_for_the_choice_is_that_of_the_json() {
    let folder = TempDir::new().unwrap();
    let more = ["--choose", "best", "--holdout", "0.3"];
    let (page, report) = scan(folder.path(), &fixture("pico/samples.tokens.jsonl"), &more);
    let curve = report["curve"].as_array().unwrap();
    let chosen = curve.iter().find(|point| point["boundary"] == report["chosen"]["boundary"]).unwrap();
    let points = [&curve[0], chosen, &curve[curve.len() - 1]];
    let mut expected: Vec<f64> = Vec::new();
    for point in points.iter().take(if chosen["boundary"] == points[2]["boundary"] { 2 } else { 3 }) {
        let shown = ["token_probability", "token_accuracy", "exact_match"];
        expected.extend(shown.map(|name| point[name].as_f64().unwrap()));
        expected.extend(point["end_accuracy"].as_f64());
    }
    expected.extend(["chosen", "base", "whole"].map(|which| report["held_out"][which]["loss"].as_f64().unwrap()));
    assert_eq!(numbers(part(&page, "trust")), expected);
    let agreeing = report["stability"].as_array().unwrap().iter().find(|share| share["boundary"] == chosen["boundary"]);
    let agreeing = agreeing.map_or(0.0, |share| share["share"].as_f64().unwrap());
    assert!(part(&page, "trust").contains(&format!("in {:.0} % of cases", agreeing * 100.0)));
}

#[test]
fn every_section_has_its_place() {
    let folder = TempDir::new().unwrap();
    let more = ["--boundary", "3", "--holdout", "0.5", "--probability", "--controls", "--rank", "2", "--metric", "f1"];
    let more = [&more[..], &["--max-new-tokens", "4", "--require-saving", "10%"]].concat();
    let (page, report) = scan(folder.path(), &fixture("pico/text/prompt_completion.jsonl"), &more);
    let sections: Vec<&str> =
        page.split("<section id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    let first = ["summary", "gates", "curve", "command", "serving", "probability", "trust", "alternatives", "steps"];
    assert_eq!(sections, [&first[..], &["answers", "layers", "samples", "boundaries", "search", "inputs"]].concat());
    let fields =
        |value: &Value, names: &[&str]| -> Vec<f64> { names.iter().filter_map(|name| value[*name].as_f64()).collect() };
    let alternatives = report["alternatives"].as_array().unwrap().iter();
    let losses = alternatives.flat_map(|alternative| {
        [fields(&alternative["samples"], &["loss"]), fields(&alternative["held_out"], &["loss", "exact_match"])]
            .concat()
    });
    assert_eq!(numbers(part(&page, "alternatives")), losses.collect::<Vec<_>>());
    let losses = ["loss", "gain_kept", "difference", "difference_at_most", "token_accuracy", "exact_match"];
    let steps = |samples: &str| -> Vec<f64> {
        let row = |step: &Value| {
            [fields(step, &["bytes"]), fields(&step["change"], &["relative"]), fields(&step[samples], &losses)].concat()
        };
        report["steps"].as_array().unwrap().iter().flat_map(row).collect()
    };
    assert_eq!(numbers(part(&page, "steps")), [steps("losses"), steps("held_out")].concat());
}

#[test]
fn what_a_layer_holds_is_what_inspect_tells() {
    let folder = TempDir::new().unwrap();
    let (_, report) = scan(folder.path(), &fixture("pico/samples.tokens.jsonl"), &["--boundary", "2"]);
    let inspected = lora_slim().arg("inspect").arg(fixture(CASE).join("adapter")).arg("--json").assert().success();
    let inspected = document(&inspected.get_output().stdout);
    for (layer, told) in report["layers"].as_array().unwrap().iter().zip(inspected["layers"].as_array().unwrap()) {
        assert_eq!((&layer["bytes"], &layer["norm"]), (&told["bytes"], &told["norm"]));
        assert_eq!(layer["kept"], json!(layer["layer"].as_u64().unwrap() < 2));
    }
}

#[test]
fn the_same_run_gives_the_same_page() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let page = |folder: &TempDir| {
        slim(folder.path(), &["--boundary", "3"]).success();
        fs::read(folder.path().join("page.html")).unwrap()
    };
    assert_eq!(page(&one), page(&two));
}

/// Everything that a page could be made to do must come out as text.
const HOSTILE: &str =
    "</title></p><script>alert(1)</script><img src=x onerror=alert(2)>\" onload='x' \u{202e}abc\0 שלום";

#[test]
fn hostile_samples_and_paths_come_out_as_text() {
    let folder = TempDir::new().unwrap();
    // The same once more as the name of a file, as far as a name can be so.
    let samples = folder.path().join("\"'><img src=x onerror=alert(3)>&amp;.jsonl");
    let sample = |answer: &str| json!({"prompt": HOSTILE, "completion": format!("{HOSTILE}{answer}")}).to_string();
    fs::write(&samples, [sample("a"), sample("another")].join("\n")).unwrap();
    let (page, report) = scan(folder.path(), &samples, &["--boundary", "3"]);
    assert_eq!(report["changed"][0]["prompt"], HOSTILE);
    let shown = part(&page, "samples");
    assert!(
        shown.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && shown.contains("[U+202E]abc\u{fffd} שלום"),
        "{shown}"
    );
    assert!(part(&page, "inputs").contains("&quot;&#39;&gt;&lt;img src=x"));
    assert!(!page.contains("<img") && !page.contains('\0') && !page.contains('\u{202e}'));
    assert_eq!(page.matches("<script").count(), 1, "its own");
}

#[test]
fn the_page_asks_for_nothing() {
    let folder = TempDir::new().unwrap();
    let (page, _) = scan(folder.path(), &fixture("pico/samples.tokens.jsonl"), &["--boundary", "3"]);
    for reference in ["http://", "https://", " src=", " href=", "url(", "@import", "<link", "<iframe", "fetch("] {
        assert!(!page.contains(reference), "{reference}");
    }
}

#[test]
fn words_of_samples_stay_out_of_the_adapter_folder() {
    let folder = TempDir::new().unwrap();
    let samples = folder.path().join("samples.jsonl");
    let lines = [json!({"text": "the secret of the first"}), json!({"text": "another secret"})];
    fs::write(&samples, lines.map(|line| line.to_string()).join("\n")).unwrap();
    let mut command = lora_slim();
    command.current_dir(folder.path()).arg("slim").arg(fixture(CASE).join("adapter"));
    command.arg("--base").arg(fixture(CASE).join("base")).args(["--samples", "samples.jsonl", "--boundary", "3"]);
    command.args(["-o", "out", "--report", "page.html"]).assert().success();
    let report = fs::read_to_string(folder.path().join("out/slim_report.json")).unwrap();
    assert!(report.contains("\"changed\"") && !report.contains("secret"));
    assert!(fs::read_to_string(folder.path().join("page.html")).unwrap().contains("secret"));
}

#[test]
fn boundaries_that_were_ruled_out_are_told_apart() {
    let folder = TempDir::new().unwrap();
    // So alike that a few of them are enough to rule boundaries out; but copies would be one draw.
    let line = |line: usize| json!({"input_ids": [5 + line, 60, 71, 102 + line % 2, 44, 9, 81, 200, 33]}).to_string();
    let lines: Vec<String> = (0..64).map(line).collect();
    let samples = folder.path().join("samples.jsonl");
    fs::write(&samples, lines.join("\n")).unwrap();
    let (page, report) = scan(folder.path(), &samples, &["--search", "adaptive", "--choose", "best", "--loss-only"]);
    let dropped = report["dropped"].as_array().map_or(0, Vec::len);
    assert!(part(&page, "boundaries").contains("ruled out"));
    let shown = numbers(part(&page, "boundaries"));
    let points = report["curve"].as_array().unwrap().iter().chain(report["dropped"].as_array().unwrap());
    let losses: Vec<f64> = points.filter_map(|point| point.get("loss").or(point.get("difference"))?.as_f64()).collect();
    assert!(losses.iter().all(|loss| shown.contains(loss)), "{losses:?}");
    // Once in the drawing for wide screens and once in the one for narrow screens.
    assert_eq!(part(&page, "curve").matches(": ruled out").count(), 2 * dropped);
    assert!(dropped > 0, "the samples should rule something out");
}

#[test]
fn a_dry_run_and_a_refusal_have_their_page() {
    let folder = TempDir::new().unwrap();
    slim(folder.path(), &["--boundary", "3", "--dry-run"]).success();
    assert!(folder.path().join("page.html").exists() && !folder.path().join("out").exists());

    let adapter = folder.path().join("adapter");
    copy_folder(&fixture(CASE).join("adapter"), &adapter);
    let mut config = read_json(&adapter.join("adapter_config.json"));
    for alpha in [200.0, -200.0, 4000.0] {
        config["lora_alpha"] = json!(alpha);
        fs::write(adapter.join("adapter_config.json"), config.to_string()).unwrap();
        let mut command = lora_slim();
        command.current_dir(folder.path()).args(["slim", "adapter", "--base"]).arg(fixture(CASE).join("base"));
        command.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).args([
            "--choose",
            "best",
            "--loss-only",
            "-o",
            "out",
            "--force",
        ]);
        let output = command.args(["--report", "page.html"]).output().unwrap();
        if output.status.code() == Some(5) {
            let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
            assert!(page.contains("The adapter does not help on these samples"), "{page}");
            return;
        }
    }
    panic!("some strength should do harm");
}

#[test]
fn the_page_begins_with_what_speaks_against_the_result() {
    let folder = TempDir::new().unwrap();
    let more = ["--boundary", "1", "--require-saving", "99%"];
    let mut command = lora_slim();
    command.current_dir(folder.path()).arg("scan").arg(fixture(CASE).join("adapter"));
    command.arg("--base").arg(fixture(CASE).join("base"));
    command.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).args(["--report", "page.html"]).args(more);
    command.assert().code(6);
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(page.contains("<h1 class=\"bad\">A gate failed: 1 of 6 layers is kept, 83 % smaller"), "{page}");
    // Warnings come before the first figure.
    let summary = part(&page, "summary");
    assert!(summary.find("aria-label=\"warnings\"") < summary.find("<data"), "{summary}");
}

#[test]
fn the_command_can_be_run_again() {
    let folder = TempDir::new().unwrap();
    let (page, _) = scan(folder.path(), &fixture("pico/samples.tokens.jsonl"), &["--boundary", "3"]);
    let line = part(&page, "command").split("<code>").nth(1).and_then(|rest| rest.split("</code>").next()).unwrap();
    assert!(line.starts_with("lora-slim scan ") && line.contains(" --boundary 3"), "{line}");
    let words = line.split(' ').skip(1);
    lora_slim().current_dir(folder.path()).args(words).args(["--report", "again.html"]).assert().success();
    let of_curve = |page: &str| numbers(part(page, "boundaries"));
    let again = fs::read_to_string(folder.path().join("again.html")).unwrap();
    assert_eq!(of_curve(&page), of_curve(&again));
}
