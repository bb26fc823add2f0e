//! A batch knows whether what it wrote is still there.

use std::fs;

use tempfile::TempDir;

use crate::batch::{adapters, batch, files, slim_all};
use crate::support::{document, stdout};

/// Runs a batch again, which must do one job again and come to the same bytes.
fn done_again(folder: &TempDir, more: &[&str], expected: &crate::support::kill::Contents) {
    let text = stdout(batch(folder.path(), "out", &[&["--boundary", "2"], more].concat()).success());
    assert!(text.contains("2 adapters, 1 of them unchanged"), "{text}");
    assert!(files(&folder.path().join("out")) == *expected);
}

#[test]
fn an_output_that_was_changed_is_made_again() {
    let folder = TempDir::new().unwrap();
    adapters(folder.path(), 2);
    batch(folder.path(), "out", &["--boundary", "2"]).success();
    let expected = files(&folder.path().join("out"));
    let weights = folder.path().join("out/team0/a0/adapter_model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::remove_file(&weights).unwrap();
    done_again(&folder, &[], &expected);
    for length in [0, 8, bytes.len() - 1] {
        fs::write(&weights, &bytes[..length]).unwrap();
        done_again(&folder, &[], &expected);
    }
    let mut other = bytes.clone();
    *other.last_mut().unwrap() ^= 1;
    fs::write(&weights, other).unwrap();
    done_again(&folder, &[], &expected);
    fs::remove_file(&weights).unwrap();
    fs::create_dir(&weights).unwrap();
    done_again(&folder, &[], &expected);
    // What the user put beside it does not count.
    fs::write(folder.path().join("out/team0/a0/notes.txt"), "mine").unwrap();
    let text = stdout(batch(folder.path(), "out", &["--boundary", "2"]).success());
    assert!(text.contains("2 adapters, 2 of them unchanged"), "{text}");
}

/// What a run left that could not remove what it had replaced, beside an output that is not made again.
#[test]
fn what_is_left_beside_a_finished_output_goes() {
    let folder = TempDir::new().unwrap();
    adapters(folder.path(), 2);
    batch(folder.path(), "out", &["--boundary", "2"]).success();
    let place = folder.path().join("out/team0/.lora-slim-a0");
    fs::create_dir_all(place.join("new")).unwrap();
    fs::write(place.join("lock"), "lora-slim works in this folder, and removes it\n").unwrap();
    let text = stdout(batch(folder.path(), "out", &["--boundary", "2"]).success());
    assert!(text.contains("2 adapters, 2 of them unchanged") && !place.exists(), "{text}");
}

/// Only `--check` sees a change of the same length between the samples of a large file.
#[test]
fn check_reads_all_bytes() {
    let folder = TempDir::new().unwrap();
    adapters(folder.path(), 2);
    // A large file beside the adapter is copied with it.
    let large = |name: &str| folder.path().join(name).join("team0/a0/LICENSE");
    fs::write(large("in"), vec![b' '; 4 << 20]).unwrap();
    batch(folder.path(), "out", &["--boundary", "2"]).success();
    let expected = files(&folder.path().join("out"));
    let mut bytes = fs::read(large("out")).unwrap();
    bytes[500_000] = b'x';
    fs::write(large("out"), bytes).unwrap();
    let text = stdout(batch(folder.path(), "out", &["--boundary", "2"]).success());
    assert!(text.contains("2 adapters, 2 of them unchanged"), "{text}");
    let dry = stdout(batch(folder.path(), "out", &["--boundary", "2", "--check", "--dry-run"]).success());
    assert!(dry.contains("1 unchanged") && dry.contains("1 to cut"), "{dry}");
    done_again(&folder, &["--check"], &expected);
}

#[test]
fn a_page_that_was_changed_is_made_again() {
    let folder = TempDir::new().unwrap();
    adapters(folder.path(), 1);
    slim_all(folder.path(), "out", &[]).success();
    let expected = files(&folder.path().join("out"));
    let page = folder.path().join("out/team0/a0.html");
    let text = fs::read(&page).unwrap();
    fs::write(&page, &text[..text.len() / 2]).unwrap();
    slim_all(folder.path(), "out", &[]).success();
    assert!(files(&folder.path().join("out")) == expected);
    let record = document(fs::read(folder.path().join("out/results.jsonl")).unwrap());
    let names: Vec<&str> = record["files"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let written =
        ["a0/README.md", "a0/adapter_config.json", "a0/adapter_model.safetensors", "a0/slim_report.json", "a0.html"];
    assert_eq!(names, written);
}
