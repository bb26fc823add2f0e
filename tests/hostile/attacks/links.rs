//! Links out of folders, and files that are no files, where a file is copied or looked for.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::{Attack, Sandbox, run_all};
use crate::support::read_json;

const CUT: &[&str] = &["cut", "adapter", "--boundary", "2", "-o", "out"];
const RANK: &[&str] = &["cut", "adapter", "--boundary", "2", "--rank", "2", "-o", "out"];
const FIX: &[&str] = &["fix", "adapter", "-o", "out"];
const SLIM: &[&str] = &["slim", "adapter", "--base", "base", "--samples", "samples.jsonl", "--boundary", "2", "-oout"];
const BATCH: &[&str] = &["batch", "in", "--boundary", "2", "-o", "out"];

/// A file outside of the adapter's folder.
fn secret(sandbox: &Sandbox, link: &str, target: &str) {
    sandbox.write("secret/key", "secret");
    sandbox.link(link, target);
}

fn readme_leads_out(sandbox: &Sandbox) {
    secret(sandbox, "adapter/README.md", "../secret/key");
}

fn is_not_copied(sandbox: &Sandbox) {
    // What is there is written by the program alone.
    let card = sandbox.read("out/README.md");
    let body = card.strip_prefix("---\n").and_then(|rest| rest.split_once("---\n")).map(|(_, body)| body);
    assert!(body.is_some_and(|body| body.starts_with("\n<!-- lora-slim begins")), "{card}");
    assert!(!card.contains("secret") && !card.contains("root:"), "{card}");
    reported(sandbox, "leads-out", "README.md");
}

