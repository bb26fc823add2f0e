//! Chat templates against transformers and jinja2 (`scripts/fixtures/templates.py`), and where they come from.

use std::fs;

use lora_slim::samples::{ChatTemplate, Message, SpecialTokens, TemplateContext, TemplateOptions, TextModel};
use serde_json::{Map, Value, json};

use crate::support::{fixture, read_json};

fn messages(value: &Value) -> Vec<Message> {
    let turns: Vec<Map<String, Value>> = serde_json::from_value(value.clone()).unwrap();
    turns.into_iter().map(|fields| Message { fields, scored: None }).collect()
}

fn rendered(source: &str) -> Result<String, String> {
    let template = ChatTemplate::new(source, &SpecialTokens::new());
    template.render(&[Message::new("user", "Hi")], &TemplateContext::default(), false).map(|rendered| rendered.text)
}

#[test]
fn templates_are_rendered_as_transformers_renders_them() {
    let file = read_json(&fixture("templates.json"));
    let given = &file["context"];
    let tokens: SpecialTokens = serde_json::from_value(given["tokens"].clone()).unwrap();
    let context = TemplateContext {
        tools: Some(given["tools"].clone()),
        documents: None,
        kwargs: given["kwargs"].as_object().unwrap().clone(),
    };
    let messages = messages(&given["messages"]);
    for case in file["cases"].as_array().unwrap() {
        let source = case["template"].as_str().unwrap();
        let own = match ChatTemplate::new(source, &tokens).render(&messages, &context, false) {
            Ok(own) => {
                let spans: Vec<[usize; 2]> = own.generation.iter().map(|span| [span.start, span.end]).collect();
                json!({ "template": source, "text": own.text, "spans": spans })
            }
            Err(reason) if case["refused"] == true => json!({ "template": source, "refused": !reason.is_empty() }),
            Err(reason) => json!({ "template": source, "error": reason }),
        };
        assert_eq!(own, *case);
    }
}

/// What transformers renders and this does not is an error that names it.
#[test]
fn what_cannot_be_rendered_the_same_is_refused_by_name() {
    for (source, named) in [
        ("{{ lipsum() }}", "lipsum"),
        ("{{ messages | random }}", "random"),
        ("{{ 'a' | pprint }}", "pprint"),
        ("{{ 'a'.encode() }}", "encode"),
        ("{{ strftime_now('%U') }}", "%U"),
        ("{{ namespace(a=1) }}", "namespace"),
        ("{% autoescape true %}{% endautoescape %}", "autoescape"),
        ("{% block a %}{% endblock %}", "block"),
        ("{{ 'é'.isalpha() }}", "isalpha"),
    ] {
        let reason = rendered(source).unwrap_err();
        assert!(reason.contains(named), "{source}: {reason}");
    }
    let template = ChatTemplate::new("{{ big }}", &SpecialTokens::new());
    let kwargs = Map::from_iter([("big".to_string(), json!(1e25))]);
    let context = TemplateContext { kwargs, ..TemplateContext::default() };
    assert!(template.render(&[], &context, false).unwrap_err().contains("too large"));
    let kwargs = Map::from_iter([("messages".to_string(), json!([]))]);
    let context = TemplateContext { kwargs, ..TemplateContext::default() };
    assert!(template.render(&[], &context, false).unwrap_err().contains("`messages`"));
}

/// Deep values, deep calls and long chains stop with an error on the small stack of a test.
#[test]
fn templates_cannot_exhaust_the_stack() {
    let chain = "a".to_string() + &".b".repeat(100_000);
    let sum = "1".to_string() + &" + 1".repeat(100_000);
    let parentheses = "(".repeat(150) + "1" + &")".repeat(150);
    for source in [
        "{% macro f() %}{% if true %}{% for a in [1] %}{{ f() ~ 'a' }}{% endfor %}{% endif %}{% endmacro %}{{ f() }}",
        "{% set n = namespace(a=[]) %}{% for i in range(100000) %}{% set n.a = [n.a] %}{% endfor %}{{ n.a }}",
        "{% set n = namespace(a={}) %}{% for i in range(100000) %}{% set n.a = {'a': n.a} %}{% endfor %}{{ n.a }}",
        "{% set n = namespace() %}{% set n.a = [n] %}",
        "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        &format!("{{{{ {chain} }}}}"),
        &format!("{{{{ {sum} }}}}"),
    ] {
        assert!(rendered(source).is_err(), "{:.80}", source);
    }
    assert_eq!(rendered(&format!("{{{{ {parentheses} }}}}")).unwrap(), "1");
}

/// A folder with the tokenizer of the tests and what `files` holds.
fn model(files: &[(&str, Value)]) -> (tempfile::TempDir, TextModel) {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(fixture("pico/tokenizer/tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content {
            Value::String(text) => fs::write(path, text).unwrap(),
            json => fs::write(path, json.to_string()).unwrap(),
        }
    }
    let text = TextModel::read(folder.path()).unwrap().unwrap();
    (folder, text)
}

fn text_of(text: &TextModel, context: &TemplateContext) -> String {
    text.template_for(context).unwrap().render(&[Message::new("user", "Hi")], context, false).unwrap().text
}

#[test]
fn templates_and_tokens_come_from_where_transformers_looks() {
    let plain = TemplateContext::default();
    let tools = TemplateContext { tools: Some(json!([])), ..TemplateContext::default() };
    let named = json!({ "chat_template": [
        { "name": "default", "template": "plain {{ bos_token }}{{ eos_token }}" },
        { "name": "tool_use", "template": "tools {{ image_token }}" },
    ], "bos_token": { "content": "<b>" }, "extra_special_tokens": { "image_token": "<i>" } });
    let map = json!({ "bos_token": "<other>", "eos_token": { "content": "<e>" } });
    let (_folder, text) = model(&[("tokenizer_config.json", named.clone()), ("special_tokens_map.json", map.clone())]);
    assert_eq!(text_of(&text, &plain), "plain <other><e>");
    assert_eq!(text_of(&text, &tools), "tools <i>");
    assert_eq!(text.eos_token.as_deref(), Some("<e>"));

    // A configuration that lists the added tokens is complete, and files come before it.
    let mut newer = named;
    newer["added_tokens_decoder"] = json!({});
    let (folder, text) = model(&[
        ("tokenizer_config.json", newer),
        ("special_tokens_map.json", map),
        ("chat_template.jinja", json!("file {{ bos_token }}{{ strftime_now('%d %b %Y') }}\r\n")),
        ("additional_chat_templates/tool_use.jinja", json!("file for tools")),
    ]);
    assert_eq!(text_of(&text, &plain), "file <b>26 Jul 2024");
    assert_eq!(text_of(&text, &tools), "file for tools");

    let own = folder.path().join("own.jinja");
    fs::write(&own, "own {{ strftime_now('%B %d, %Y') }}").unwrap();
    let options = TemplateOptions { file: Some(own), date: "2026-11-28".parse().unwrap() };
    let text = text.with(&options).unwrap();
    assert_eq!(text_of(&text, &tools), "own November 28, 2026");
}

#[test]
fn days_are_checked() {
    for wrong in ["2024-02-30", "26 Jul 2024", "2024-7-26", "0000-01-01", "2023-02-29", ""] {
        assert!(wrong.parse::<lora_slim::samples::Date>().is_err(), "{wrong}");
    }
    assert_eq!("2024-02-29".parse::<lora_slim::samples::Date>().unwrap().to_string(), "2024-02-29");
}
