//! Where samples are: containers, several files, folders of data sets, and standard input (`scripts/fixtures/forms.py`).

use std::fs;
use std::path::{Path, PathBuf};

use lora_slim::samples::read::{ReadOptions, read_all};
use lora_slim::samples::{FieldNames, SampleContent, read};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{ADAPTER, fixture, lora_slim};

#[test]
fn each_container_holds_the_same_samples() {
    let folder = fixture("forms/containers");
    let read = |path: PathBuf, split: Option<&str>| {
        let options = ReadOptions { split: split.map(String::from), ..ReadOptions::default() };
        let read = read_all(std::slice::from_ref(&path), &options).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read.remarks, Vec::<String>::new(), "{}", path.display());
        read.files.into_iter().flat_map(|file| file.samples).map(|raw| raw.content).collect::<Vec<_>>()
    };
    let expected = read(folder.join("lines.jsonl"), None);
    assert_eq!(expected.len(), 3);
    let names = [
        "bom-crlf.jsonl",
        "utf16.jsonl",
        "utf16-be.json",
        "array.json",
        "pretty.json",
        "data.json",
        "lines.jsonl.gz",
        "lines.jsonl.zst",
        "table.csv",
        "table.csv.gz",
        "table.tsv",
        "table.parquet",
        "table.arrow",
        "saved",
    ];
    for name in names {
        assert_eq!(read(folder.join(name), None), expected, "{name}");
    }
    for name in ["splits", "saved-splits", "splits.json"] {
        assert_eq!(read(folder.join(name), Some("validation")), expected, "{name}");
        assert_eq!(read(folder.join(name), Some("train")), expected[..1], "{name}");
        let error = read_all(&[folder.join(name)], &ReadOptions::default()).unwrap_err();
        assert!(error.to_string().contains("`train`, `validation`"), "{error}");
        assert!(error.hint().unwrap().contains("--split"), "{name}");
        let options = ReadOptions { split: Some("test".into()), ..ReadOptions::default() };
        let error = read_all(&[folder.join(name)], &options).unwrap_err();
        assert!(error.to_string().contains("no split `test`"), "{error}");
    }
}

#[test]
fn nested_columns_of_tables_are_read_as_json() {
    let folder = fixture("forms/containers");
    let read = |name: &str| {
        let options = ReadOptions::default();
        let read = read_all(&[folder.join(name)], &options).unwrap_or_else(|error| panic!("{error}"));
        read.files.into_iter().flat_map(|file| file.samples).map(|raw| raw.content).collect::<Vec<_>>()
    };
    let expected = read("nested.json");
    assert!(matches!(&expected[1], SampleContent::Chat { messages, context, .. }
        if messages.len() == 4 && messages[1].fields.contains_key("tool_calls") && context.tools.is_some()));
    for name in ["nested.parquet", "nested"] {
        assert_eq!(read(name), expected, "{name}");
    }
    let expected = read("json.jsonl");
    for name in ["json.parquet", "json"] {
        assert_eq!(read(name), expected, "{name}");
    }
}

#[test]
fn several_files_are_read_in_their_order_and_counted_each_for_itself() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let first = path("b.jsonl", "{\"text\": \"1\"}\n\n{\"text\": \"2\"}\n");
    let second = path("a.csv", "text\n3\n");
    let read = read_all(&[first.clone(), second], &ReadOptions::default()).unwrap();
    let lines: Vec<usize> = read.files.iter().flat_map(|file| &file.samples).map(|raw| raw.line).collect();
    assert_eq!(lines, [1, 3, 2]);
    let empty = path("empty.jsonl", "");
    let read = read_all(&[first, empty.clone()], &ReadOptions::default()).unwrap();
    assert!(read.remarks[0].contains("empty.jsonl` holds no samples"), "{:?}", read.remarks);
    assert!(read_all(&[empty], &ReadOptions::default()).is_err());
}