/// Checks that the report names a file that was not copied.
fn reported(sandbox: &Sandbox, reason: &str, name: &str) {
    let report = read_json(&sandbox.path("out/slim_report.json"));
    let listed = report["adapter"]["not_copied"].as_array().unwrap();
    let names = |one: &Value| one["reason"] == reason && one["names"].as_array().unwrap().contains(&name.into());
    assert!(listed.iter().any(names), "{report}");
    let warnings = report["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|warning| warning["code"] == "not-copied"), "{report}");
}

#[test]
fn what_is_published_comes_from_the_folder() {
    run_all(&[
        Attack::new("a relative link out", readme_leads_out, CUT).code(&[0], "[not-copied]").then(is_not_copied),
        Attack::new("the same before a step", readme_leads_out, RANK).code(&[0], "[not-copied]").then(is_not_copied),
        Attack::new("the same with samples", readme_leads_out, SLIM).code(&[0], "[not-copied]").then(is_not_copied),
        Attack::new("the same while it is mended", readme_leads_out, FIX)
            .code(&[0], "`README.md` is not copied")
            .then(|sandbox| assert!(!sandbox.exists("out/README.md"))),
        Attack::new("an absolute link", |sandbox| sandbox.link("adapter/README.md", "/etc/passwd"), CUT)
            .code(&[0], "`README.md` is not copied: a link may only lead")
            .then(is_not_copied),
        Attack::new("the environment", |sandbox| sandbox.link("adapter/LICENSE", "/proc/self/environ"), CUT)
            .code(&[0], "`LICENSE` is not copied")
            .then(|sandbox| assert!(!sandbox.exists("out/LICENSE"))),
        Attack::new("a tokenizer without an end", |sandbox| sandbox.link("adapter/tokenizer.json", "/dev/zero"), CUT)
            .code(&[0], "`tokenizer.json` is not copied"),
        Attack::new(
            "through a linked folder inside",
            |sandbox| {
                secret(sandbox, "adapter/docs", "../secret");
                sandbox.link("adapter/README.md", "docs/key");
            },
            CUT,
        )
        .then(is_not_copied),
        Attack::new(
            "a chain of links",
            |sandbox| {
                secret(sandbox, "adapter/one", "../secret/key");
                sandbox.link("adapter/README.md", "one");
            },
            CUT,
        )
        .then(is_not_copied),
        Attack::new(
            "a folder whose name begins alike",
            |sandbox| {
                sandbox.write("adapter-secret/key", "secret");
                sandbox.link("adapter/README.md", "../adapter-secret/key");
            },
            CUT,
        )
        .then(is_not_copied),
        Attack::new(
            "blobs that are a link themselves",
            |sandbox| {
                sandbox.adapter("hub/snapshots/abc");
                sandbox.write("secret/key", "secret");
                sandbox.link("hub/blobs", "../secret");
                sandbox.link("hub/snapshots/abc/README.md", "../../blobs/key");
            },
            &["cut", "hub/snapshots/abc", "--boundary", "2", "-o", "out"],
        )
        .then(is_not_copied),
        Attack::new(
            "the blob of another repository",
            |sandbox| {
                sandbox.adapter("hub/models--a/snapshots/abc");
                sandbox.write("hub/models--b/blobs/key", "secret");
                sandbox.link("hub/models--a/snapshots/abc/README.md", "../../../models--b/blobs/key");
            },
            &["cut", "hub/models--a/snapshots/abc", "--boundary", "2", "-o", "out"],
        )
        .then(is_not_copied),
        Attack::new("a link that leads nowhere", |sandbox| sandbox.link("adapter/README.md", "nowhere"), CUT)
            .code(&[0], "`README.md` is not copied: a link that leads nowhere")
            .then(|sandbox| reported(sandbox, "broken-link", "README.md")),
        Attack::new("a link to itself", |sandbox| sandbox.link("adapter/README.md", "README.md"), CUT)
            .code(&[0], "`README.md` is not copied: a link that leads nowhere"),
        Attack::new("a pipe", |sandbox| sandbox.pipe("adapter/README.md"), CUT)
            .code(&[0], "`README.md` is not copied: no regular file")
            .then(|sandbox| reported(sandbox, "not-a-file", "README.md")),
        Attack::new("a terabyte", |sandbox| super::super::vast(&sandbox.path("adapter/README.md"), b"# A"), CUT)
            .code(&[0], "`README.md` is not copied: a file beside an adapter may have at most")
            .then(|sandbox| reported(sandbox, "too-large", "README.md")),
        Attack::new("data beside it", |sandbox| sandbox.write("adapter/data.jsonl", "{}"), CUT)
            .code(&[0], "`data.jsonl` is not copied: only tokenizer")
            .then(|sandbox| reported(sandbox, "other-kind", "data.jsonl")),
        Attack::new(
            "names that are no text",
            |sandbox| {
                for byte in [0xfe, 0xff] {
                    let name = [b"LICENSE-", &[byte][..]].concat();
                    fs::write(sandbox.path("adapter").join(std::ffi::OsStr::from_bytes(&name)), "x").unwrap();
                }
            },
            CUT,
        )
        .code(&[0], "and"),
    ]);
}

/// What people have: links inside of the folder, the cache of the hub, weights that are kept elsewhere, a link to the whole folder.
#[test]
fn links_that_stay_or_carry_weights_are_followed() {
    let copied = |sandbox: &Sandbox| assert!(sandbox.read("out/README.md").contains("---\n# Mine\n\n<!-- lora-slim"));
    run_all(&[
        Attack::new(
            "a link inside",
            |sandbox| {
                sandbox.write("adapter/docs/card.md", "# Mine");
                sandbox.link("adapter/README.md", "docs/card.md");
            },
            CUT,
        )
        .then(copied),
        Attack::new(
            "the cache of the hub",
            |sandbox| {
                sandbox.adapter("hub/models--me--mine/snapshots/abc");
                sandbox.write("hub/models--me--mine/blobs/0a1b", "# Mine");
                sandbox.link("hub/models--me--mine/snapshots/abc/README.md", "../../blobs/0a1b");
            },
            &["cut", "hub/models--me--mine/snapshots/abc", "--boundary", "2", "-o", "out"],
        )
        .then(copied),
        Attack::new(
            "an adapter in a folder of the repository",
            |sandbox| {
                sandbox.adapter("hub/models--me--mine/snapshots/abc/best");
                sandbox.write("hub/models--me--mine/blobs/0a1b", "# Mine");
                sandbox.link("hub/models--me--mine/snapshots/abc/best/README.md", "../../../blobs/0a1b");
            },
            &["cut", "hub/models--me--mine/snapshots/abc/best", "--boundary", "2", "-o", "out"],
        )
        .then(copied),
        Attack::new(
            "weights and configuration elsewhere",
            |sandbox| {
                sandbox.write("adapter/README.md", "# Mine");
                for name in ["adapter_model.safetensors", "adapter_config.json"] {
                    let kept = sandbox.path(&format!("kept-{name}"));
                    fs::rename(sandbox.path(&format!("adapter/{name}")), kept).unwrap();
                    sandbox.link(&format!("adapter/{name}"), &format!("../kept-{name}"));
                }
            },
            CUT,
        )
        .then(copied),
        Attack::new(
            "a link to the folder",
            |sandbox| {
                sandbox.write("adapter/README.md", "# Mine");
                fs::rename(sandbox.path("adapter"), sandbox.path("real")).unwrap();
                sandbox.link("adapter", "real");
            },
            CUT,
        )
        .then(copied),
    ]);
}

/// A folder of thousands of files is neither waited for nor copied without a bound, and the tokenizer is among what is copied.
#[test]
fn thousands_of_files_beside_an_adapter() {
    run_all(&[Attack::new(
        "20,000 licences",
        |sandbox| {
            (0..20_000).for_each(|at| sandbox.write(&format!("adapter/LICENSE-{at}"), "x"));
            sandbox.write("adapter/tokenizer_config.json", "{}");
        },
        CUT,
    )
    .code(&[0], "more are not copied")
    .then(|sandbox| {
        assert_eq!(fs::read_dir(sandbox.path("out")).unwrap().count(), 1000 + 4);
        assert!(sandbox.exists("out/tokenizer_config.json"));
        let report = read_json(&sandbox.path("out/slim_report.json"));
        assert_eq!(report["adapter"]["not_copied"][0]["count"], 19_001);
    })]);
}

/// One bad entry below IN does not keep the others from being done, and no link leads the batch elsewhere.
#[test]
fn a_batch_goes_on() {
    let done = |sandbox: &Sandbox| assert!(sandbox.exists("out/a/adapter_model.safetensors"));
    fn one(sandbox: &Sandbox) {
        sandbox.adapter("in/a");
    }
    run_all(&[
        Attack::new(
            "a link to itself",
            |sandbox| {
                one(sandbox);
                sandbox.link("in/self", "self");
            },
            BATCH,
        )
        .code(&[0], "in/self")
        .then(done),
        Attack::new(
            "links in a circle",
            |sandbox| {
                one(sandbox);
                sandbox.link("in/one", "two");
                sandbox.link("in/two", "one");
            },
            BATCH,
        )
        .code(&[0], "2 places below `in` left out")
        .then(done),
        Attack::new(
            "a link that leads nowhere",
            |sandbox| {
                one(sandbox);
                sandbox.link("in/gone", "/no/such/folder");
            },
            BATCH,
        )
        .code(&[0], "in/gone")
        .then(done),
        Attack::new(
            "a link back",
            |sandbox| {
                one(sandbox);
                sandbox.link("in/a/again", "..");
            },
            BATCH,
        )
        .then(done),
        Attack::new(
            "a link out",
            |sandbox| {
                one(sandbox);
                sandbox.adapter("elsewhere/b");
                sandbox.link("in/b", "../elsewhere/b");
            },
            BATCH,
        )
        .code(&[0], "links out of `in` are not followed: `in/b`")
        .then(|sandbox| assert!(!sandbox.exists("out/b") && sandbox.exists("out/a"))),
        Attack::new(
            "a link to the whole disk",
            |sandbox| {
                one(sandbox);
                sandbox.link("in/all", "/");
            },
            BATCH,
        )
        .code(&[0], "in/all")
        .then(done),
        Attack::new(
            "pipes among adapters",
            |sandbox| {
                one(sandbox);
                sandbox.pipe("in/b/adapter_config.json");
                sandbox.adapter("in/c");
                sandbox.pipe("in/c/adapter_model.safetensors");
            },
            BATCH,
        )
        .code(&[3], "c: failed")
        .then(done),
        Attack::new(
            "weights that lead nowhere",
            |sandbox| {
                one(sandbox);
                sandbox.adapter("in/b");
                sandbox.link("in/b/adapter_model.safetensors", "nowhere");
            },
            BATCH,
        )
        .code(&[3], "b: failed")
        .then(done),
        Attack::new(
            "a name that is no text",
            |sandbox| {
                one(sandbox);
                let name = sandbox.path("in").join(std::ffi::OsStr::from_bytes(b"\xff"));
                crate::support::copy_folder(&sandbox.path("adapter"), &name);
            },
            BATCH,
        )
        .code(&[3], "is not Unicode")
        .then(done),
        Attack::new(
            "a link inside",
            |sandbox| {
                one(sandbox);
                sandbox.link("in/b", "a");
            },
            BATCH,
        )
        .then(|sandbox| assert!(sandbox.exists("out/b/adapter_model.safetensors"))),
    ]);
}

/// A folder that may not be read. Root may read all.
#[test]
fn a_closed_folder_in_a_batch() {
    let probe = tempfile::tempdir().unwrap();
    fs::set_permissions(probe.path(), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read_dir(probe.path()).is_ok() {
        println!("skipped: this user may read everything");
        return;
    }
    run_all(&[Attack::new(
        "a closed folder",
        |sandbox| {
            sandbox.adapter("in/a");
            fs::create_dir(sandbox.path("in/closed")).unwrap();
            fs::set_permissions(sandbox.path("in/closed"), fs::Permissions::from_mode(0o000)).unwrap();
        },
        BATCH,
    )
    .code(&[4], "1 place below `in` left out: cannot read `in/closed`")]);
}
