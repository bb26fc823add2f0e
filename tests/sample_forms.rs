//! Forms of samples against TRL (`scripts/fixtures/forms.py`), and the account of every column.

use std::fs;
use std::path::Path;

use lora_slim::samples::read::{RawFiles, ReadOptions, read_all};
use lora_slim::samples::{EncodeOptions, FieldNames, RawSample, SampleContent, TextModel, encode, read};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::support::{fixture, read_json};

/// The tokenizer of fixtures/pico with the chat template of fixtures/forms.
fn text_model() -> TextModel {
    let folder = TempDir::new().unwrap();
    fs::copy(fixture("pico/tokenizer/tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    fs::copy(fixture("forms/tokenizer_config.json"), folder.path().join("tokenizer_config.json")).unwrap();
    TextModel::read(folder.path()).unwrap().unwrap()
}

fn parse(records: &[Value]) -> lora_slim::Result<Vec<RawSample>> {
    let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
    read::parse(lines.as_bytes(), Path::new("s.jsonl"), &FieldNames::default())
}

/// The samples and remarks of records in a file.
fn read_records(records: &[Value]) -> lora_slim::Result<RawFiles> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("s.jsonl");
    let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
    fs::write(&path, lines).unwrap();
    read_all(&[path], &ReadOptions::default())
}

fn content(record: Value) -> SampleContent {
    parse(&[record]).unwrap().remove(0).content
}

fn refusal(record: Value) -> String {
    parse(&[record]).unwrap_err().to_string()
}

#[test]
fn each_form_means_what_it_means_to_trl() {
    let text = text_model();
    for case in read_json(&fixture("forms/records.json")).as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let raws = parse(std::slice::from_ref(&case["record"])).unwrap_or_else(|error| panic!("{name}: {error}"));
        let chat = case["chat"].as_bool().unwrap();
        let options = EncodeOptions { chat, ..EncodeOptions::default() };
        let samples = encode::encode(raws, Some(&text), options, Path::new("s"), Path::new("model"));
        let samples = samples.unwrap_or_else(|error| panic!("{name}: {error}"));
        let [sample] = samples.as_slice() else { panic!("{name}") };
        let numbers = |key: &str| Some(case[key].as_array()?.iter().map(|id| id.as_i64().unwrap()).collect::<Vec<_>>());
        let ids: Vec<i64> = sample.ids.iter().map(|&id| i64::from(id)).collect();
        assert_eq!(ids, numbers("input_ids").unwrap(), "{name}");
        // Whole conversations are scored in full by TRL's default, and by turns of the assistant here.
        let Some(labels) = numbers("labels") else { continue };
        let scored: Vec<bool> = labels.iter().map(|&label| label != -100).collect();
        assert_eq!(sample.scored, scored, "{name}");
    }
}

#[test]
fn padding_and_packed_rows_become_the_samples_that_they_hold() {
    let tokens = |record: Value| {
        let raws = parse(&[record]).unwrap();
        let tokens = |raw: RawSample| match raw.content {
            SampleContent::Tokens { ids, scored } => (ids, scored),
            other => panic!("{other:?}"),
        };
        raws.into_iter().map(tokens).collect::<Vec<_>>()
    };
    let one = (vec![5, 17, 30], vec![false, true, true]);
    let two = (vec![9, 21], vec![false, true]);
    let labels = json!([-100, 17, 30, -100, 21]);
    let ids = json!([5, 17, 30, 9, 21]);
    let padded = json!({"input_ids": [2, 5, 17, 30, 2], "attention_mask": [0, 1, 1, 1, 0], "labels": [-100, -100, 17, 30, -100]});
    assert_eq!(tokens(padded), std::slice::from_ref(&one));
    for more in [
        json!({"position_ids": [0, 1, 2, 0, 1]}),
        json!({"seq_lengths": [3, 2]}),
        json!({"attention_mask": [1, 1, 1, 2, 2]}),
        json!({"attention_mask": [1, 1, 1, 1, 1], "position_ids": [0, 1, 2, 0, 1], "token_type_ids": [0, 0, 0, 0, 0]}),
    ] {
        let mut record = json!({"input_ids": ids, "labels": labels});
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(tokens(record), [one.clone(), two.clone()], "{more}");
    }
    let masks = json!({"input_ids": [5, 17, 30], "completion_mask": [0, 1, 1], "assistant_masks": [1, 0, 1]});
    assert_eq!(tokens(masks), [(vec![5, 17, 30], vec![false, false, true])]);
    for (more, expected) in [
        (json!({"position_ids": [0, 1, 2, 4, 5]}), "`position_ids` changes the meaning"),
        (json!({"position_ids": [[0, 1, 2, 3, 4]]}), "`position_ids` should be a list of integers"),
        (json!({"position_ids": [0, 1]}), "differ in length"),
        (json!({"attention_mask": [1, 1, 1, 0, 1]}), "`attention_mask` changes the meaning"),
        (json!({"attention_mask": [1, 0, 0, 0, 0]}), "a token that `attention_mask` hides is scored"),
        (json!({"token_type_ids": [0, 0, 1, 1, 1]}), "`token_type_ids` changes the meaning"),
        (json!({"seq_lengths": [3, 3]}), "`seq_lengths` should add up"),
        (json!({"completion_mask": [0, 2, 0, 0, 0]}), "`completion_mask` changes the meaning"),
        (json!({"cu_seqlens": [0, 3, 5]}), "`cu_seqlens` changes the meaning"),
        (json!({"pixel_values": [[1.0]]}), "`pixel_values` changes the meaning"),
    ] {
        let mut record = json!({"input_ids": ids, "labels": labels});
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let error = refusal(record);
        assert!(error.contains(expected), "{more}: {error}");
    }
}

