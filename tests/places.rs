//! Where outputs go: one run at a time, nothing that stands there is lost, and any name will do.

use std::fs::{self, File};
use std::path::Path;

use lora_slim::error::FileError;
use lora_slim::files::{NewFile, Staging};
use lora_slim::{Error, Kind};
use tempfile::TempDir;

use crate::bad_input::Setup;
use crate::support::kill::{contents, strays};
use crate::support::lora_slim;

const USAGE: i32 = 2;
const IO: i32 = 4;

fn cut(setup: &Setup, output: impl AsRef<std::ffi::OsStr>, more: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = lora_slim();
    command.current_dir(setup.folder.path()).args(["cut", "adapter", "--boundary", "2"]).args(more);
    command.arg("-o").arg(output).assert()
}

fn stderr(assert: assert_cmd::assert::Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

/// A lock as another run has it.
fn lock(setup: &Setup, name: &str) -> File {
    let place = setup.path(&format!(".lora-slim-{name}"));
    fs::create_dir(&place).unwrap();
    mark(&place);
    let file = File::open(place.join("lock")).unwrap();
    file.lock().unwrap();
    file
}

/// Makes a folder look like one that a run works in.
fn mark(place: &Path) {
    fs::write(place.join("lock"), "lora-slim works in this folder, and removes it\n").unwrap();
}

/// Makes a folder as runs do for their intermediate results.
#[cfg(unix)]
fn scratch(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o1700)).unwrap();
}

#[test]
fn an_output_that_another_run_writes_is_left_to_it() {
    let setup = Setup::new();
    let held = lock(&setup, "out");
    fs::create_dir(setup.path(".lora-slim-out/new")).unwrap();
    let text = stderr(cut(&setup, "out", &[]).code(IO));
    assert!(text.contains("another run is writing `out`") && text.contains("hint: wait"), "{text}");
    assert!(setup.path(".lora-slim-out/new").exists(), "it is the other run's");
    let text = stderr(setup.slim(&["--boundary", "2"]).assert().code(IO));
    assert!(text.contains("another run is writing `out`"), "{text}");
    cut(&setup, "other", &[]).success();
    drop(held);
    cut(&setup, "out", &[]).success();
    assert_eq!(strays(setup.folder.path()), Vec::<String>::new());

    let _held = lock(&setup, "page.html");
    let args = ["--boundary", "2", "--report", "page.html", "--force"];
    let text = stderr(setup.slim(&args).assert().code(IO));
    assert!(text.contains("another run is writing `page.html`"), "{text}");
}

#[test]
fn of_several_runs_at_once_one_wins() {
    let setup = Setup::new();
    cut(&setup, "alone", &[]).success();
    let program = assert_cmd::cargo::cargo_bin("lora-slim");
    let start = || {
        let mut command = std::process::Command::new(&program);
        command.current_dir(setup.folder.path()).args(["cut", "adapter", "--boundary", "2", "-o", "out", "--quiet"]);
        command.stderr(std::process::Stdio::null()).spawn().unwrap()
    };
    for _ in 0..5 {
        let runs: Vec<_> = (0..6).map(|_| start()).collect();
        let codes: Vec<_> = runs.into_iter().map(|mut run| run.wait().unwrap().code().unwrap()).collect();
        assert_eq!(codes.iter().filter(|&&code| code == 0).count(), 1, "{codes:?}");
        assert!(codes.iter().all(|code| [0, USAGE, IO].contains(code)), "{codes:?}");
        assert!(contents(&setup.path("out")) == contents(&setup.path("alone")));
        assert_eq!(strays(setup.folder.path()), Vec::<String>::new());
        fs::remove_dir_all(setup.path("out")).unwrap();
    }
}

/// What a run leaves that was killed while names could not be exchanged.
#[test]
fn what_was_set_aside_comes_back_or_goes() {
    let setup = Setup::new();
    cut(&setup, "old", &["--scale", "0.5"]).success();
    let old = contents(&setup.path("old"));
    let set_aside = || {
        fs::create_dir_all(setup.path(".lora-slim-out/new/half")).unwrap();
        cut(&setup, ".lora-slim-out/old", &["--scale", "0.5"]).success();
        mark(&setup.path(".lora-slim-out"));
    };
    set_aside();
    cut(&setup, "out", &[]).code(USAGE);
    assert!(contents(&setup.path("out")) == old, "the old one is back");
    assert_eq!(strays(setup.folder.path()), Vec::<String>::new());

    fs::remove_dir_all(setup.path("out")).unwrap();
    set_aside();
    cut(&setup, "out", &["--force"]).success();
    assert!(contents(&setup.path("out")) != old, "it is replaced");

    let new = contents(&setup.path("out"));
    set_aside();
    cut(&setup, "out", &[]).code(USAGE);
    assert!(contents(&setup.path("out")) == new, "the new one had its place already");
    setup.slim(&["--boundary", "1", "--force"]).assert().success();
    assert_eq!(strays(setup.folder.path()), Vec::<String>::new());
}

/// What a run leaves that was killed behind its last rename, or on the way to it. The next one has nothing to do but this.
#[cfg(unix)]
#[test]
fn a_finished_output_is_cleared_up_too() {
    let setup = Setup::new();
    cut(&setup, "out", &[]).success();
    let temporary = setup.path("tmp");
    for left in ["tmp/lora-slim-dead/work/layers", "tmp/lora-slim-begun", ".lora-slim-out/new"] {
        fs::create_dir_all(setup.path(left)).unwrap();
    }
    for made in ["tmp/lora-slim-dead", "tmp/lora-slim-begun"] {
        scratch(&setup.path(made));
    }
    mark(&setup.path("tmp/lora-slim-dead"));
    mark(&setup.path(".lora-slim-out"));
    let mut again = lora_slim();
    again.current_dir(setup.folder.path()).env("TMPDIR", &temporary);
    again.args(["cut", "adapter", "--boundary", "2", "-o", "out"]).assert().code(USAGE);
    assert_eq!(strays(setup.folder.path()), Vec::<String>::new());
    assert_eq!(strays(&temporary), Vec::<String>::new());
}

