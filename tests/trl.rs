//! Which tokens of samples are scored, against TRL's SFTTrainer (`scripts/fixtures/trl_marks.py`).

use std::fs;
use std::path::Path;

use lora_slim::samples::{
    EncodeOptions, FieldNames, RawSample, Sample, ScoredPart, TemplateOptions, TextModel, encode, read,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{document, fixture, lora_slim, read_json};

const PARTS: [(&str, ScoredPart); 3] = [
    ("answers", ScoredPart::Answers),
    ("assistant-turns", ScoredPart::AssistantTurns),
    ("everything", ScoredPart::Everything),
];

/// A tokenizer of the fixture with one of its templates.
fn text(tokenizer: &str, template: Option<&str>) -> TextModel {
    let folder = fixture("trl");
    let file = template.map(|template| folder.join(format!("templates/{template}.jinja")));
    let options = TemplateOptions { file, ..TemplateOptions::default() };
    TextModel::read(&folder.join(tokenizer)).unwrap().unwrap().with(&options).unwrap()
}

fn records(json: &str) -> Vec<RawSample> {
    read::parse(json.as_bytes(), Path::new("s.jsonl"), &FieldNames::default()).unwrap()
}

fn encoded(records: Vec<RawSample>, text: &TextModel, scored: ScoredPart) -> Vec<Sample> {
    let path = Path::new("s.jsonl");
    encode::encode(records, Some(text), EncodeOptions { scored, ..EncodeOptions::default() }, path, path).unwrap()
}

fn marks(sample: &Sample) -> String {
    sample.scored.iter().map(|&scored| if scored { '1' } else { '0' }).collect()
}

/// The scored tokens as text, a run of them after the other.
fn scored_text(sample: &Sample, text: &TextModel) -> Vec<String> {
    let places: Vec<usize> = (0..sample.ids.len()).filter(|&place| sample.scored[place]).collect();
    let runs = places.chunk_by(|place, next| place + 1 == *next);
    let decode = |run: &[usize]| {
        let ids: Vec<u32> = run.iter().map(|&place| sample.ids[place]).collect();
        text.tokenizer.decode(&ids, false).unwrap()
    };
    runs.map(decode).collect()
}

#[test]
fn the_tokens_that_trl_scores_are_scored() {
    let cases = read_json(&fixture("trl/expected.json"));
    let mut compared = 0;
    for case in cases.as_array().unwrap() {
        let field = |key: &str| case[key].as_str();
        let (tokenizer, form) = (field("tokenizer").unwrap(), field("form").unwrap());
        let text = text(tokenizer, field("template"));
        let raws = read::read(&fixture("trl").join(format!("{form}.jsonl")), &FieldNames::default()).unwrap();
        for (name, part) in PARTS {
            for (place, raw) in raws.iter().enumerate() {
                let (ids, wanted) = (&case["ids"][place], &case["scored"][name][place]);
                // TRL refuses it.
                if wanted.is_null() {
                    continue;
                }
                let context = format!("{tokenizer}, {:?}, {form}:{}, {name}", field("template"), raw.line);
                let samples = encoded(vec![raw.clone()], &text, part);
                let [sample] = samples.as_slice() else { panic!("{context}: {} samples", samples.len()) };
                let own: Vec<Value> = sample.ids.iter().map(|&id| id.into()).collect();
                assert_eq!(&Value::from(own), ids, "{context}");
                assert_eq!(&marks(sample), wanted, "{context}");
                compared += 1;
            }
        }
    }
    assert!(compared > 200, "{compared}");
}

#[test]
fn a_template_without_marks_has_the_turns_of_one_with_marks() {
    for tokenizer in ["bytes", "metaspace", "wordpiece"] {
        let raws = read::read(&fixture("trl/chats.jsonl"), &FieldNames::default()).unwrap();
        let [plain, thinking, marked] = ["plain", "thinking", "marked"]
            .map(|template| encoded(raws.clone(), &text(tokenizer, Some(template)), ScoredPart::Answers));
        assert_eq!(plain, marked, "{tokenizer}");
        // The others write unknown characters of the thought and of the answer as the same token, or give several of them one
        // offset.
        if tokenizer == "bytes" {
            assert_eq!(thinking, marked, "{tokenizer}");
        }
    }
}

#[test]
fn text_without_turns_has_none_of_the_assistant() {
    let path = Path::new("s.jsonl");
    let options = EncodeOptions { scored: ScoredPart::AssistantTurns, ..EncodeOptions::default() };
    for json in [r#"{"prompt": "a", "completion": "b"}"#, r#"{"text": "a"}"#] {
        let error = encode::encode(records(json), Some(&text("bytes", None)), options, path, path).unwrap_err();
        assert!(error.to_string().contains("no conversation"), "{error}");
        assert!(error.hint().unwrap().contains("--chat"));
    }
}

/// The scored text of the samples that a record becomes.
fn scored(json: &str, template: &str, part: ScoredPart) -> Vec<Vec<String>> {
    let text = text("bytes", Some(template));
    encoded(records(json), &text, part).iter().map(|sample| scored_text(sample, &text)).collect()
}

const SEVERAL_TURNS: &str = r#"{"messages": [{"role": "user", "content": "Q1"}, {"role": "assistant", "content": "A1"},
    {"role": "user", "content": "Q2"}, {"role": "assistant", "content": "A2"}, {"role": "user", "content": "Q3"}]}"#;

