//! JSON: read within bounds, and written so that it can be shown.
//!
//! A value takes 72 bytes in memory, however few it takes in its file (two, in a list of digits). So values are counted while
//! they are read. serde_json bounds their nesting.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Error, Map, Value};

use crate::printable;

/// The most values in one text: those of a sample with a million tokens and their labels.
pub const MOST_VALUES: usize = 2_000_000;

/// What the error of a repeated key says.
pub const REPEATED: &str = "stands more than once in an object";

/// Parses one value. Of a key that an object has more than once the last value counts, as in Python.
pub fn parse(text: &[u8]) -> Result<Value, Error> {
    parse_counted(text, &mut Count::default())
}

/// Parses a record of samples, in which no object may have a key more than once: `datasets` refuses it, too.
pub fn parse_record(text: &[u8]) -> Result<Value, Error> {
    parse_counted(text, &mut Count::of_record())
}

/// A value as indented text for a file or a terminal, without a last line break. No character stands for itself that is not
/// printable: reports are shown by `cat`, and hold text of files.
pub fn to_indented(value: &impl Serialize) -> Result<String, Error> {
    Ok(printable::json(&serde_json::to_string_pretty(value)?).into_owned())
}

/// As [`to_indented`], on one line.
pub fn to_line(value: &impl Serialize) -> Result<String, Error> {
    Ok(printable::json(&serde_json::to_string(value)?).into_owned())
}

fn parse_counted(text: &[u8], count: &mut Count) -> Result<Value, Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Counted(count).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// A value as Python's `json` reads it, and what else its text holds.
#[derive(Debug, Clone, PartialEq)]
pub struct PythonJson {
    /// `NaN`, `Infinity` and `-Infinity` are null.
    pub value: Value,
    /// The keys of the object whose values are or hold `NaN`.
    pub nan: Vec<String>,
    /// The keys of the object whose values are or hold `Infinity` or `-Infinity`.
    pub infinite: Vec<String>,
    /// The keys of the object that stand in the text more than once; the last of each counts.
    pub repeated: Vec<String>,
}

/// Parses one value as Python's `json` does, which also knows `NaN`, `Infinity` and `-Infinity`.
pub fn parse_python(text: &[u8]) -> Result<PythonJson, Error> {
    let places = not_numbers(text);
    let json = replaced(text, &places, b"null");
    let value = parse(&json)?;
    // The keys that change with another replacement hold it.
    let keys_of = |is_one: fn(&[u8]) -> bool| -> Result<Vec<String>, Error> {
        let replaced_by_zero: Vec<Range<usize>> =
            places.iter().filter(|place| is_one(&text[(*place).clone()])).cloned().collect();
        if replaced_by_zero.is_empty() {
            return Ok(Vec::new());
        }
        let zeros = replaced(text, &replaced_by_zero, b"0");
        let other = parse(&replaced(&zeros, &not_numbers(&zeros), b"null"))?;
        let fields = value.as_object().into_iter().flatten();
        Ok(fields.filter(|(key, value)| other.get(key) != Some(value)).map(|(key, _)| key.clone()).collect())
    };
    let (nan, infinite) = (keys_of(|word| word == b"NaN")?, keys_of(|word| word != b"NaN")?);
    Ok(PythonJson { nan, infinite, repeated: repeated_keys(&json), value })
}

/// The keys that an object has more than once. Empty for anything else than an object.
fn repeated_keys(text: &[u8]) -> Vec<String> {
    let Ok(ObjectKeys(keys)) = serde_json::from_slice(text) else { return Vec::new() };
    let (mut seen, mut repeated) = (HashSet::new(), Vec::new());
    for key in keys {
        if !seen.insert(key.clone()) && !repeated.contains(&key) {
            repeated.push(key);
        }
    }
    repeated
}

/// The keys of an object in the order of its text.
struct ObjectKeys(Vec<String>);

impl<'de> Deserialize<'de> for ObjectKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(KeysVisitor)
    }
}

struct KeysVisitor;

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = ObjectKeys;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<ObjectKeys, A::Error> {
        let mut keys = Vec::new();
        while let Some((key, IgnoredAny)) = entries.next_entry()? {
            keys.push(key);
        }
        Ok(ObjectKeys(keys))
    }
}

/// A text with null for Python's `NaN`, `Infinity` and `-Infinity`; `None` if it has none of them.
pub fn without_nan(text: &[u8]) -> Option<Vec<u8>> {
    let places = not_numbers(text);
    (!places.is_empty()).then(|| replaced(text, &places, b"null"))
}

fn replaced(text: &[u8], places: &[Range<usize>], by: &[u8]) -> Vec<u8> {
    let (mut json, mut from) = (Vec::with_capacity(text.len()), 0);
    for place in places {
        json.extend_from_slice(&text[from..place.start]);
        json.extend_from_slice(by);
        from = place.end;
    }
    json.extend_from_slice(&text[from..]);
    json
}

/// Where a text has one of Python's words for what is not a number, outside of strings.
fn not_numbers(text: &[u8]) -> Vec<Range<usize>> {
    const WORDS: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];
    let (mut places, mut at, mut is_string) = (Vec::new(), 0, false);
    while at < text.len() {
        let word = WORDS.iter().find(|word| !is_string && text[at..].starts_with(word));
        match (text[at], word) {
            (_, Some(word)) => places.push(at..at + word.len()),
            (b'\\', _) if is_string => at += 1,
            (b'"', _) => is_string = !is_string,
            _ => {}
        }
        at += word.map_or(1, |word| word.len());
    }
    places
}

