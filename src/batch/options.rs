//! Flags and their values, as a manifest or a config file has them, turned into words of a command line.
//!
//! So one parser reads the command line, the lines of a manifest and a config file, with the same names, checks and errors.

use std::ffi::OsString;

use serde_json::{Map, Value};

/// Flags that take one path each and are repeated for several, because a path may have commas.
pub const REPEATED: [&str; 1] = ["samples"];

/// The words of a table from flags, without their dashes, to values: `{"chat": true, "margin": "2%"}` is `--chat --margin=2%`.
/// A flag that is `false` is left out; a list is a flag with several values.
pub fn to_words(table: &Map<String, Value>) -> Result<Vec<OsString>, String> {
    let mut words: Vec<OsString> = Vec::new();
    for (name, value) in table {
        let word = |value: &str| OsString::from(format!("--{name}={value}"));
        match value {
            Value::Bool(false) => {}
            Value::Bool(true) => words.push(format!("--{name}").into()),
            Value::Array(values) => {
                let values: Vec<String> = values.iter().map(|value| scalar(name, value)).collect::<Result<_, _>>()?;
                if REPEATED.contains(&name.as_str()) {
                    words.extend(values.iter().map(|value| word(value)));
                } else {
                    words.push(word(&values.join(",")));
                }
            }
            value => words.push(word(&scalar(name, value)?)),
        }
    }
    Ok(words)
}

fn scalar(name: &str, value: &Value) -> Result<String, String> {
    match value {
        // Words of a command line have none.
        Value::String(text) if text.contains('\0') => Err(format!("`{name}` has a NUL character")),
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(format!("`{name}` is not true, false, a number, a text, or a list of these")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_become_words() {
        let table = json!({"chat": true, "controls": false, "margin": "2%", "max-layers": 20, "metric": ["f1", "rouge-l"], "samples": ["a,b", "c"]});
        let words = to_words(table.as_object().unwrap()).unwrap();
        assert_eq!(
            words,
            ["--chat", "--margin=2%", "--max-layers=20", "--metric=f1,rouge-l", "--samples=a,b", "--samples=c"]
        );
        for wrong in [json!({"chat": null}), json!({"margin": {}}), json!({"metric": [["f1"]]})] {
            assert!(to_words(wrong.as_object().unwrap()).is_err(), "{wrong}");
        }
    }
}
