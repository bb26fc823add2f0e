//! Standard output and standard error that take nothing.

use std::fs::File;
use std::process::{Command, Stdio};

use super::Sandbox;
use crate::support::fixture;

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

fn closed() -> Stdio {
    std::io::pipe().unwrap().1.into()
}

fn run(sandbox: &Sandbox, args: &[&str], stdout: Stdio, stderr: Stdio) -> std::process::Output {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("lora-slim"));
    command
        .current_dir(sandbox.0.folder.path())
        .env("HF_HUB_CACHE", fixture("no-such-cache"))
        .env("HF_HUB_OFFLINE", "1")
        .args(args);
    command.env("TMPDIR", sandbox.path("tmp")).stdout(stdout).stderr(stderr).output().unwrap()
}

/// What standard error cannot take is lost, and nothing else: the work is done, and the code is the right one.
#[test]
fn a_full_standard_error() {
    for (args, code, made) in [
        (&["cut", "adapter", "--boundary", "2", "-o", "out"][..], 0, "out/adapter_model.safetensors"),
        (&["cut", "adapter", "--boundary", "2", "-o", "out", "--json"], 0, "out/adapter_model.safetensors"),
        (
            &["slim", "adapter", "--base", "base", "--samples", "samples.jsonl", "--boundary", "2", "-oout"],
            0,
            "out/adapter_model.safetensors",
        ),
        (&["batch", "in", "--boundary", "2", "-o", "out"], 3, "out/a/adapter_model.safetensors"),
        (&["fix", "adapter", "-o", "out"], 0, "out/adapter_model.safetensors"),
        (&["inspect", "adapter", "--config", "flags.toml"], 2, "flags.toml"),
        (&["cut", "adapter", "--boundary", "2", "-o", "out", "--config", "good.toml"], 0, "out"),
        (&["inspect", "nothing"], 3, "adapter"),
        (&["inspect"], 2, "adapter"),
        (&["--no-such-flag"], 2, "adapter"),
        (&["check", "adapter", "--for", "peft"], 2, "adapter"),
    ] {
        for stream in [full, closed] {
            let sandbox = Sandbox::new();
            // Something to warn of.
            sandbox.write("adapter/data.jsonl", "{}");
            sandbox.adapter("in/a");
            sandbox.write("in/b/adapter_config.json", "{}");
            sandbox.write("flags.toml", "wrong = 1");
            sandbox.write("good.toml", "force = true");
            let output = run(&sandbox, args, Stdio::piped(), stream());
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(output.status.code(), Some(code), "{args:?}: {} {said}", output.status);
            assert!(sandbox.exists(made), "{args:?}");
        }
    }
}

/// A batch that cannot print does all jobs, and then says that nothing was printed.
#[test]
fn a_batch_that_cannot_print_goes_on() {
    for more in [&[][..], &["--json"]] {
        let sandbox = Sandbox::new();
        for name in ["in/a", "in/b", "in/c"] {
            sandbox.adapter(name);
        }
        let args = [&["batch", "in", "--boundary", "2", "-o", "out", "--jobs", "1"], more].concat();
        let output = run(&sandbox, &args, full(), Stdio::piped());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(said.contains("error: cannot write to standard output"), "{said}");
        assert!(sandbox.exists("out/c/adapter_model.safetensors") && sandbox.exists("out/summary.csv"));
    }
}

#[test]
fn both_streams_full() {
    let sandbox = Sandbox::new();
    let output = run(&sandbox, &["inspect", "adapter"], full(), full());
    assert_eq!(output.status.code(), Some(4));
    let output = run(&sandbox, &["cut", "adapter", "--boundary", "2", "-o", "out"], full(), full());
    assert_eq!(output.status.code(), Some(4));
    assert!(sandbox.exists("out/adapter_model.safetensors"));
}

/// A pipe whose writing end does not wait, as Node makes them: everything arrives all the same.
#[test]
fn a_pipe_that_does_not_wait() {
    use std::io::Read;
    let sandbox = Sandbox::new();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("lora-slim"));
    command.current_dir(sandbox.0.folder.path()).arg("schema").stdout(writer);
    let mut child = command.spawn().unwrap();
    drop(command);
    // The pipe is full before anything is read.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(text.len() > 65_536, "more than a pipe holds: {}", text.len());
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
}

/// `>&-`: results have nowhere to go, which is an error, and nothing is lost that lies on disk.
#[test]
fn no_standard_output_at_all() {
    let sandbox = Sandbox::new();
    for (args, code) in [
        ("inspect adapter", 4),
        ("inspect adapter --json", 4),
        ("--help", 4),
        ("--version", 4),
        ("schema", 4),
        ("cut adapter --boundary 2 -o out", 4),
        ("cut adapter --boundary 2 -o quiet -q", 0),
        ("inspect nothing", 3),
    ] {
        let program = assert_cmd::cargo::cargo_bin("lora-slim");
        let script = format!("exec \"$0\" {args} >&-");
        let mut command = Command::new("sh");
        command.current_dir(sandbox.0.folder.path()).args(["-c", &script]).arg(program);
        let output = command.stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(sandbox.exists("out/adapter_model.safetensors") && sandbox.exists("quiet/adapter_model.safetensors"));
    // And without a standard error.
    let script = "exec \"$0\" cut adapter --boundary 2 -o silent >/dev/null 2>&-";
    let mut command = Command::new("sh");
    command.current_dir(sandbox.0.folder.path()).args(["-c", script]);
    assert!(command.arg(assert_cmd::cargo::cargo_bin("lora-slim")).status().unwrap().success());
    assert!(sandbox.exists("silent/adapter_model.safetensors"));
}