#[test]
fn a_folder_tells_what_it_does_not_read() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "{\"text\": \"1\"}\n").unwrap();
    };
    let read = || read_all(&[folder.path().into()], &ReadOptions::default());
    assert!(read().unwrap_err().to_string().contains("holds no files of samples"));
    write("train.jsonl");
    write("README.md");
    assert_eq!(read().unwrap().remarks, Vec::<String>::new());
    write("notes.bin");
    write("extra.jsonl");
    let remarks = read().unwrap().remarks;
    assert!(remarks.iter().any(|remark| remark.contains("`notes.bin`")), "{remarks:?}");
    assert!(remarks.iter().any(|remark| remark.contains("extra.jsonl`")), "{remarks:?}");
    write("main/train.jsonl");
    let error = read().unwrap_err();
    assert!(error.to_string().contains("several sets"), "{error}");
}

#[test]
fn files_that_hold_no_samples_are_named_for_what_they_are() {
    let error =
        |name: &str, bytes: &[u8]| read::parse(bytes, Path::new(name), &FieldNames::default()).unwrap_err().to_string();
    for (bytes, kind) in [
        (&b"PK\x03\x04...."[..], "a Zip archive"),
        (b"BZh91AY", "compressed by bzip2"),
        (b"\xfd7zXZ\x00\x00", "compressed by xz"),
        (b"%PDF-1.4", "a PDF document"),
        (b"\x80\x04\x95\x00", "a Python pickle"),
    ] {
        assert!(error("s.jsonl", bytes).contains(kind), "{kind}");
    }
    assert!(error("s.jsonl.gz", b"\x1f\x8b\x08\x00").contains("not valid gzip"));
    assert!(error("s.jsonl.zst", b"\x28\xb5\x2f\xfd").contains("not valid Zstandard"));
    assert!(error("s.parquet", b"PAR1PAR1").contains("not valid Parquet"));
    assert!(error("s.arrow", b"\xff\xff\xff\xff\x10\x00\x00\x00").contains("not valid Arrow"));
    assert!(error("s.csv", b"prompt,prompt\na,b\n").contains("several columns are called `prompt`"));
    assert!(error("s.csv", b"prompt,completion\na,b\nc\n").contains("s.csv:3: not a table"));
    let pretty = error("s.json", b"{\n \"prompt\": \"a\",\n \"completion\": b\n}\n");
    assert!(pretty.contains("s.json:3: not JSON"), "{pretty}");
}

#[test]
fn numbers_that_only_python_writes_are_null() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("s.jsonl");
    fs::write(&path, "{\"prompt\": \"NaN\", \"completion\": \"a\", \"score\": NaN}\n").unwrap();
    let read = read_all(&[path], &ReadOptions::default()).unwrap();
    let expected = SampleContent::Completion { prompt: "NaN".into(), completion: "a".into() };
    assert_eq!(read.files[0].samples[0].content, expected);
    assert_eq!(read.remarks, ["`NaN` and `Infinity`, which are not JSON, are read as null"]);
}

#[test]
fn a_folder_and_standard_input_are_samples_as_a_file_is() {
    let folder = TempDir::new().unwrap();
    let lines = "{\"input_ids\": [1, 2, 3]}\n{\"input_ids\": [4, 5, 6], \"id\": 7}\n";
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(folder.path().join("data/validation.jsonl"), lines).unwrap();
    fs::write(folder.path().join("data/train.jsonl"), "{\"input_ids\": [7, 8, 9]}\n").unwrap();
    let scan = |more: &[&str]| {
        let mut command = lora_slim();
        command.current_dir(folder.path()).arg("scan").arg(fixture(ADAPTER)).args(["--json", "--base"]);
        let base = fixture("pico/llama-llama3-rope/base");
        let assert = command.arg(base).args(more).write_stdin(lines).assert();
        (serde_json::from_slice::<Value>(&assert.get_output().stdout).unwrap_or_default(), assert)
    };
    let (file, _) = scan(&["--samples", "data/validation.jsonl"]);
    assert_eq!(file["remarks"], json!(["the column `id` of the samples is not read"]));
    let (split, _) = scan(&["--samples", "data", "--split", "dev"]);
    let (pipe, _) = scan(&["--samples", "-"]);
    for (report, path) in [(&split, "data/validation.jsonl"), (&pipe, "standard input")] {
        assert_eq!(report["curve"], file["curve"]);
        assert_eq!(report["samples"]["sha256"], file["samples"]["sha256"]);
        assert_eq!(report["samples"]["path"], path);
    }
    let (_, refused) = scan(&["--samples", "data"]);
    let said = String::from_utf8_lossy(&refused.code(3).get_output().stderr).into_owned();
    assert!(said.contains("several splits: `train`, `validation`") && said.contains("--split"), "{said}");
    let (both, _) = scan(&["--samples", "data", "--split", "train", "--samples", "data/validation.jsonl"]);
    assert_eq!(both, Value::Null, "a file has no splits");
    let (several, _) = scan(&["--samples", "data/train.jsonl", "--samples", "-"]);
    assert_eq!(several["samples"]["count"], 3);
}

