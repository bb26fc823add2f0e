//! The losses on a GPU against transformers + PEFT, in builds that can use one (docs/devices.md):
//! `cargo test --release --features cuda device`. In other builds the CPU stands in for a GPU.

use std::path::{Path, PathBuf};

use crate::bad_input::{IO, Setup};
use crate::golden::{base_of_kind, folders_with_expectations, largest_difference, scan_with};
use crate::support::fixture;

const DEVICE: &str = if cfg!(feature = "cuda") {
    "cuda"
} else if cfg!(feature = "metal") {
    "metal"
} else {
    "cpu"
};

/// What computes there, for `LORA_SLIM_UNIT`.
const UNIT: &str = if IS_STAND_IN { "gpu" } else { "none" };
const IS_STAND_IN: bool = !cfg!(any(feature = "cuda", feature = "metal"));

/// Nats per token. A GPU takes sums in another order than a processor, and the random weights of these models enlarge
/// what that makes of rounding.
const TOLERANCE: f64 = 1e-4;

#[test]
fn every_family_has_its_losses_there() {
    check_all("pico", |folder| (folder.join("adapter"), folder.join("base")));
}

#[test]
fn every_kind_of_adapter_has_its_losses_there() {
    check_all("kinds", |folder| (folder.into(), base_of_kind(folder)));
}

#[test]
fn one_that_is_not_there_is_an_error() {
    if IS_STAND_IN {
        return;
    }
    let name = format!("{DEVICE}:1000");
    Setup::new().slim_fails(&["--device", &name], IO, &["cannot open", &name, "--device cpu"]);
}

/// Checks all cases of a group before it says which are off.
fn check_all(group: &str, adapter_and_base: fn(&Path) -> (PathBuf, PathBuf)) {
    let mut wrong = Vec::new();
    for case in folders_with_expectations(group) {
        let folder = fixture(group).join(&case);
        let (adapter, base) = adapter_and_base(&folder);
        let report = scan_with(&adapter, &base, ["--device", DEVICE], UNIT);
        let difference = largest_difference(&report, &folder.join("expected.json"));
        println!("{case}: off by {difference:.1e}");
        if difference >= TOLERANCE {
            wrong.push(format!("{case} by {difference}"));
        }
    }
    assert!(wrong.is_empty(), "off on `{DEVICE}`: {}", wrong.join(", "));
}
