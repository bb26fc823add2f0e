//! Pipes, sockets, devices and folders where a file is meant: nothing waits for their other end, and nothing is read without a bound.

use super::{Attack, Sandbox, run_all};

const CUT: &[&str] = &["cut", "adapter", "--boundary", "2", "-o", "out"];
const INSPECT: &[&str] = &["inspect", "adapter"];
const CHECK: &[&str] = &["check", "adapter", "--base", "base"];
const FIX: &[&str] = &["fix", "adapter", "-o", "out"];
const SLIM: &[&str] = &["slim", "adapter", "--base", "base", "--samples", "samples.jsonl", "--boundary", "2", "-oout"];
const BATCH: &[&str] = &["batch", "--manifest", "jobs.jsonl", "--boundary", "2", "-o", "out"];

#[test]
fn pipes_in_the_place_of_files() {
    for (place, args) in [
        ("adapter/adapter_model.safetensors", &[CUT, INSPECT, CHECK, FIX, SLIM][..]),
        ("adapter/adapter_config.json", &[CUT, INSPECT, CHECK, SLIM]),
        ("base/model.safetensors", &[SLIM]),
        ("base/config.json", &[SLIM]),
        ("jobs.jsonl", &[BATCH]),
    ] {
        for &args in args {
            let sandbox: fn(&Sandbox) = match place {
                "adapter/adapter_model.safetensors" => |sandbox| sandbox.pipe("adapter/adapter_model.safetensors"),
                "adapter/adapter_config.json" => |sandbox| sandbox.pipe("adapter/adapter_config.json"),
                "base/model.safetensors" => |sandbox| sandbox.pipe("base/model.safetensors"),
                "base/config.json" => |sandbox| sandbox.pipe("base/config.json"),
                _ => |sandbox| sandbox.pipe("jobs.jsonl"),
            };
            run_all(&[Attack::new(place, sandbox, args).code(&[3], "error: ")]);
        }
    }
}

/// Samples that have to be tokenised.
fn text(sandbox: &Sandbox) {
    sandbox.write("text.jsonl", std::fs::read(crate::support::fixture("pico/text/messages.jsonl")).unwrap());
}

fn remove_weights(sandbox: &Sandbox) {
    sandbox.remove("adapter/adapter_model.safetensors");
}

#[test]
fn pipes_and_devices_elsewhere() {
    run_all(&[
        Attack::new(
            "a shard",
            |sandbox| {
                remove_weights(sandbox);
                sandbox.write(
                    "adapter/adapter_model.safetensors.index.json",
                    r#"{"weight_map": {"x": "shard.safetensors"}}"#,
                );
                sandbox.pipe("adapter/shard.safetensors");
            },
            CUT,
        )
        .code(&[3], "`adapter/shard.safetensors` is a pipe, and not a file"),
        Attack::new(
            "shards without an index",
            |sandbox| {
                remove_weights(sandbox);
                sandbox.pipe("adapter/adapter_model-00001-of-00001.safetensors");
            },
            CUT,
        )
        .code(&[3], "is a pipe, and not a file"),
        Attack::new(
            "an index",
            |sandbox| {
                remove_weights(sandbox);
                sandbox.pipe("adapter/adapter_model.safetensors.index.json");
            },
            CUT,
        )
        .code(&[3], "error: "),
        Attack::new(
            "a pickle",
            |sandbox| {
                remove_weights(sandbox);
                sandbox.pipe("adapter/adapter_model.bin");
            },
            CUT,
        )
        .code(&[3], "error: "),
        Attack::new(
            "weights without an end",
            |sandbox| sandbox.link("adapter/adapter_model.safetensors", "/dev/zero"),
            INSPECT,
        )
        .code(&[3], "error: "),
        Attack::new("random weights", |sandbox| sandbox.link("base/model.safetensors", "/dev/urandom"), SLIM)
            .code(&[3], "`base/model.safetensors` is a device, and not a file"),
        Attack::new(
            "a folder in the place of weights",
            |sandbox| {
                sandbox.remove("base/model.safetensors");
                sandbox.write("base/model.safetensors/x", "");
            },
            SLIM,
        )
        .code(&[3], "`base/model.safetensors` is a folder, and not a file"),
        Attack::new(
            "a GGUF model",
            |sandbox| sandbox.pipe("model.gguf"),
            &["slim", "adapter", "--base", "model.gguf", "--samples", "samples.jsonl", "-o", "out"],
        )
        .code(&[3], "error: "),
        Attack::new(
            "a device for a model",
            |_| {},
            &["slim", "adapter", "--base", "/dev/zero", "--samples", "samples.jsonl", "-o", "out"],
        )
        .code(&[3], "error: "),
        Attack::new(
            "a tokenizer",
            |sandbox| {
                text(sandbox);
                sandbox.pipe("tokenizer.json");
            },
            &["slim", "adapter", "--base", "base", "--tokenizer", "tokenizer.json", "--samples", "text.jsonl", "-oout"],
        )
        .code(&[3], "error: "),
        Attack::new(
            "a template",
            |sandbox| {
                text(sandbox);
                sandbox.pipe("template.jinja");
            },
            &[
                "slim",
                "adapter",
                "--base",
                "base",
                "--chat",
                "--chat-template",
                "template.jinja",
                "--samples",
                "text.jsonl",
                "-o",
                "out",
            ],
        )
        .code(&[3], "error: "),
        Attack::new(
            "a pipe in a folder of samples",
            |sandbox| {
                sandbox.write("data/a.jsonl", sandbox.read("samples.jsonl"));
                sandbox.pipe("data/b.jsonl");
            },
            &["scan", "adapter", "--base", "base", "--samples", "data"],
        )
        .code(&[3], "`data/b.jsonl` is a pipe, and not a file"),
        Attack::new(
            "a config file",
            |sandbox| sandbox.pipe("flags.toml"),
            &["inspect", "adapter", "--config", "flags.toml"],
        )
        .code(&[3], "`flags.toml` is a pipe, and not a file"),
        // One that nobody named is not there.
        Attack::new("the usual config file", |sandbox| sandbox.pipe("lora-slim.toml"), INSPECT),
        Attack::new("a manifest without an end", |_| {}, &["batch", "--manifest", "/dev/zero", "-o", "out"])
            .code(&[3], "`/dev/zero` is a device, and not a file"),
        Attack::new("a folder as a manifest", |_| {}, &["batch", "--manifest", "adapter", "-o", "out"])
            .code(&[3], "`adapter` is a folder, and not a file"),
        Attack::new(
            "results",
            |sandbox| {
                sandbox.write("jobs.jsonl", "{\"adapter\": \"adapter\"}\n");
                sandbox.pipe("out/results.jsonl");
            },
            BATCH,
        )
        .code(&[2, 3, 4], "results.jsonl"),
        Attack::new(
            "samples that do not end",
            |_| {},
            &["scan", "adapter", "--base", "base", "--samples", "/dev/zero"],
        )
        .code(&[3], "`/dev/zero` is larger than"),
        Attack::new(
            "a page",
            |sandbox| sandbox.pipe("page.html"),
            &["scan", "adapter", "--base", "base", "--samples", "samples.jsonl", "--report", "page.html", "--force"],
        )
        .code(&[2, 3, 4], "page.html"),
    ]);
}

