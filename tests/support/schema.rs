//! What the program writes as JSON, held against the schemas in `docs/schemas/`: each document is valid under one of them, and has no
//! field that this one does not describe. Knows the keywords that these schemas use; any other fails.

use std::fs;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::fixture;

/// Name and schema of each kind of document.
static SCHEMAS: LazyLock<Vec<(String, Value)>> = LazyLock::new(|| {
    let files = fs::read_dir(fixture("../docs/schemas")).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
    };
    files.map(read).collect()
});

/// Parses what the program wrote.
pub fn document(text: impl AsRef<[u8]>) -> Value {
    let document = serde_json::from_slice(text.as_ref())
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(text.as_ref())));
    check(&document);
    document
}

/// Parses lines that the program wrote.
pub fn documents(lines: impl AsRef<str>) -> Vec<Value> {
    lines.as_ref().lines().map(document).collect()
}

/// Fails unless the document is valid under one of the schemas.
pub fn check(document: &Value) {
    let failures: Vec<String> = SCHEMAS.iter().filter_map(|(name, schema)| failure(name, schema, document)).collect();
    assert!(failures.len() + 1 == SCHEMAS.len(), "valid under one schema: {failures:#?}\n{document:#}");
}

/// Why the document is not valid under a schema.
fn failure(name: &str, schema: &Value, document: &Value) -> Option<String> {
    let no_definitions = Map::new();
    let definitions = schema.get("$defs").map_or(&no_definitions, |found| found.as_object().unwrap());
    Validator { definitions }.whole(schema, document, "").err().map(|failure| format!("{name}: {failure}"))
}

struct Validator<'a> {
    definitions: &'a Map<String, Value>,
}

impl Validator<'_> {
    /// Validates a value that has no other schema: all of its fields have to be in this one.
    fn whole(&self, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
        self.validate(schema, value, place)?;
        let (described, Some(fields)) = (self.described(schema), value.as_object()) else { return Ok(()) };
        let unknown = |described: Vec<&str>| fields.keys().find(|name| !described.contains(&name.as_str())).cloned();
        match described.and_then(unknown) {
            Some(name) => Err(format!("`{place}/{name}` is not described")),
            None => Ok(()),
        }
    }

    /// The fields that a schema describes, itself and through others; `None` if it allows any.
    fn described<'b>(&'b self, schema: &'b Value) -> Option<Vec<&'b str>> {
        if schema.get("additionalProperties").is_some() || schema.is_boolean() {
            return None;
        }
        let own = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        let mut names: Vec<&str> = own.map(|(name, _)| name.as_str()).collect();
        let others = ["anyOf", "oneOf"].into_iter().filter_map(|keyword| schema.get(keyword)?.as_array()).flatten();
        for other in others {
            names.extend(self.described(other)?);
        }
        if let Some(reference) = schema.get("$ref") {
            names.extend(self.described(self.definition(reference))?);
        }
        Some(names)
    }

    fn definition(&self, reference: &Value) -> &Value {
        &self.definitions[reference.as_str().unwrap().strip_prefix("#/$defs/").unwrap()]
    }

    fn validate(&self, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
        if let Value::Bool(is_anything) = schema {
            return is_anything.then_some(()).ok_or_else(|| format!("nothing is allowed at {place}"));
        }
        let keywords = schema.as_object().unwrap();
        keywords.iter().try_for_each(|(keyword, asked)| self.keyword(keyword, asked, value, place))
    }

    fn keyword(&self, keyword: &str, asked: &Value, value: &Value, place: &str) -> Result<(), String> {
        let fails = || format!("{value} at `{place}` is not {keyword} {asked}");
        let holds = |holds: bool| holds.then_some(()).ok_or_else(fails);
        match keyword {
            "$schema" | "$defs" | "title" | "description" | "default" | "format" => Ok(()),
            "$ref" => self.validate(self.definition(asked), value, place),
            "type" => match asked {
                Value::Array(types) => holds(types.iter().any(|name| is_of_type(value, name))),
                name => holds(is_of_type(value, name)),
            },
            "const" => holds(value == asked),
            "enum" => holds(asked.as_array().unwrap().contains(value)),
            "minimum" => holds(value.as_f64().is_none_or(|number| number >= asked.as_f64().unwrap())),
            "maximum" => holds(value.as_f64().is_none_or(|number| number <= asked.as_f64().unwrap())),
            "anyOf" | "oneOf" => {
                let results = asked.as_array().unwrap().iter().map(|schema| self.validate(schema, value, place));
                let failures: Vec<String> = results.clone().filter_map(Result::err).collect();
                let fitting = results.count() - failures.len();
                let is_valid = if keyword == "oneOf" { fitting == 1 } else { fitting > 0 };
                is_valid.then_some(()).ok_or_else(|| format!("{}: {}", fails(), failures.join("; ")))
            }
            "items" => {
                let mut items = value.as_array().into_iter().flatten().enumerate();
                items.try_for_each(|(at, item)| self.whole(asked, item, &format!("{place}/{at}")))
            }
            "uniqueItems" => {
                let items = value.as_array().into_iter().flatten();
                let mut texts: Vec<String> = items.map(Value::to_string).collect();
                texts.sort_unstable();
                holds(texts.windows(2).all(|pair| pair[0] != pair[1]))
            }
            "required" => {
                let is_there = |name: &Value| value.get(name.as_str().unwrap()).is_some();
                holds(!value.is_object() || asked.as_array().unwrap().iter().all(is_there))
            }
            "properties" => {
                let fields = value.as_object().into_iter().flatten();
                let mut described = fields.filter_map(|(name, field)| Some((name, field, asked.get(name)?)));
                described.try_for_each(|(name, field, schema)| self.whole(schema, field, &format!("{place}/{name}")))
            }
            "additionalProperties" => {
                let mut fields = value.as_object().into_iter().flatten();
                fields.try_for_each(|(name, field)| self.whole(asked, field, &format!("{place}/{name}")))
            }
            unknown => panic!("the validator does not know the keyword `{unknown}`"),
        }
    }
}

fn is_of_type(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        unknown => panic!("there is no type `{unknown}`"),
    }
}