#[test]
fn columns_of_bytes_are_text_and_columns_of_no_value_are_refused_or_named() {
    let read = |folder: &str, name: &str| {
        let path = fixture("forms").join(folder).join(name);
        let read = read_all(&[path], &ReadOptions::default())?;
        let contents = read.files.into_iter().flat_map(|file| file.samples).map(|raw| raw.content);
        Ok::<_, lora_slim::Error>((contents.collect::<Vec<_>>(), read.remarks))
    };
    let (expected, _) = read("containers", "lines.jsonl").unwrap();
    let names = ["bytes.arrow", "large-bytes.arrow", "bytes-view.arrow", "dictionary.arrow", "bytes.parquet"];
    for name in names {
        assert_eq!(read("odd", name).unwrap(), (expected.clone(), vec![]), "{name}");
    }
    for name in ["beside.arrow", "beside.parquet"] {
        let remarks = vec!["the column `day` of the samples is not read".to_string()];
        assert_eq!(read("odd", name).unwrap(), (expected.clone(), remarks), "{name}");
    }
    for (name, words) in [
        ("latin.arrow", "`prompt` changes the meaning of the sample and is not supported: its values are bytes"),
        ("latin.parquet", "its values are bytes that are not UTF-8"),
        ("days.arrow", "`completion` changes the meaning"),
        ("days.parquet", "its values are dates"),
        ("runs.arrow", "`completion` changes the meaning"),
        ("lz4.arrow", "its buffers are compressed; write them uncompressed"),
    ] {
        let error = read("odd", name).unwrap_err().to_string();
        assert!(error.contains(words), "{name}: {error}");
    }
}

#[test]
fn a_broken_table_gets_one_sentence() {
    let folder = TempDir::new().unwrap();
    let bytes = fs::read(fixture("forms/containers/table.parquet")).unwrap();
    let mut broken = 0;
    // The size of the first page is zero, where the library panics; and every 37th byte is another one.
    let changes = std::iter::once((7, bytes[7])).chain((4..bytes.len() - 8).step_by(37).map(|place| (place, 0x55)));
    for (place, change) in changes {
        let mut bytes = bytes.clone();
        bytes[place] ^= change;
        fs::write(folder.path().join("s.parquet"), bytes).unwrap();
        let mut command = lora_slim();
        command.current_dir(folder.path()).arg("scan").arg(fixture(ADAPTER)).arg("--base");
        command.arg(fixture("pico/llama-llama3-rope/base")).args(["--samples", "s.parquet"]);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("panicked"), "{place}: {said}");
        broken += usize::from(output.status.code() == Some(3) && said.starts_with("error: "));
    }
    assert!(broken > 5, "{broken}");
}

#[test]
fn cells_that_others_read_as_null_are_pointed_out() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("s.csv");
    fs::write(&path, "prompt,completion\na,NA\n").unwrap();
    let read = read_all(&[path], &ReadOptions::default()).unwrap();
    let expected = SampleContent::Completion { prompt: "a".into(), completion: "NA".into() };
    assert_eq!(read.files[0].samples[0].content, expected);
    assert_eq!(read.remarks, ["cells like `NA` are read as text; `datasets` reads them as null"]);
}

#[test]
fn samples_of_one_record_have_its_number() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let packed = r#"{"input_ids": [1, 2, 3, 4], "position_ids": [0, 1, 0, 1]}"#;
    let first = path("a.jsonl", &format!("{{\"text\": \"1\"}}\n{packed}\n"));
    let second = path("b.jsonl", "{\"text\": \"2\"}\n");
    let read = read_all(&[first, second], &ReadOptions::default()).unwrap();
    let records: Vec<usize> = read.files.iter().flat_map(|file| &file.samples).map(|raw| raw.record).collect();
    assert_eq!(records, [0, 1, 1, 2]);
}
