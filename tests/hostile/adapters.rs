//! Adapter folders.

use std::fs;

use super::{deep, refused, slim_refused, vast};
use crate::bad_input::Setup;

const CUT: [&str; 6] = ["cut", "adapter", "--boundary", "2", "-o", "out"];

fn header(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

#[test]
fn headers_of_safetensors() {
    let setup = Setup::new();
    let weights = setup.path("adapter/adapter_model.safetensors");
    let claims =
        [1u64 << 60, u64::MAX, 100_000_000, (1 << 63) - 8].map(|claim| [&claim.to_le_bytes(), &b"{}"[..]].concat());
    let tensor = |shape: &str, end: &str| {
        header(&format!(
            r#"{{"m.layers.0.q.lora_A.weight":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#
        ))
    };
    let others = [
        header(&deep("[", "]")),
        header(&deep(r#"{"a":"#, "}")),
        tensor("[18446744073709551615,18446744073709551615]", "8"),
        tensor("[4611686018427387904,4]", "0"),
        tensor("[1,2]", "18446744073709551608"),
        tensor("[1e99,2]", "8"),
        header(&format!(r#"{{"{}":1}}"#, "x".repeat(20_000_000))),
    ];
    for bytes in claims.into_iter().chain(others) {
        fs::write(&weights, bytes).unwrap();
        for args in [&CUT[..], &["inspect", "adapter"], &["check", "adapter"], &["verify", "adapter", "adapter"]] {
            refused(&setup, args, "adapter/adapter_model.safetensors");
        }
        slim_refused(&setup, "adapter/adapter_model.safetensors");
    }
}

#[test]
fn configurations() {
    let setup = Setup::new();
    let config = setup.path("adapter/adapter_config.json");
    let plain = fs::read_to_string(&config).unwrap();
    let with = |entry: String| plain.replacen('{', &format!("{{{entry},"), 1);
    for text in [
        deep("[", "]"),
        deep(r#"{"a":"#, "}"),
        with(format!(r#""r": {}"#, "9".repeat(1_000_000))),
        format!(r#"{{"peft_type": "{}"}}"#, "x".repeat(20_000_000)),
        String::from("\0").repeat(1_000_000),
    ] {
        fs::write(&config, text).unwrap();
        for args in [&CUT[..], &["inspect", "adapter"], &["check", "adapter"]] {
            refused(&setup, args, "adapter");
        }
    }
    vast(&config, plain.as_bytes());
    refused(&setup, &CUT, "adapter/adapter_config.json");
}

/// A pickle is a program. candle's reader of them runs none, but trusts what they say of sizes and shapes.
#[test]
fn pickles() {
    let setup = Setup::new();
    fs::remove_file(setup.path("adapter/adapter_model.safetensors")).unwrap();
    let weights = setup.path("adapter/adapter_model.bin");
    let string_of_4_gb = b"\x80\x02X\xff\xff\xff\xffabc.".to_vec();
    let nothing_to_call = b"\x80\x02ctorch._utils\n_rebuild_parameter\n)R.".to_vec();
    let named = [b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_parameter\n)Rs.".as_slice()].concat();
    // Each step makes a pair of the last one with itself: 2^40 at the end.
    let doubling = [b"\x80\x02)q\x00".as_slice(), &b"h\x00h\x00\x86q\x00".repeat(40), b"."].concat();
    let endless_marks = [b"\x80\x02".as_slice(), &b"(".repeat(1_000_000)].concat();
    let deep_lists = [b"\x80\x02".as_slice(), &b"]".repeat(500_000), &b"a".repeat(499_999), b"."].concat();
    for pickle in [string_of_4_gb, nothing_to_call, named, doubling, endless_marks, deep_lists] {
        fs::write(&weights, crate::bad_input::adapters::zip_archive("adapter_model/data.pkl", &pickle)).unwrap();
        refused(&setup, &CUT, "adapter/adapter_model.bin");
    }
}

#[cfg(unix)]
#[test]
fn shards_and_links() {
    let setup = Setup::new();
    // The cache of Hugging Face is made of links to `../../blobs`: links are followed, names with folders in them are not.
    fs::create_dir(setup.path("blobs")).unwrap();
    fs::rename(setup.path("adapter/adapter_model.safetensors"), setup.path("blobs/0a1b")).unwrap();
    std::os::unix::fs::symlink("../blobs/0a1b", setup.path("adapter/adapter_model.safetensors")).unwrap();
    crate::support::lora_slim().current_dir(setup.folder.path()).args(CUT).assert().success();
    fs::remove_dir_all(setup.path("out")).unwrap();
    fs::remove_file(setup.path("adapter/adapter_model.safetensors")).unwrap();
    let index = setup.path("adapter/adapter_model.safetensors.index.json");
    let absolute = setup.path("blobs/0a1b").display().to_string();
    for shard in ["../blobs/0a1b", "./../blobs/0a1b", absolute.as_str(), "..", ".", "", "a/b", "a\0b"] {
        fs::write(&index, serde_json::json!({"weight_map": {"x": shard}}).to_string()).unwrap();
        refused(&setup, &CUT, "adapter");
    }
    // A link to itself.
    std::os::unix::fs::symlink("loop.safetensors", setup.path("adapter/loop.safetensors")).unwrap();
    fs::write(&index, r#"{"weight_map": {"x": "loop.safetensors"}}"#).unwrap();
    let mut cut = crate::support::lora_slim();
    let output = cut.current_dir(setup.folder.path()).args(CUT).output().unwrap();
    assert!([3, 4].contains(&output.status.code().unwrap()) && !setup.path("out").exists());
}