#[test]
fn turns_that_data_mark_as_not_trained_are_marked() {
    let marks = |key: &str, values: [Value; 2]| {
        let [no, yes] = values;
        let record = json!({"messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b", key: no},
            {"role": "user", "content": "c"},
            {"role": "assistant", "content": "d", key: yes},
        ]});
        match content(record) {
            SampleContent::Chat { messages, .. } => {
                assert!(messages.iter().all(|message| !message.fields.contains_key(key)));
                messages.iter().map(|message| message.is_scored()).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        }
    };
    for key in ["weight", "train", "training", "loss"] {
        assert_eq!(marks(key, [0.into(), 1.into()]), [false, false, false, true], "{key}");
        assert_eq!(marks(key, [false.into(), Value::Null]), [false, false, false, true], "{key}");
    }
    for (key, value) in [("weight", json!(0.5)), ("train_detail", json!([1])), ("loss", json!("last_round"))] {
        let turn = json!({"role": "assistant", "content": "b", key: value});
        let error = refusal(json!({"messages": [{"role": "user", "content": "a"}, turn]}));
        assert!(error.contains(key) && error.contains("changes the meaning"), "{error}");
    }
}

#[test]
fn samples_that_data_say_not_to_learn_are_left_out_and_counted() {
    let pair = |more: Value| {
        let mut record = json!({"prompt": "a", "completion": "b"});
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        record
    };
    let records = [
        pair(json!({"label": true})),
        pair(json!({"label": false})),
        pair(json!({"label": "False"})),
        pair(json!({"weight": 0})),
        pair(json!({"weight": 1.0})),
        json!({"question": "a", "context": "b", "answers": {"text": [], "answer_start": []}}),
    ];
    let read = read_records(&records).unwrap();
    assert_eq!(read.files[0].samples.len(), 2);
    let expected = [
        "2 samples whose `label` is false are left out",
        "1 sample whose `weight` is 0 is left out",
        "1 sample whose `answers` are empty is left out",
    ];
    assert_eq!(read.remarks.len(), expected.len(), "{:?}", read.remarks);
    assert!(expected.iter().all(|remark| read.remarks.iter().any(|made| made == remark)), "{:?}", read.remarks);
    assert!(refusal(pair(json!({"weight": 0.5}))).contains("`weight` changes the meaning"));
    // A class beside a text is no mark.
    assert_eq!(read_records(&[json!({"text": "a", "label": false})]).unwrap().files[0].samples.len(), 1);
}

