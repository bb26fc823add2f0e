//! What this program removes, replaces or adds to is its own by owner and mark, and not by name.

use std::fs;

use crate::bad_input::Setup;
use crate::batch::{adapters, batch, records};
use crate::support::kill::{contents, strays};
use crate::support::lora_slim;

const USAGE: i32 = 2;
const BAD_INPUT: i32 = 3;

fn said(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

/// Runs a batch into `out`, which must be refused before any work and leave everything as it was.
fn refused(folder: &std::path::Path, code: i32, word: &str) {
    let before = contents(folder);
    for more in [&["--boundary", "2"][..], &["--boundary", "2", "--force"]] {
        let assert = batch(folder, "out", more).code(code);
        assert!(said(&assert).contains(word), "{}", said(&assert));
        let after: Vec<_> =
            contents(folder).into_iter().filter(|(path, _)| !path.ends_with(".lora-slim.lock")).collect();
        let before: Vec<_> =
            before.clone().into_iter().filter(|(path, _)| !path.ends_with(".lora-slim.lock")).collect();
        assert!(after == before);
    }
}

#[test]
fn results_of_somebody_else_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    adapters(folder.path(), 1);
    fs::create_dir(folder.path().join("out")).unwrap();
    let path = folder.path().join("out/results.jsonl");
    for text in [
        "{\"task\":\"mmlu\",\"acc\":0.71}\n{\"task\":\"gsm8k\",\"acc\":0.55}",
        "one single line of somebody else",
        "{\"name\":\"bob\",\"acc\":0.5}\n",
        "{\"name\":\"bob\",\"acc\":0.5}",
        "\n",
        "{\"name\":}\n",
        "{\"name\": \"notes that end in the middle",
    ] {
        fs::write(&path, text).unwrap();
        refused(folder.path(), BAD_INPUT, "first line is no record");
    }
    fs::remove_file(&path).unwrap();
    for (name, text) in [("summary.csv", "name,status,comment\na,ok,\n"), ("index.html", "<!doctype html><p>mine")] {
        let path = folder.path().join("out").join(name);
        fs::write(&path, text).unwrap();
        refused(folder.path(), USAGE, "is not a report of lora-slim");
        fs::remove_file(path).unwrap();
    }
    batch(folder.path(), "out", &["--boundary", "2"]).success();
    // A damaged first line is told at once, and costs nothing that was done.
    let whole = fs::read(&path).unwrap();
    fs::write(&path, [b"hello\n", &whole[..]].concat()).unwrap();
    refused(folder.path(), BAD_INPUT, "first line is no record");
    // A line that a kill tore off is ours.
    for torn in [1, 5, 8, 60, whole.len() - 2, whole.len() - 1] {
        fs::write(&path, &whole[..torn]).unwrap();
        batch(folder.path(), "out", &["--boundary", "2"]).success();
        assert!(fs::read(&path).unwrap() == whole, "{torn}");
    }
}

#[cfg(unix)]
#[test]
fn nothing_is_written_through_links_or_into_pipes() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    adapters(folder.path(), 2);
    let path = |name: &str| folder.path().join(name);
    batch(folder.path(), "out", &["--boundary", "2"]).success();
    let whole = fs::read(path("out/results.jsonl")).unwrap();
    for (name, code) in [("results.jsonl", BAD_INPUT), ("summary.csv", USAGE), ("index.html", USAGE)] {
        let (own, aside) = (path("out").join(name), path("aside"));
        fs::rename(&own, &aside).unwrap();
        symlink("../aside", &own).unwrap();
        refused(folder.path(), code, "is no");
        fs::remove_file(&own).unwrap();
        symlink("nowhere", &own).unwrap();
        let assert = batch(folder.path(), "out", &["--boundary", "2"]).code(code);
        assert!(said(&assert).contains("is no"), "{}", said(&assert));
        fs::remove_file(&own).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&own).status().unwrap().success());
        let assert = batch(folder.path(), "out", &["--boundary", "2"]).code(code);
        assert!(said(&assert).contains("is no"), "{}", said(&assert));
        fs::remove_file(&own).unwrap();
        fs::rename(aside, own).unwrap();
    }
    // A backup of the results by a hard link stays as it is.
    fs::hard_link(path("out/results.jsonl"), path("backup.jsonl")).unwrap();
    batch(folder.path(), "out", &["--boundary", "4"]).success();
    assert!(fs::read(path("backup.jsonl")).unwrap() == whole);
    assert_eq!(records(&path("out/results.jsonl")).len(), 2);
    // A pipe in the place of the lock.
    fs::remove_file(path("out/.lora-slim.lock")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(path("out/.lora-slim.lock")).status().unwrap().success());
    let assert = batch(folder.path(), "out", &["--boundary", "2"]).code(USAGE);
    assert!(said(&assert).contains("no regular file"), "{}", said(&assert));
}

