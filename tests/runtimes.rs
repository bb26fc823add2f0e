//! Which runtimes load an adapter, and what `slim` and `cut` say of that.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use lora_slim::adapter::Adapter;
use lora_slim::audit::examine::{KnownBase, examine};
use lora_slim::audit::runtimes::planned::PlannedOutput;
use lora_slim::audit::runtimes::{LoadOutcome, RUNTIMES, Runtime};
use lora_slim::rewrite::Cut;
use lora_slim::rewrite::steps::PlannedChanges;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{ADAPTER, Tensors, fixture, lora_slim, read_json, stdout, write_config, write_safetensors};

fn check(adapter: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    lora_slim().arg("check").arg(adapter).args(more).assert()
}

/// The adapter of fixture `kind`, as `runtime` sees it.
fn outcome(kind: &str, runtime: &str) -> LoadOutcome {
    let adapter = Adapter::open(&fixture("kinds").join(kind), None).unwrap();
    let runtime = Runtime::by_name(runtime).unwrap();
    examine(&adapter, &KnownBase::default(), &[runtime]).unwrap().runtimes[0].verdict
}

fn kinds() -> Vec<String> {
    let folders = fs::read_dir(fixture("kinds")).unwrap().map(|entry| entry.unwrap().path());
    let kinds = folders.filter(|folder| folder.join("adapter_config.json").is_file());
    kinds.map(|folder| folder.file_name().unwrap().to_str().unwrap().to_string()).collect()
}

/// `fixtures/runtimes.json` is what PEFT and transformers did with each kind, and whether the loaders of some servers, run out of
/// their own files, refused it (`scripts/fixtures/runtimes.py`).
#[test]
fn verdicts_are_those_of_the_runtimes_themselves() {
    let own = read_json(&fixture("runtimes.json"));
    for (runtime, is_whole) in [
        ("peft", true),
        ("transformers", true),
        ("vllm", false),
        ("sglang", false),
        ("slora", false),
        ("tensorrt-llm", false),
    ] {
        let own = own[runtime].as_object().unwrap();
        assert_eq!(own.keys().cloned().collect::<BTreeSet<_>>(), kinds().into_iter().collect(), "{runtime}");
        for (kind, expected) in own {
            let found = outcome(kind, runtime).to_string();
            let agrees = match is_whole {
                true => *expected == found,
                false => (*expected == "refuses") == (found == "refuses"),
            };
            assert!(agrees, "{kind} in {runtime}: {found}, where {expected} was found");
        }
    }
}

#[test]
fn verdicts_follow_what_is_true_of_an_adapter() {
    use LoadOutcome::{Differs, Loads, Refuses};
    for (kind, runtime, expected) in [
        ("rank-alpha-patterns", "sglang", Refuses),
        ("rank-alpha-patterns", "vllm", Loads),
        ("rank-alpha-patterns", "llama.cpp", Differs),
        ("rank-alpha-patterns", "tensorrt-llm", Differs),
        ("rank-alpha-patterns", "mistral.rs", Loads),
        ("rank-alpha-patterns", "openvino", Differs),
        ("regex", "sglang", Refuses),
        ("all-linear", "sglang", Loads),
        ("dora", "llama.cpp", Refuses),
        ("dora", "lorax", Differs),
        ("saved-norm-suffix", "llama.cpp", Differs),
        ("saved-head", "exllamav2", Loads),
        ("saved-head", "mistral.rs", Refuses),
        ("lora-embed", "mistral.rs", Refuses),
        ("lora-lm-head", "tgi", Differs),
        ("lora-embed", "openvino", Differs),
        ("default-infix", "mistral.rs", Loads),
        ("default-infix", "vllm", Refuses),
        ("bin", "exllamav2", Loads),
        ("bin", "mistral.rs", Refuses),
        ("pissa", "vllm", Refuses),
        ("pissa", "sglang", Differs),
        ("layers-pattern", "lorax", Differs),
        ("f16", "s-lora", Refuses),
        ("f16", "mlx-lm", Refuses),
        ("f16", "ollama", Differs),
    ] {
        assert_eq!(outcome(kind, runtime), expected, "{kind} in {runtime}");
    }
}