#[test]
fn what_no_text_model_reads_is_refused() {
    let user = |content: Value| json!({"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "b"}]});
    for kind in ["image", "image_url", "input_audio", "video"] {
        let error = refusal(user(json!([{"type": kind}, {"type": "text", "text": "a"}])));
        assert!(error.contains(&format!("`{kind}`")) && error.contains("only text is read"), "{error}");
    }
    assert!(parse(&[user(json!([{"type": "text", "text": "a"}]))]).is_ok());
    let remarks = read_records(&[user(json!([{"type": "reasoning", "text": "a"}]))]).unwrap().remarks;
    assert!(remarks[0].contains("`reasoning`"), "{remarks:?}");
    let mut record = user(json!("a"));
    record["images"] = json!(["a.png"]);
    assert!(refusal(record).contains("`images` changes the meaning"));
    let mut record = user(json!("a"));
    record["chat_template_kwargs"] = json!({"chat_template": "x"});
    assert!(refusal(record).contains("chat_template"));
}

#[test]
fn nulls_deeper_than_the_keys_of_messages_are_kept_and_named() {
    let call = json!({"function": {"name": "f", "arguments": {"a": null}}});
    let record = json!({"messages": [{"role": "user", "content": "a", "name": null}, {"role": "assistant", "tool_calls": [call]}]});
    let read = read_records(&[record]).unwrap();
    let SampleContent::Chat { messages, .. } = &read.files[0].samples[0].content else { panic!() };
    assert_eq!(messages[0].fields.keys().collect::<Vec<_>>(), ["role", "content"]);
    assert_eq!(messages[1].fields["tool_calls"][0], call);
    assert!(read.remarks[0].contains("null values inside the messages"), "{:?}", read.remarks);
}

#[test]
fn a_record_of_no_known_form_gets_a_hint_that_helps() {
    let hint = |record: Value| parse(&[record]).unwrap_err().hint().unwrap();
    let choices = hint(json!({"question": "a", "choices": {"text": ["b"]}, "answerKey": "A"}));
    assert!(choices.contains("`question` looks like a prompt") && choices.contains("--completion-field"), "{choices}");
    let solution = hint(json!({"problem": "a", "response": "b"}));
    assert!(
        solution.contains("`response` looks like a completion") && solution.contains("--prompt-field"),
        "{solution}"
    );
    let dialog = hint(json!({"dialog": [{"role": "user", "content": "a"}]}));
    assert!(dialog.contains("rename it to `messages`"), "{dialog}");
    assert!(hint(json!({"x": 1})).contains("--prompt-field"));
    assert!(hint(json!({"entries": [{"text": "a"}]})).contains("rename it to `data`"));
    let names = FieldNames { prompt_field: Some("x".into()), ..Default::default() };
    let error = read::parse(br#"{"x": "a", "y": "b"}"#, Path::new("s.jsonl"), &names).unwrap_err();
    assert!(error.hint().unwrap().contains("there is no `completion`"), "{:?}", error.hint());
}

/// Every record of the fixture, which has all forms.
fn records() -> Vec<Value> {
    read_json(&fixture("forms/records.json")).as_array().unwrap().iter().map(|case| case["record"].clone()).collect()
}

/// Columns that change what a sample means, with a value that does.
fn meaningful() -> Vec<(&'static str, Value)> {
    vec![
        ("tools", json!([{"name": "f"}])),
        ("functions", json!([{"name": "f"}])),
        ("documents", json!([{"text": "d"}])),
        ("chat_template_kwargs", json!({"enable_thinking": true})),
        ("chat_template", json!("x")),
        ("attention_mask", json!([0, 1])),
        ("position_ids", json!([0, 0])),
        ("completion_mask", json!([0, 1])),
        ("assistant_masks", json!([0, 1])),
        ("token_type_ids", json!([0, 1])),
        ("seq_lengths", json!([1, 1])),
        ("system", json!("s")),
        ("system_prompt", json!("s")),
        ("history", json!([["a", "b"]])),
        ("weight", json!(0.5)),
        ("label", json!(false)),
        ("train", json!(false)),
        ("images", json!(["a.png"])),
        ("audio", json!("a.wav")),
        ("videos", json!(["a.mp4"])),
    ]
}

proptest! {
    /// An unknown column put into any record is named.
    #[test]
    fn an_unknown_column_is_named(name in "[a-z]{3,12}_x", value in prop_oneof![
        any::<i64>().prop_map(Value::from),
        "[a-z]{1,5}".prop_map(Value::from),
        Just(json!([1])),
        Just(json!({"a": "b"})),
    ], case in any::<prop::sample::Index>()) {
        let records = records();
        let mut record = records[case.index(records.len())].clone();
        record[&name] = value;
        let remarks = read_records(&[record]).unwrap().remarks;
        prop_assert!(remarks.iter().any(|remark| remark.contains(&format!("`{name}`"))), "{:?}", remarks);
    }
}

#[test]
fn a_column_that_changes_the_meaning_is_never_passed_by() {
    let mut others = vec![json!({"text": "a"}), json!({"input_ids": [1, 2]})];
    others.extend(records());
    for record in others {
        let before = read_records(std::slice::from_ref(&record)).unwrap();
        for (name, value) in meaningful().into_iter().filter(|(name, _)| record.get(name).is_none()) {
            let mut changed: Map<String, Value> = record.as_object().unwrap().clone();
            changed.insert(name.into(), value);
            match read_records(&[Value::Object(changed)]) {
                Err(error) => assert!(
                    error.to_string().contains(name)
                        || error.to_string().contains("system")
                        || error.to_string().contains("no samples"),
                    "{record}: {error}"
                ),
                Ok(read) => {
                    let is_used = read.files[0].samples != before.files[0].samples;
                    let is_named = read.remarks.iter().any(|remark| remark.contains(&format!("`{name}`")));
                    assert!(is_used || is_named, "{name} in {record}");
                }
            }
        }
    }
}

#[test]
fn a_prompt_that_is_json_is_a_text() {
    let prompt = r#"[{"a": 1}]"#;
    let expected = SampleContent::Completion { prompt: prompt.into(), completion: "b".into() };
    assert_eq!(content(json!({"prompt": prompt, "completion": "b"})), expected);
    let turns = r#"[{"role": "user", "content": "a"}]"#;
    assert!(matches!(content(json!({"prompt": turns, "completion": "b"})), SampleContent::Chat { scored_from: 1, .. }));
}

#[test]
fn turns_are_read_in_every_spelling() {
    let turns = |turns: Value| match content(json!({"messages": turns})) {
        SampleContent::Chat { messages, .. } => {
            messages.into_iter().map(|message| Value::Object(message.fields)).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let expected = [json!({"role": "user", "content": "a"}), json!({"role": "assistant", "content": "b"})];
    for spelling in [
        json!([{"role": "user", "value": "a"}, {"from": "assistant", "content": "b"}]),
        json!([{"from": "Human", "value": "a"}, {"from": "GPT", "value": "b"}]),
        json!([{"from": "human", "value": "a"}, {"from": "bot", "value": "b", "content": "b"}]),
        json!([
            {"role": null, "content": null, "from": "human", "value": "a"},
            {"role": "assistant", "content": "b", "from": null, "value": null},
        ]),
    ] {
        assert_eq!(turns(spelling.clone()), expected, "{spelling}");
    }
    // A key that is no spelling of another one stays with the turn.
    let rated = json!({"role": "user", "content": "a", "value": 0.5, "from": "Ann"});
    assert_eq!(turns(json!([rated])), [rated]);
    let called = turns(json!([
        {"from": "tool_call", "value": "{\"name\": \"f\", \"arguments\": {}}"},
        {"from": "tool_response", "value": "1"},
    ]));
    let call = json!({"type": "function", "function": {"name": "f", "arguments": {}}});
    assert_eq!(called, [json!({"role": "assistant", "tool_calls": [call]}), json!({"role": "tool", "content": "1"})]);
    for turn in [
        json!({"role": "user", "from": "gpt", "content": "a"}),
        json!({"from": "gpt", "content": "a", "value": "b"}),
        json!({"role": "user", "content": "a", "value": "b"}),
        json!({"speaker": "a", "text": "b"}),
    ] {
        let error = refusal(json!({"messages": [turn]}));
        assert!(error.contains("and they differ") || error.contains("`role`"), "{error}");
    }
}

#[test]
fn turns_that_few_templates_know_are_pointed_out() {
    let remarks = |turn: Value| {
        let record = json!({"messages": [turn, {"role": "assistant", "content": "b"}]});
        read_records(&[record]).unwrap().remarks.concat()
    };
    assert!(remarks(json!({"role": "Narrator", "content": "a"})).contains("the role `Narrator`"));
    assert!(remarks(json!({"role": "user", "content": null})).contains("without `content`"));
    assert_eq!(remarks(json!({"role": "user", "content": ""})), "");
    assert_eq!(remarks(json!({"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]})), "");
    let documents = json!({"messages": [{"role": "user", "content": "a"}], "documents": [{"text": "d"}]});
    assert!(read_records(&[documents]).unwrap().remarks[0].contains("`documents` go to the chat template"));
}

#[test]
fn parts_of_a_question_and_numbers_of_tokens_are_refused() {
    for (record, name) in [
        (json!({"question": "a", "options": ["x", "y"], "answer": "x"}), "options"),
        (json!({"question": "a", "passage": "p", "answer": "x"}), "passage"),
        (json!({"instruction": "a", "choices": ["x", "y"], "output": "x"}), "choices"),
        (json!({"input_ids": [1, 2, 3], "weights": [0.5, 1.0, 1.0]}), "weights"),
        (json!({"input_ids": [1, 2, 3], "mask": [false, true, true]}), "mask"),
        (json!({"prompt": "a", "completion": "b", "response_mask": [0, 1]}), "response_mask"),
    ] {
        let error = refusal(record);
        assert!(error.contains(&format!("`{name}` changes the meaning")), "{error}");
    }
    // TRL's prompt is complete, and a list of another length says nothing of tokens.
    let complete = json!({"prompt": "a", "completion": "b", "choices": ["x", "y"]});
    let other = json!({"input_ids": [1, 2, 3], "special_tokens_mask": [1, 0, 0], "scores": [1, 2]});
    for (record, name) in [(complete, "choices"), (other, "scores")] {
        assert_eq!(
            read_records(&[record]).unwrap().remarks,
            [format!("the column `{name}` of the samples is not read")]
        );
    }
    let alone = parse(&[json!({"prompt": [{"role": "user", "content": "a"}]})]).unwrap_err();
    assert!(alone.hint().unwrap().contains("add the answers as `completion`"));
    let half =
        read::parse(br#"{"prompt": "a\ud83d", "completion": "b"}"#, Path::new("s.jsonl"), &FieldNames::default());
    assert!(half.unwrap_err().to_string().contains("surrogate pair"));
}
