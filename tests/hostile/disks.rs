//! Disks that are full or read-only, files that may not be read, and files that shrink while they are read.

use std::fs;
use std::process::Command;

use super::IO;
use crate::bad_input::Setup;
use crate::support::kill::strays;
use crate::support::limits::lora_slim_under;
use crate::support::lora_slim;

const CUT: [&str; 6] = ["cut", "adapter", "--boundary", "all", "-o", "out"];

/// Files that cannot grow beyond a few bytes: what a full disk does, without one.
#[test]
fn a_disk_that_takes_no_more() {
    let setup = Setup::new();
    // Refused by an error, as by a disk, and not by a signal.
    let limits = "ulimit -f 8 && trap '' XFSZ";
    for args in [
        &CUT[..],
        &[&CUT[..], &["--format", "gguf", "--base", "base"]].concat(),
        &[&CUT[..], &["--rank", "3"]].concat(),
    ] {
        let assert = lora_slim_under(limits).current_dir(setup.folder.path()).args(args).assert().code(IO);
        let text = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(text.contains("cannot write `") && text.contains("File too large"), "{text}");
        assert!(strays(setup.folder.path()).is_empty() && !setup.path("out").exists());
    }
    // What stood there stays.
    lora_slim()
        .current_dir(setup.folder.path())
        .args(["cut", "adapter", "--boundary", "1", "-o", "out"])
        .assert()
        .success();
    let before = crate::support::kill::contents(&setup.path("out"));
    lora_slim_under(limits).current_dir(setup.folder.path()).args(CUT).arg("--force").assert().code(IO);
    assert!(crate::support::kill::contents(&setup.path("out")) == before);
}

/// A real one, where this user may mount one.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() {
    let setup = Setup::new();
    let script = "mkdir full && mount -t tmpfs -o size=64k none full || exit 99
        \"$0\" cut adapter --boundary all -o full/out 2>stderr; code=$?; ls -A full >left; umount full; exit $code";
    let run = |command: &mut Command| {
        let program = assert_cmd::cargo::cargo_bin("lora-slim");
        command.args(["sh", "-c", script]).arg(program).current_dir(setup.folder.path()).output()
    };
    // In a mount namespace of its own: nothing is left of it, whatever happens.
    let output = run(Command::new("unshare").arg("-rm"));
    let code = output.as_ref().ok().and_then(|output| output.status.code());
    let Some(code) = code.filter(|_| setup.path("stderr").exists()) else {
        println!("skipped: no disk can be mounted here: {output:?}");
        return;
    };
    let said = fs::read_to_string(setup.path("stderr")).unwrap();
    assert_eq!(code, IO, "{said}");
    assert!(said.contains("cannot write `full/out") && said.contains("No space left"), "{said}");
    assert_eq!(fs::read_to_string(setup.path("left")).unwrap(), "");
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_cannot_be_written() {
    let setup = Setup::new();
    // Nothing can be made there, not even by root.
    let args = ["cut", "adapter", "--boundary", "1", "-o", "/proc/self/out"];
    let assert = lora_slim().current_dir(setup.folder.path()).args(args).assert().code(IO);
    let text = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(text.contains("cannot write `/proc/") && text.starts_with("error: "), "{text}");
}

#[cfg(unix)]
#[test]
fn what_may_not_be_read_or_written() {
    use std::os::unix::fs::PermissionsExt;
    let setup = Setup::new();
    let forbid = |name: &str, mode| fs::set_permissions(setup.path(name), fs::Permissions::from_mode(mode)).unwrap();
    forbid("samples.jsonl", 0);
    if fs::read(setup.path("samples.jsonl")).is_ok() {
        println!("skipped: this user may read everything");
        return;
    }
    setup.slim_fails(&[], IO, &["cannot read `samples.jsonl`"]);
    fs::create_dir(setup.path("closed")).unwrap();
    forbid("closed", 0o500);
    let args = ["cut", "adapter", "--boundary", "1", "-o", "closed/out"];
    let assert = lora_slim().current_dir(setup.folder.path()).args(args).assert().code(IO);
    assert!(String::from_utf8_lossy(&assert.get_output().stderr).contains("cannot write `"));
    forbid("closed", 0o700);
}

/// Runs `slim` with samples that come through a pipe, so that the model is open and not yet used when `change` is called.
#[cfg(unix)]
fn slim_while(setup: &Setup, change: impl Fn()) -> std::process::Output {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    use std::process::Stdio;
    let samples = setup.path("samples.jsonl");
    let content = fs::read(&samples).unwrap();
    fs::remove_file(&samples).unwrap();
    assert!(Command::new("mkfifo").arg(&samples).status().unwrap().success());
    let mut slim = Command::new(assert_cmd::cargo::cargo_bin("lora-slim"));
    slim.current_dir(setup.folder.path()).args(super::SLIM).stderr(Stdio::piped()).stdout(Stdio::null());
    let mut run = slim.spawn().unwrap();
    while run.try_wait().unwrap().is_none() {
        // Fails as long as nobody reads. Samples are read, then hashed.
        let pipe = fs::File::options().write(true).custom_flags(libc::O_NONBLOCK).open(&samples);
        if let Ok(mut pipe) = pipe {
            change();
            pipe.write_all(&content).unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    run.wait_with_output().unwrap()
}

#[cfg(unix)]
#[test]
fn a_model_that_shrinks_while_it_is_read() {
    for file in ["base/model.safetensors", "adapter/adapter_model.safetensors"] {
        let setup = Setup::new();
        let output = slim_while(&setup, || {
            let weights = fs::File::options().write(true).open(setup.path(file)).unwrap();
            weights.set_len(4096).unwrap();
        });
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(IO), "{file}: {} {text}", output.status);
        assert!(text.contains(&format!("cannot read `{file}`: it became shorter meanwhile")), "{text}");
        assert!(!setup.path("out").exists());
    }
}

/// Other bytes of the same length, with the old time of the file. Only the time of the change tells, which nobody can
/// set.
#[cfg(unix)]
#[test]
fn weights_that_change_and_look_as_before() {
    use std::os::unix::fs::FileExt;
    for file in ["base/model.safetensors", "adapter/adapter_model.safetensors"] {
        let setup = Setup::new();
        let output = slim_while(&setup, || {
            let weights = fs::File::options().read(true).write(true).open(setup.path(file)).unwrap();
            let (metadata, mut last) = (weights.metadata().unwrap(), [0]);
            weights.read_exact_at(&mut last, metadata.len() - 4).unwrap();
            weights.write_all_at(&[last[0] ^ 1], metadata.len() - 4).unwrap();
            weights.set_modified(metadata.modified().unwrap()).unwrap();
        });
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(IO), "{file}: {} {text}", output.status);
        assert!(text.contains(&format!("`{file}` changed while it was being read")), "{text}");
        assert!(!setup.path("out").exists());
    }
}