/// A folder that has a report by its name alone is somebody else's.
#[test]
fn a_file_that_is_called_as_a_report_is_none() {
    let folder = tempfile::tempdir().unwrap();
    adapters(folder.path(), 1);
    let mine = folder.path().join("out/team0/a0");
    for report in ["", "{}", "{\"schema_version\": 1, \"tool\": \"mine\"}"] {
        fs::create_dir_all(&mine).unwrap();
        fs::write(mine.join("slim_report.json"), report).unwrap();
        fs::write(mine.join("thesis"), "mine").unwrap();
        batch(folder.path(), "out", &["--boundary", "2"]).code(USAGE);
        assert!(mine.join("thesis").exists());
    }
}

/// What lies in the folder for temporary files, and beside an output.
#[cfg(unix)]
#[test]
fn folders_of_our_names_are_not_ours() {
    use std::os::unix::fs::symlink;
    let setup = Setup::new();
    let fifo = |name: &str| {
        assert!(std::process::Command::new("mkfifo").arg(setup.path(name)).status().unwrap().success());
    };
    for name in ["tmp/lora-slim-project/work", "tmp/lora-slim-AbCdEf", "tmp/lora-slim-pipe/work", "tmp/lora-slim-x"] {
        fs::create_dir_all(setup.path(name)).unwrap();
    }
    fs::write(setup.path("tmp/lora-slim-project/work/thesis"), "mine").unwrap();
    fs::write(setup.path("tmp/lora-slim-project/lock"), "").unwrap();
    fs::write(setup.path("tmp/lora-slim-pipe/work/thesis"), "mine").unwrap();
    fs::write(setup.path("tmp/lora-slim-file"), "mine").unwrap();
    fifo("tmp/lora-slim-pipe/lock");
    fifo("tmp/lora-slim-fifo");
    symlink("lora-slim-project", setup.path("tmp/lora-slim-link")).unwrap();
    let names = |folder: &str| {
        let mut names = strays(&setup.path(folder));
        names.sort();
        names
    };
    let before = names("tmp");
    // Beside the output: a folder with something of the user's, a file, a pipe as its lock.
    let cut = |output: &str| {
        let mut command = lora_slim();
        command.current_dir(setup.folder.path()).env("TMPDIR", setup.path("tmp"));
        command.args(["cut", "adapter", "--rank", "1", "-o", output, "--force"]).assert().success();
    };
    cut("plain");
    assert_eq!(names("tmp"), before);
    assert_eq!(fs::read(setup.path("tmp/lora-slim-project/work/thesis")).unwrap(), b"mine");
    for (name, has_lock) in [("one", false), ("two", true), ("three", true)] {
        let place = format!(".lora-slim-{name}");
        for inside in ["new", "old", "copy"] {
            fs::create_dir_all(setup.path(&place).join(inside)).unwrap();
            fs::write(setup.path(&place).join(inside).join("thesis"), "mine").unwrap();
        }
        match (has_lock, name) {
            (true, "two") => fs::write(setup.path(&place).join("lock"), "").unwrap(),
            (true, _) => fifo(&format!("{place}/lock")),
            _ => {}
        }
        let before = strays(&setup.path(&place));
        for _ in 0..2 {
            cut(name);
        }
        for inside in ["new", "old", "copy"] {
            assert!(setup.path(&place).join(inside).join("thesis").exists(), "{name}");
        }
        assert_eq!(strays(&setup.path(&place)), before);
    }
    fs::write(setup.path(".lora-slim-four"), "mine").unwrap();
    fifo(".lora-slim-five");
    cut("four");
    cut("five");
    assert_eq!(fs::read(setup.path(".lora-slim-four")).unwrap(), b"mine");
    let left: Vec<String> = names(".").into_iter().collect();
    assert_eq!(left.len(), 5, "{left:?}");
}
