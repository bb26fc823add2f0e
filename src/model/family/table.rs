//! The table of families in `docs/families.md`, which a test compares with what families say and with the tiny models that check them.
//!
//! `WRITE_DOCS=1 cargo test --release --lib table` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Family, MixerKind, Role, families};

const BEGIN: &str = "<!-- written by the test `the_table_of_families_is_up_to_date` -->\n";
const END: &str = "<!-- end -->\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).into()
}

/// A tiny model that is compared with transformers at every boundary, as its `config.json` describes it.
struct Case {
    name: String,
    /// The type of the decoder, and of the multimodal model around it.
    model_type: String,
    wrapper: Option<String>,
    has_gguf: bool,
}

fn cases() -> Vec<Case> {
    let folders = fs::read_dir(root().join("fixtures/pico")).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<Case> = folders.filter_map(|folder| case_of(&folder)).collect();
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    cases
}

fn case_of(folder: &Path) -> Option<Case> {
    let config: Value = serde_json::from_str(&fs::read_to_string(folder.join("base/config.json")).ok()?).ok()?;
    assert!(folder.join("expected.json").exists(), "{} has no losses of transformers", folder.display());
    let text = config.get("text_config");
    let model_type = |config: &Value| config["model_type"].as_str().map(String::from);
    Some(Case {
        name: folder.file_name()?.to_str()?.into(),
        model_type: model_type(text.unwrap_or(&config))?,
        wrapper: text.and_then(|_| model_type(&config)),
        has_gguf: folder.join("gguf").exists() || is_converted(folder.file_name()?.to_str()?),
    })
}

/// Whether a test makes the case's GGUF file (`tests/gguf_converted.rs`).
fn is_converted(case: &str) -> bool {
    let recipes = fs::read_to_string(root().join("fixtures/gguf-converted.json")).unwrap();
    serde_json::from_str::<Value>(&recipes).unwrap().get(case).is_some()
}

/// What the layers of a family have, in a few words.
fn layers_of(family: &Family) -> String {
    let has = |role: Role| family.roles().any(|own| own == role);
    let mixers = [
        (MixerKind::Attention, "attention"),
        (MixerKind::DeltaNet, "gated delta net"),
        (MixerKind::ShortConvolution, "short convolution"),
        (MixerKind::Mamba, "Mamba-2"),
        (MixerKind::Latent, "latent attention"),
    ];
    let own = mixers.into_iter().filter(|(kind, _)| family.roles().any(|role| role.mixer() == Some(*kind)));
    let mut words: Vec<&str> = own.map(|(_, words)| words).collect();
    words.extend(family.experts.map(|_| "experts"));
    words.extend(has(Role::SharedDown).then_some("shared expert"));
    words.extend(has(Role::LayerInputGate).then_some("inputs by layer"));
    words.join(", ")
}

fn table() -> String {
    let quoted = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let cases = cases();
    let mut rows: BTreeMap<String, String> = BTreeMap::new();
    for family in families() {
        let own: Vec<&Case> =
            cases.iter().filter(|case| family.model_types.contains(&case.model_type.as_str())).collect();
        let names: Vec<&str> = own.iter().map(|case| case.name.as_str()).collect();
        let wrappers: BTreeSet<&str> = own.iter().filter_map(|case| case.wrapper.as_deref()).collect();
        let gguf = if own.iter().any(|case| case.has_gguf) { quoted(family.gguf_architectures) } else { String::new() };
        let wrappers = quoted(&wrappers.into_iter().collect::<Vec<_>>());
        let types = quoted(family.model_types);
        rows.insert(
            types.clone(),
            format!("| {types} | {wrappers} | {gguf} | {} | {} |\n", layers_of(family), names.join(", ")),
        );
    }
    let head = "| `model_type` of the decoder | inside | GGUF architecture | layers | cases |\n|---|---|---|---|---|\n";
    head.to_string() + &rows.into_values().collect::<String>()
}

#[test]
fn the_table_of_families_is_up_to_date() {
    let path = root().join("docs/families.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("docs/families.md has the mark of the table");
    let (written, after) = rest.split_once(END).expect("docs/families.md has the end of the table");
    let table = table();
    if env::var_os("WRITE_DOCS").is_some() {
        fs::write(&path, [before, BEGIN, &table, END, after].concat()).unwrap();
        return;
    }
    assert_eq!(written, table, "run it with WRITE_DOCS=1");
}

/// What the tests do not compare with transformers is not supported.
#[test]
fn every_family_has_a_case() {
    let cases = cases();
    let is_checked = |family: &&Family| cases.iter().any(|case| family.model_types.contains(&case.model_type.as_str()));
    let unchecked: Vec<_> = families().filter(|family| !is_checked(family)).map(|family| family.model_types).collect();
    assert!(unchecked.is_empty(), "{unchecked:?}");
}
