//! Samples that begin alike.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use crate::golden::folders_with_expectations;
use crate::support::{fixture, pico_loss};

/// The tokens that all samples begin with.
const PREFIX: u32 = 13;

/// Each sample alone, and all of them behind the prefix that they share: no length of a sample, no window and no state may leak into
/// another one.
#[test]
fn samples_of_every_family_may_share_a_prefix() {
    let folder = TempDir::new().unwrap();
    let sample = |answers: u32| {
        let ids: Vec<u32> =
            (0..PREFIX).chain((0..answers).map(|place| place * answers)).map(|id| 5 + id % 60).collect();
        let scored = |at: usize| at >= PREFIX as usize;
        let labels: Vec<i64> = (0..ids.len()).map(|at| if scored(at) { i64::from(ids[at]) } else { -100 }).collect();
        json!({"input_ids": ids, "labels": labels}).to_string()
    };
    let write = |name: &str, lengths: &[u32]| {
        let path = folder.path().join(name);
        fs::write(&path, lengths.iter().map(|answers| sample(*answers) + "\n").collect::<String>()).unwrap();
        path
    };
    let lengths = [1, 7, 29];
    let all = write("all.jsonl", &lengths);
    let each = lengths.map(|answers| (f64::from(answers), write(&format!("{answers}.jsonl"), &[answers])));
    let tokens: f64 = each.iter().map(|(tokens, _)| tokens).sum();
    for case in folders_with_expectations("pico") {
        let adapter = fixture("pico").join(&case).join("adapter");
        let sum: f64 = each.iter().map(|(tokens, samples)| tokens * pico_loss(samples, &adapter, &case)).sum();
        let together = pico_loss(&all, &adapter, &case);
        assert!((together - sum / tokens).abs() < 2e-5, "{case}: {together} instead of {}", sum / tokens);
    }
}