/// What a text is encoded in, if not in UTF-8 without a byte order mark.
pub fn other_encoding(text: &[u8]) -> Option<&'static str> {
    match text {
        [0xef, 0xbb, 0xbf, ..] => Some("begins with a byte order mark (BOM)"),
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some("is UTF-32 text"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("is UTF-16 text"),
        // Without the mark, every other byte of its ASCII characters is zero.
        [0, first, ..] | [first, 0, ..] if *first != 0 => Some("is UTF-16 text"),
        _ if std::str::from_utf8(text).is_err() => Some("is not UTF-8 text"),
        _ => None,
    }
}

/// Parses an array of records and passes each to `take`. Each may have as many values as one text.
pub fn for_each(text: &[u8], take: impl FnMut(Value)) -> Result<(), Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    deserializer.deserialize_seq(Elements(take))?;
    deserializer.end()
}

/// The number of values that were read.
#[derive(Default)]
pub(super) struct Count {
    values: usize,
    refuses_repeated_keys: bool,
}

impl Count {
    /// Of the values in a record of samples.
    pub(super) fn of_record() -> Self {
        Self { values: 0, refuses_repeated_keys: true }
    }
}

/// Reads a value and counts those in it.
pub(super) struct Counted<'a>(pub(super) &'a mut Count);

impl Counted<'_> {
    fn count<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.0.values += 1;
        if self.0.values > MOST_VALUES {
            Err(E::custom(format_args!("more than {MOST_VALUES} values")))
        } else {
            Ok(())
        }
    }
}

impl<'de> DeserializeSeed<'de> for Counted<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<Value, D::Error> {
        self.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counted<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = elements.next_element_seed(Counted(&mut *self.0))? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if self.0.refuses_repeated_keys && map.contains_key(&key) {
                return Err(serde::de::Error::custom(format_args!("`{key}` {REPEATED}")));
            }
            map.insert(key, entries.next_value_seed(Counted(&mut *self.0))?);
        }
        Ok(Value::Object(map))
    }
}

/// Reads an array, element by element.
pub(super) struct Elements<F>(pub(super) F);

impl<'de, F: FnMut(Value)> Visitor<'de> for Elements<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        while let Some(value) = elements.next_element_seed(Counted(&mut Count::of_record()))? {
            (self.0)(value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_serde_json_reads_them() {
        let text =
            r#"{"b": [1, -2, 3.5, 1e300, 18446744073709551615, null, true, "x\u00e9\n"], "a": {"": {}}, "b2": []}"#;
        let value = parse(text.as_bytes()).unwrap();
        assert_eq!(value, serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(value.as_object().unwrap().keys().collect::<Vec<_>>(), ["b", "a", "b2"]);
        for wrong in ["", "[", "1 2", "[1,]", "{\"a\"}", "[1e999]", "nul"] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_python_writes_for_no_number_is_null() {
        let text =
            r#"{"a": NaN, "b": {"c": [1, -Infinity]}, "d": "NaN \" Infinity", "e": Infinity, "f": null, "NaN": 2}"#;
        let PythonJson { value, nan, infinite, repeated } = parse_python(text.as_bytes()).unwrap();
        assert_eq!((nan, infinite, repeated), (vec!["a".into()], vec!["b".into(), "e".into()], Vec::<String>::new()));
        let expected = r#"{"a": null, "b": {"c": [1, null]}, "d": "NaN \" Infinity", "e": null, "f": null, "NaN": 2}"#;
        assert_eq!(value, parse(expected.as_bytes()).unwrap());
        assert!(parse_python(b"{\"a\": NaN5}").is_err());
        assert!(parse(text.as_bytes()).is_err());
        let twice = parse_python(br#"{"a": 1, "b": {"c": 1, "c": 2}, "a": NaN, "a": 3}"#).unwrap();
        assert_eq!((twice.value["a"].as_u64(), twice.repeated), (Some(3), vec!["a".to_string()]));
    }

    #[test]
    fn only_numbers_are_replaced() {
        let replaced = |text: &str| without_nan(text.as_bytes()).map(|text| String::from_utf8(text).unwrap());
        assert_eq!(replaced(r#"{"a":NaN,"b":[-Infinity,-1]}"#).unwrap(), r#"{"a":null,"b":[null,-1]}"#);
        assert_eq!(
            replaced(r#"{"NaN": "NaN \" NaN \\", "é": Infinity}"#).unwrap(),
            r#"{"NaN": "NaN \" NaN \\", "é": null}"#
        );
        assert_eq!(replaced(r#"{"a": "NaN"}"#), None);
    }

    #[test]
    fn other_encodings_are_told_apart() {
        let utf16: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (text, encoding) in [
            (&b"\xef\xbb\xbf{}"[..], Some("begins with a byte order mark (BOM)")),
            (&[&b"\xff\xfe"[..], &utf16].concat(), Some("is UTF-16 text")),
            (&utf16, Some("is UTF-16 text")),
            (b"\xff\xfe\0\0{\0\0\0", Some("is UTF-32 text")),
            (b"{\"a\": \"\xe9\"}", Some("is not UTF-8 text")),
            ("{\r\n\"a\": \"é\"}".as_bytes(), None),
            (b"", None),
        ] {
            assert_eq!(other_encoding(text), encoding, "{text:?}");
        }
    }

    #[test]
    fn values_are_counted() {
        let list = |count: usize| format!("[{}1]", "1,".repeat(count - 1));
        assert!(parse(list(MOST_VALUES - 1).as_bytes()).is_ok());
        assert!(parse(list(MOST_VALUES).as_bytes()).unwrap_err().to_string().contains("more than 2000000 values"));
        let nested = format!("[{0},{0},{0}]", list(MOST_VALUES / 2));
        assert!(parse(nested.as_bytes()).is_err());
        let mut elements = 0;
        for_each(nested.as_bytes(), |_| elements += 1).unwrap();
        assert_eq!(elements, 3);
    }
}