#[test]
fn json_has_a_verdict_for_each_runtime() {
    let value: Value = serde_json::from_str(&stdout(check(&fixture("kinds/dora"), &["--json"]).success())).unwrap();
    let verdicts = value["runtimes"].as_array().unwrap();
    assert_eq!(verdicts.len(), RUNTIMES.len());
    for verdict in verdicts {
        let reasons = verdict["reasons"].as_array().unwrap();
        let worst = reasons.first().map_or("loads", |reason| reason["outcome"].as_str().unwrap());
        assert_eq!(verdict["verdict"], worst, "{verdict}");
        assert!(
            reasons
                .iter()
                .all(|reason| reason["source"].as_str().unwrap().contains(verdict["version"].as_str().unwrap()))
        );
    }
    assert_eq!(value["flaws"], json!([]));
}

#[test]
fn only_runtimes_that_are_asked_for_decide_the_exit_code() {
    let dora = fixture("kinds/dora");
    check(&dora, &[]).success();
    check(&dora, &["--runtime", "peft"]).success();
    check(&dora, &["--runtime", "peft,vLLM"]).code(5);
    check(&dora, &["--runtime", "peft", "--runtime", "lorax"]).code(5);
    let error = check(&dora, &["--runtime", "vlm"]).code(2);
    let error = String::from_utf8_lossy(&error.get_output().stderr).into_owned();
    assert!(error.contains("vllm") && error.contains("exllamav2"), "{error}");
}

#[test]
fn the_table_fits_a_terminal() {
    for kind in kinds() {
        let text = stdout(check(&fixture("kinds").join(kind), &[]).success());
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        // Some kinds have tensors that are not announced.
        let begins = ["PEFT", "unusual"].iter().any(|word| text.starts_with(word));
        assert!(begins && text.lines().all(|line| line == line.trim_end()), "{text}");
    }
}

#[test]
fn other_forms_are_known_by_their_files() {
    let folder = TempDir::new().unwrap();
    for (name, reader, other, remedy) in [
        ("adapter.gguf", "llama.cpp,ollama", "vllm", "`--format peft`"),
        ("adapters.safetensors", "mlx-lm", "peft", "`lora-slim fix`"),
    ] {
        let adapter = folder.path().join(name).with_extension("folder");
        fs::create_dir(&adapter).unwrap();
        fs::write(adapter.join(name), "").unwrap();
        check(&adapter, &["--runtime", reader]).success();
        let text = stdout(check(&adapter, &["--runtime", other]).code(5));
        assert!(text.contains(&format!("is not read → {remedy}")), "{text}");
    }
}

#[test]
fn what_is_written_is_checked() {
    let folder = TempDir::new().unwrap();
    let cut = |more: &[&str]| {
        let mut command = lora_slim();
        command.current_dir(folder.path()).arg("cut").arg(fixture(ADAPTER)).args(["-o", "out", "--force"]).args(more);
        command.assert()
    };
    let text = stdout(cut(&["--boundary", "3"]).success());
    assert!(text.contains("computes something else in LoRAX") && text.contains("TGI"), "{text}");
    let verdict = |name: &str| {
        let report = read_json(&folder.path().join("out/slim_report.json"));
        let verdicts = report["runtimes"].as_array().unwrap().clone();
        verdicts.into_iter().find(|verdict| verdict["name"] == name).unwrap()
    };
    let what = verdict("LoRAX")["reasons"][0]["what"].to_string();
    assert!(what.contains("layers 3-5 lack `down_proj`"), "{what}");
    assert_eq!(verdict("vLLM")["verdict"], "loads");
    cut(&["--boundary", "3", "--pad-zeros"]).success();
    assert!(!verdict("LoRAX").to_string().contains("lack"), "zeros are there");
}

#[test]
fn an_unmet_runtime_is_an_error_before_any_work() {
    let folder = TempDir::new().unwrap();
    let cut = |adapter: &str, more: &[&str]| {
        let mut command = lora_slim();
        command.current_dir(folder.path()).arg("cut").arg(fixture(adapter)).args(["-o", "out"]).args(more);
        command.assert()
    };
    let refused = |assert: assert_cmd::assert::Assert, words: &[&str]| {
        let error = String::from_utf8_lossy(&assert.code(3).get_output().stderr).into_owned();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    };
    refused(
        cut(ADAPTER, &["--boundary", "3", "--for", "vllm,tgi"]),
        &["TGI will compute something else", "`--pad-zeros`"],
    );
    refused(cut("kinds/dora", &["--boundary", "3", "--for", "vllm"]), &["vLLM will not load", "`use_dora`"]);
    refused(cut("kinds/rank-alpha-patterns", &["--dtype", "bf16", "--for", "sglang"]), &["rank 1", "`--portable`"]);
    refused(
        cut(ADAPTER, &["--rank", "energy:0.5", "--for", "sglang"]),
        &["ranks that `--rank` leaves", "`--portable`"],
    );
    refused(cut(ADAPTER, &["--boundary", "3", "--for", "mlx"]), &["MLX-LM will not load", "`--format mlx`"]);
    let slim = |more: &[&str]| crate::support::slim(folder.path(), more).code(3);
    let error = String::from_utf8_lossy(&slim(&["--for", "s-lora"]).get_output().stderr).into_owned();
    assert!(error.contains("S-LoRA will not load"), "{error}");
    cut("kinds/rank-alpha-patterns", &["--portable", "--for", "sglang,vllm,llama.cpp"]).success();
}