#[test]
fn sockets_in_the_place_of_files() {
    run_all(&[
        Attack::new(
            "weights",
            |sandbox| {
                remove_weights(sandbox);
                let place = sandbox.path("adapter/adapter_model.safetensors");
                std::os::unix::net::UnixListener::bind(place).unwrap();
            },
            CUT,
        )
        .code(&[3], "error: "),
        Attack::new(
            "a manifest",
            |sandbox| drop(std::os::unix::net::UnixListener::bind(sandbox.path("jobs.jsonl")).unwrap()),
            BATCH,
        )
        .code(&[3], "`jobs.jsonl` is a socket, and not a file"),
    ]);
}

/// Manifests have as many jobs and values as docs/batch.md says.
#[test]
fn manifests_have_limits() {
    run_all(&[
        Attack::new(
            "many jobs",
            |sandbox| {
                let lines = (0..1_100_000).map(|at| format!("{{\"adapter\":\"a{at}\"}}\n"));
                sandbox.write("jobs.jsonl", lines.collect::<String>());
            },
            BATCH,
        )
        .code(&[3], "jobs.jsonl:"),
        Attack::new(
            "many options",
            |sandbox| {
                let options: Vec<String> = (0..5_000_000).map(|at| format!("\"{at:x}\":1")).collect();
                sandbox.write("jobs.jsonl", format!("{{\"adapter\":\"a\",\"options\":{{{}}}}}\n", options.join(",")));
            },
            BATCH,
        )
        .code(&[3], "jobs.jsonl:1"),
        Attack::new(
            "deep options",
            |sandbox| {
                let deep = super::super::deep("[", "]");
                sandbox.write("jobs.jsonl", format!("{{\"adapter\":\"a\",\"options\":{{\"x\":{deep}}}}}\n"));
            },
            BATCH,
        )
        .code(&[3], "jobs.jsonl:1"),
        Attack::new(
            "a deep config file",
            |sandbox| sandbox.write("flags.toml", format!("x = {}", super::super::deep("[", "]"))),
            &["inspect", "adapter", "--config", "flags.toml"],
        )
        .code(&[2, 3], "flags.toml"),
        Attack::new(
            "nested tables in a config file",
            |sandbox| sandbox.write("flags.toml", format!("{}x = 1", "a.".repeat(100_000))),
            &["inspect", "adapter", "--config", "flags.toml"],
        )
        .code(&[2, 3], "flags.toml"),
    ]);
}