#[test]
fn what_appears_meanwhile_is_not_replaced() {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("out");
    for force in [false, true] {
        let staging = Staging::reserve(&target, &[], force).unwrap();
        staging.json("adapter_config.json", &1).unwrap();
        fs::create_dir(&target).unwrap();
        fs::write(target.join("thesis.txt"), "x").unwrap();
        let error = staging.publish().unwrap_err();
        match force {
            false => assert!(matches!(error, Error::File(FileError::OutputExists { .. })), "{error}"),
            true => assert!(matches!(error, Error::File(FileError::OutputNotAnAdapter { .. })), "{error}"),
        }
        assert_eq!(error.kind(), Kind::Usage);
        drop(staging);
        assert!(target.join("thesis.txt").exists());
        assert_eq!(strays(folder.path()), Vec::<String>::new());
        fs::remove_dir_all(&target).unwrap();
    }
    // An empty folder is what a rename would silently replace.
    let staging = Staging::beside(&target).unwrap();
    fs::create_dir(&target).unwrap();
    assert!(matches!(staging.publish(), Err(Error::File(FileError::OutputExists { .. }))));
    drop(staging);

    let page = folder.path().join("page");
    let file = NewFile::beside(&page, b"<", false).unwrap();
    fs::write(&page, "thesis").unwrap();
    assert!(matches!(file.publish(b"<p>"), Err(Error::File(FileError::ReportExists { .. }))));
    fs::remove_file(&page).unwrap();
    let file = NewFile::beside(&page, b"<", true).unwrap();
    fs::write(&page, "thesis").unwrap();
    assert!(matches!(file.publish(b"<p>"), Err(Error::File(FileError::NotAReport { .. }))));
    assert_eq!(fs::read(&page).unwrap(), b"thesis");
    assert_eq!(strays(folder.path()), Vec::<String>::new());
}

#[test]
fn any_name_will_do() {
    let setup = Setup::new();
    let long = "é".repeat(127);
    for name in ["with space", "naïve 名前 🦙", "two\nlines", "-o", "a'b\"c", long.as_str()] {
        let output = Path::new("below").join(name);
        cut(&setup, &output, &[]).success();
        cut(&setup, &output, &["--force"]).success();
        assert!(setup.path("below").join(name).join("adapter_config.json").is_file(), "{name}");
        assert_eq!(strays(&setup.path("below")), Vec::<String>::new());
    }
    let text = stderr(cut(&setup, "x".repeat(256), &[]).code(USAGE));
    assert!(text.contains("cannot write `xxx"), "{text}");
    let deep = vec!["d".repeat(250); 20].join("/");
    cut(&setup, deep, &[]).code(USAGE);
    // Nothing is left of folders that were made for an output that is not written.
    let args = ["cut", "adapter", "--boundary", "99", "-o", "some/where/out"];
    lora_slim().current_dir(setup.folder.path()).args(args).assert().code(USAGE);
    assert!(!setup.path("some").exists());
}

#[cfg(unix)]
#[test]
fn names_that_are_no_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let setup = Setup::new();
    let name = OsStr::from_bytes(b"out\xff\xfe");
    cut(&setup, name, &[]).success();
    let output = setup.folder.path().join(name);
    assert!(output.join("adapter_model.safetensors").is_file());
    let mut verify = lora_slim();
    verify.current_dir(setup.folder.path()).args(["verify", "adapter"]).arg(&output).assert().success();
    assert_eq!(strays(setup.folder.path()), Vec::<String>::new());
}

#[cfg(unix)]
#[test]
fn links_in_the_output() {
    use std::os::unix::fs::symlink;
    let setup = Setup::new();
    // A link above the output is followed, and so is the output itself where it is to be replaced.
    fs::create_dir(setup.path("disk")).unwrap();
    symlink("disk", setup.path("link")).unwrap();
    cut(&setup, "link/out", &[]).success();
    assert!(setup.path("disk/out/adapter_config.json").is_file());
    symlink("disk/out", setup.path("latest")).unwrap();
    cut(&setup, "latest", &[]).code(USAGE);
    cut(&setup, "latest", &["--force", "--scale", "0.5"]).success();
    assert!(setup.path("latest").is_symlink());
    assert!(contents(&setup.path("latest")) == contents(&setup.path("disk/out")));
    // One that leads nowhere, or into an input, is refused.
    symlink("nowhere", setup.path("dangling")).unwrap();
    cut(&setup, "dangling", &[]).code(USAGE);
    cut(&setup, "dangling", &["--force"]).code(USAGE);
    symlink("adapter", setup.path("sly")).unwrap();
    cut(&setup, "sly", &["--force"]).code(USAGE);
    cut(&setup, "sly/inside", &[]).code(USAGE);
    // Nor is a link followed where the output is made, and it stops no run.
    fs::create_dir_all(setup.path("mine/new")).unwrap();
    symlink("mine", setup.path(".lora-slim-out")).unwrap();
    cut(&setup, "out", &[]).success();
    assert!(setup.path("mine/new").exists() && setup.path(".lora-slim-out").is_symlink());
}