/// An adapter of three layers whose modules have this rank and this alpha.
fn of_rank(folder: &Path, rank: usize, alpha: f64, modules: &[&str]) {
    let mut tensors = Tensors::new();
    for module in modules {
        let values = |salt: usize| (0..rank * 16).map(|i| ((i * 37 + salt * 11) % 23) as f32 / 20.0 - 0.5).collect();
        let name = |part: &str| format!("base_model.model.model.layers.{module}.{part}.weight");
        tensors.insert(name("lora_A"), (vec![rank, 16], values(1)));
        tensors.insert(name("lora_B"), (vec![16, rank], values(2)));
    }
    fs::create_dir_all(folder).unwrap();
    write_safetensors(&folder.join("adapter_model.safetensors"), &tensors);
    let types = ["q_proj", "v_proj", "down_proj"];
    write_config(folder, json!({"r": rank, "lora_alpha": alpha, "target_modules": types}));
}

const ALL: [&str; 6] = [
    "0.self_attn.q_proj",
    "0.self_attn.v_proj",
    "1.self_attn.q_proj",
    "1.self_attn.v_proj",
    "2.self_attn.q_proj",
    "2.self_attn.v_proj",
];

/// What `cut` says of an adapter with `--for`: an error, or that it is written.
fn cut_for(adapter: &Path, more: &[&str]) -> Result<(), String> {
    let out = adapter.with_extension("out");
    let mut command = lora_slim();
    command.arg("cut").arg(adapter).arg("-o").arg(&out).args(["--boundary", "all", "--force"]).args(more);
    let output = command.output().unwrap();
    assert_eq!(out.exists(), output.status.success());
    match output.status.code() {
        Some(0) => fs::remove_dir_all(&out).map_err(|error| error.to_string()),
        _ => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// What the steps make of an adapter decides, not what it was before.
#[test]
fn what_is_written_is_what_has_to_load() {
    let work = TempDir::new().unwrap();
    let folder = |name: &str| work.path().join(name);
    of_rank(&folder("wide"), 16, 16.0, &ALL);
    let error = cut_for(&folder("wide"), &["--rank", "12", "--pad-zeros", "--for", "lorax"]).unwrap_err();
    assert!(error.contains("LoRAX will compute something else") && error.contains("the rank 12"), "{error}");
    let error = cut_for(&folder("wide"), &["--scale", "0.3", "--for", "ollama"]).unwrap_err();
    assert!(error.contains("Ollama") && error.contains(folder("wide").to_str().unwrap()), "{error}");
    cut_for(&folder("wide"), &["--rank", "8", "--pad-zeros", "--for", "lorax"]).unwrap();

    of_rank(&folder("odd"), 12, 12.0, &ALL);
    cut_for(&folder("odd"), &["--for", "lorax"]).unwrap_err();
    cut_for(&folder("odd"), &["--rank", "8", "--pad-zeros", "--for", "lorax"]).unwrap();

    of_rank(&folder("huge"), 1024, 16.0, &ALL[..1]);
    cut_for(&folder("huge"), &["--for", "vllm"]).unwrap_err();
    cut_for(&folder("huge"), &["--rank", "8", "--for", "vllm"]).unwrap();

    let some = [&ALL[..], &["2.mlp.down_proj"]].concat();
    of_rank(&folder("uneven"), 8, 8.0, &some);
    let error = cut_for(&folder("uneven"), &["--pad-zeros", "--for", "lorax"]).unwrap_err();
    assert!(error.contains("layers 0-1 lack `down_proj`"), "{error}");
    cut_for(&folder("uneven"), &["--pad-zeros=3", "--for", "lorax"]).unwrap();
}

#[test]
fn the_family_of_the_base_is_known_before_any_work() {
    let work = TempDir::new().unwrap();
    let out = work.path().join("out");
    let mut command = lora_slim();
    command.arg("slim").arg(fixture("pico/gemma2/adapter")).arg("--base").arg(fixture("pico/gemma2/base"));
    command.arg("--samples").arg(fixture("pico/samples.tokens.jsonl")).args([
        "--boundary",
        "2",
        "--for",
        "ollama",
        "-o",
    ]);
    command.arg(&out).assert().success();
    let mut command = lora_slim();
    command.arg("cut").arg(fixture("pico/gemma2/adapter")).args(["--boundary", "2", "--for", "ollama", "--base"]);
    command.arg(fixture("pico/gemma2/base")).args(["--force", "-o"]).arg(&out).assert().success();
    let mut command = lora_slim();
    command.arg("cut").arg(fixture("pico/gemma2/adapter")).args(["--boundary", "2", "--base", "no/such/base", "-o"]);
    let error = command.arg(work.path().join("other")).assert().code(3);
    assert!(String::from_utf8_lossy(&error.get_output().stderr).contains("no/such/base"));
}

/// The layers of an adapter that was cut before are not all that there are.
#[test]
fn a_second_cut_knows_of_the_first() {
    let work = TempDir::new().unwrap();
    let (whole, once, twice) = (work.path().join("whole"), work.path().join("once"), work.path().join("twice"));
    of_rank(&whole, 8, 8.0, &ALL);
    let cut = |adapter: &Path, out: &Path, more: &[&str]| {
        lora_slim().arg("cut").arg(adapter).arg("-o").arg(out).args(more).assert()
    };
    cut(&whole, &once, &["--boundary", "2"]).success();
    let again = ["--boundary", "all", "--dtype", "bf16"];
    let error = cut(&once, &twice, &[&again[..], &["--for", "lorax"]].concat()).code(3);
    let error = String::from_utf8_lossy(&error.get_output().stderr).into_owned();
    assert!(error.contains("`layers_to_transform` lists only the layers 0-1") && !twice.exists(), "{error}");
    cut(&once, &twice, &again).success();
    let report = read_json(&twice.join("slim_report.json"));
    let lorax = report["runtimes"].as_array().unwrap().iter().find(|verdict| verdict["name"] == "LoRAX").unwrap();
    assert_eq!(lorax["verdict"], "differs");
    // A base model tells how many there are, even one that cannot be run.
    let base = work.path().join("base");
    fs::create_dir(&base).unwrap();
    fs::write(base.join("config.json"), json!({"model_type": "other", "num_hidden_layers": 6}).to_string()).unwrap();
    let more = ["--pad-zeros=6", "--for", "lorax", "--force", "--base", base.to_str().unwrap()];
    cut(&once, &twice, &[&again[..], &more].concat()).success();
}

/// Whatever a cut promises with `--for` is what `check` says of what it wrote.
#[test]
fn what_was_promised_is_kept() {
    let mut kept = 0;
    for kind in kinds() {
        let adapter = Adapter::open(&fixture("kinds").join(&kind), None).unwrap();
        if Cut::below(&adapter, 3).is_err() {
            continue;
        }
        for (portable, pad_zeros) in [(false, false), (true, false), (false, true), (true, true)] {
            let folder = TempDir::new().unwrap();
            let out = folder.path().join("out");
            let mut command = lora_slim();
            command.arg("cut").arg(&adapter.path).args(["--boundary", "3", "-o"]).arg(&out);
            command.args(portable.then_some("--portable")).args(pad_zeros.then_some("--pad-zeros"));
            if !command.output().unwrap().status.success() {
                continue;
            }
            let changes =
                PlannedChanges { drops_layers: true, unifies: portable, pads_layers: pad_zeros, ..Default::default() };
            let planned = PlannedOutput { changes, ..PlannedOutput::default() };
            for verdict in read_json(&out.join("slim_report.json"))["runtimes"].as_array().unwrap() {
                let runtime = Runtime::by_name(verdict["name"].as_str().unwrap()).unwrap();
                let is_promised = planned.require(&adapter, &[runtime]).is_ok();
                let loads = verdict["verdict"] == "loads";
                assert!(loads || !is_promised, "{kind}, portable {portable}, zeros {pad_zeros}: {verdict}");
                kept += usize::from(is_promised);
            }
        }
    }
    assert!(kept > 100, "{kept} promises");
}

#[test]
fn the_documentation_has_the_rules() {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runtimes.md")).unwrap();
    let list = stdout(lora_slim().args(["check", "--list"]).assert().success());
    assert!(document.contains(&list), "put what `lora-slim check --list` writes into docs/runtimes.md");
}
