//! Outputs among mounts: layered file systems, bind mounts, mount points. Each test runs where this user may mount
//! something.

use std::fs;
use std::process::{Command, Output};

use crate::bad_input::Setup;
use crate::support::kill::contents;

/// Runs a script of the shell in a mount namespace of its own; `None` where that is not possible. `$0` is the program.
fn in_namespace(setup: &Setup, script: &str) -> Option<Output> {
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-ec", script]).arg(assert_cmd::cargo::cargo_bin("lora-slim"));
    let output = command.current_dir(setup.folder.path()).output().ok()?;
    if setup.path("mounted").exists() {
        return Some(output);
    }
    println!("skipped: nothing can be mounted here: {output:?}");
    None
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

/// A folder of a lower layer can be neither renamed nor exchanged.
#[test]
fn an_output_in_a_lower_layer_is_replaced() {
    let setup = Setup::new();
    let script = "mkdir layers && mount -t tmpfs none layers && cd layers && mkdir lower upper work merged
        \"$0\" cut ../adapter --boundary 1 -o lower/out -q; mkdir lower/out/more; echo 1 > lower/out/more/file
        layers=lowerdir=lower,upperdir=upper,workdir=work
        mount -t overlay overlay -o userxattr,$layers merged || mount -t overlay overlay -o $layers merged
        touch ../mounted
        \"$0\" cut ../adapter --boundary 2 -o merged/out --force; ls -A merged; cp -r merged/out ../found
        \"$0\" cut ../adapter --boundary 2 -o merged/out --force";
    let Some(output) = in_namespace(&setup, script) else { return };
    succeeded(&output);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.lines().any(|line| line == "out") && !said.contains(".lora-slim-out"), "{said}");
    let mut cut = crate::support::lora_slim();
    cut.current_dir(setup.folder.path()).args(["cut", "adapter", "--boundary", "2", "-o", "expected"]);
    cut.assert().success();
    let weights = |name: &str| fs::read(setup.path(name).join("adapter_model.safetensors")).unwrap();
    assert!(weights("found") == weights("expected") && !setup.path("found/more").exists());
}

/// A mount point cannot be replaced, and what is mounted in an output must not go with it.
#[test]
fn mounts_stay() {
    let setup = Setup::new();
    fs::create_dir(setup.path("thesis")).unwrap();
    fs::write(setup.path("thesis/text"), "mine").unwrap();
    let script = "mkdir out && mount --bind out out && touch mounted
        code() { set +e; \"$@\" 2>>said; echo $?; }
        code \"$0\" cut adapter --boundary 2 -o out --force
        \"$0\" cut adapter --boundary 2 -o other -q
        mkdir other/inside other/deep other/deep/er && mount --bind thesis other/deep/er
        code \"$0\" cut adapter --boundary 2 -o other --force
        touch page.html && mount --bind page.html page.html
        code \"$0\" scan adapter --base base --samples samples.jsonl --report page.html --force -q";
    let Some(output) = in_namespace(&setup, script) else { return };
    succeeded(&output);
    let said = fs::read_to_string(setup.path("said")).unwrap();
    let codes: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(String::from).collect();
    let codes: Vec<&str> = codes.iter().map(String::as_str).filter(|line| line.len() == 1).collect();
    assert_eq!(codes, ["2", "2", "2"], "{said} {output:?}");
    assert_eq!(said.matches("is a mount point").count(), 3, "{said}");
    assert_eq!(fs::read(setup.path("thesis/text")).unwrap(), b"mine");
}

/// Another name of an input, by a bind mount.
#[test]
fn an_input_is_known_by_any_name() {
    let setup = Setup::new();
    fs::copy(setup.path("adapter/adapter_config.json"), setup.path("base/adapter_config.json")).unwrap();
    let before = (contents(&setup.path("base")), contents(&setup.path("adapter")));
    let script = "mkdir b all a && mount --bind base b && mount --bind adapter a && touch mounted
        code() { set +e; \"$@\" 2>>said; echo $?; }
        for out in b b/sub a a/sub; do
            code \"$0\" cut adapter --boundary 2 --base base -o $out --force
        done
        code \"$0\" cut adapter --boundary 2 --base b -o base/sub --force";
    let Some(output) = in_namespace(&setup, script) else { return };
    let said = fs::read_to_string(setup.path("said")).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2\n2\n2\n2\n2\n", "{said} {output:?}");
    assert_eq!(said.matches("overlap").count(), 5, "{said}");
    assert!((contents(&setup.path("base")), contents(&setup.path("adapter"))) == before);
}
