//! A bug ends the program with its own exit code and a sentence, and no error code depends on whether the sentence can be written.

use std::process::{Command, ExitCode, Output};

use lora_slim::cli::panics::guarded;

use crate::bad_input::Setup;

const BUG: i32 = 70;

/// What the child processes below do: this test binary runs itself, because a panic handler is for a whole process.
#[test]
#[ignore = "run by the tests below"]
fn child() {
    let code = guarded(|| match std::env::var("PANIC_IN").as_deref() {
        Ok("thread") => {
            let _ = std::thread::spawn(|| panic!("one\ntwo")).join();
            ExitCode::SUCCESS
        }
        Ok("pool") => {
            std::thread::scope(|scope| {
                (0..4).for_each(|number| drop(scope.spawn(move || panic!("bug {number}"))));
            });
            ExitCode::SUCCESS
        }
        Ok("main") => panic!("main {}", 7),
        _ => ExitCode::from(3),
    });
    // A test cannot return its exit code.
    let code = (0..=255).find(|&known| format!("{:?}", ExitCode::from(known)) == format!("{code:?}"));
    std::process::exit(code.map_or(1, i32::from));
}

fn run(place: &str, redirection: &str) -> Output {
    let command = format!("exec \"$0\" panics::child --exact --ignored --nocapture {redirection}");
    let binary = std::env::current_exe().unwrap();
    Command::new("sh").args(["-c", &command]).arg(binary).env("PANIC_IN", place).output().unwrap()
}

#[test]
fn a_panic_is_a_sentence_and_a_code() {
    for (place, said) in [("main", "main 7"), ("thread", "one[U+000A]two"), ("pool", "bug")] {
        let output = run(place, "");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(BUG), "{place}: {text}");
        assert_eq!(text.matches("error: lora-slim has a bug and stopped: ").count(), 1, "{place}: {text}");
        assert!(text.contains(said) && text.contains("tests/panics.rs:"), "{place}: {text}");
    }
    assert_eq!(run("nowhere", "").status.code(), Some(3));
}

#[test]
#[cfg(target_os = "linux")]
fn codes_do_not_depend_on_standard_error() {
    for redirection in ["2>/dev/full", "2>&-"] {
        for place in ["main", "thread", "pool"] {
            assert_eq!(run(place, redirection).status.code(), Some(BUG), "{place} {redirection}");
        }
        let setup = Setup::new();
        let command = format!("exec \"$0\" slim nothing --samples samples.jsonl -o out {redirection}");
        let program = assert_cmd::cargo::cargo_bin("lora-slim");
        let status =
            Command::new("sh").current_dir(setup.folder.path()).args(["-c", &command]).arg(program).status().unwrap();
        assert_eq!(status.code(), Some(3), "{redirection}");
    }
}