#[test]
fn turns_without_a_common_text_are_samples_of_their_own() {
    let json = SEVERAL_TURNS.replace('\n', "");
    let thought = "<think>\n\n</think>\n\n";
    let alone = |answer: &str| vec![format!("{thought}{answer}<|im_end|>\n")];
    assert_eq!(scored(&json, "rewriting", ScoredPart::Answers), [alone("A1"), alone("A2")]);
    // All tokens of a conversation have one text.
    assert_eq!(scored(&json, "rewriting", ScoredPart::Everything).len(), 1);
    // The last sample has the first answer as the model reads it then, without a thought.
    let text = text("bytes", Some("rewriting"));
    let samples = encoded(records(&json), &text, ScoredPart::Answers);
    let last = text.tokenizer.decode(&samples[1].ids, false).unwrap();
    assert!(last.contains("assistant\nA1<|im_end|>"), "{last}");
    // Each is what TRL makes of the turn as a completion.
    let pair =
        r#"{"prompt": [{"role": "user", "content": "Q1"}], "completion": [{"role": "assistant", "content": "A1"}]}"#;
    assert_eq!(encoded(records(pair), &text, ScoredPart::Answers), samples[..1]);
}

#[test]
fn what_ends_the_conversation_splits_no_turns() {
    let json = SEVERAL_TURNS.replace('\n', "");
    let answers = [vec!["A1<|im_end|>\n".to_string(), "A2<|im_end|>\n".into()]];
    assert_eq!(scored(&json, "ending", ScoredPart::Answers), answers);
    assert_eq!(scored(&json, "plain", ScoredPart::Answers), answers);
}

#[test]
fn turns_that_the_data_marks_as_untrained_are_not_scored() {
    for mark in [r#""weight": 0"#, r#""train": false"#] {
        let turn = r#"{"role": "assistant", "content": "bad", MARK}"#.replace("MARK", mark);
        let last = r#"{"role": "user", "content": "Q2"}, {"role": "assistant", "content": "good"}"#;
        let messages = format!(r#"{{"messages": [{{"role": "user", "content": "Q1"}}, {turn}, {last}]}}"#);
        for template in ["plain", "thinking", "marked"] {
            let good = [["good<|im_end|>\n"]];
            assert_eq!(scored(&messages, template, ScoredPart::Answers), good, "{template}");
            let all = scored(&messages, template, ScoredPart::Everything).concat().concat();
            assert!(all.contains("Q1<|im_end|>") && !all.contains("bad") && all.contains("good"), "{template}: {all}");
        }
        let good = [["<think>\n\n</think>\n\ngood<|im_end|>\n"]];
        assert_eq!(scored(&messages, "rewriting", ScoredPart::Answers), good);

        let pair = format!(r#"{{"prompt": [{{"role": "user", "content": "Q1"}}], "completion": [{turn}, {last}]}}"#);
        let completion = scored(&pair, "plain", ScoredPart::Answers).concat().concat();
        assert!(
            completion.contains("Q2") && !completion.contains("bad") && completion.contains("good"),
            "{completion}"
        );
        assert_eq!(scored(&pair, "plain", ScoredPart::AssistantTurns), [["good<|im_end|>\n"]]);
    }
}

#[test]
fn masks_beside_token_ids_are_honoured() {
    let json = r#"{"input_ids": [5, 6, 7, 8], "completion_mask": [0, 0, 1, 1]}"#;
    assert_eq!(marks(&encoded(records(json), &text("bytes", None), ScoredPart::Answers)[0]), "0011");
}

#[test]
fn the_report_says_what_was_scored() {
    let folder = TempDir::new().unwrap();
    let base = fixture("pico/llama-llama3-rope");
    fs::write(folder.path().join("s.jsonl"), SEVERAL_TURNS.replace('\n', "")).unwrap();
    let scan = |flags: &[&str]| {
        let mut program = lora_slim();
        program.current_dir(&folder).arg("scan").arg(base.join("adapter")).arg("--base").arg(base.join("base"));
        let assert = program.args(["--samples", "s.jsonl", "--json"]).args(flags).assert().success();
        document(&assert.get_output().stdout)
    };
    let plain = scan(&[]);
    assert_eq!(plain["samples"]["scored"], "answers");
    assert_eq!((&plain["samples"]["count"], &plain["remarks"]), (&json!(1), &Value::Null));
    let all = scan(&["--all-turns"]);
    assert_eq!(all["samples"]["scored"], "everything");
    // The first token has nothing before it.
    let tokens = all["samples"]["tokens"].as_u64().unwrap();
    assert_eq!(all["samples"]["answer_tokens"], tokens - 1);

    let template = fixture("trl/templates/rewriting.jinja");
    let separate = scan(&["--chat-template", template.to_str().unwrap(), "--assistant-only"]);
    assert_eq!((&separate["samples"]["scored"], &separate["samples"]["count"]), (&json!("assistant-turns"), &json!(2)));
    let remark = separate["remarks"][0].as_str().unwrap();
    assert!(remark.contains("a sample per scored turn, 2 samples"), "{remark}");
}
