//! JSON within bounds.
//!
//! A value takes 72 bytes in memory, however few it takes in its file (two, in a list of digits). So values are counted while
//! they are read. serde_json bounds their nesting.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Error, Map, Value};

/// The most values in one text: those of a sample with a million tokens and their labels.
pub const MOST_VALUES: usize = 2_000_000;

/// Parses one value.
pub fn parse(text: &[u8]) -> Result<Value, Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Counted(&mut 0).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Parses an array and passes each element to `take`. Each may have as many values as one text.
pub fn for_each(text: &[u8], take: impl FnMut(Value)) -> Result<(), Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    deserializer.deserialize_seq(Elements(take))?;
    deserializer.end()
}

/// Reads a value and counts those in it.
pub(super) struct Counted<'a>(pub(super) &'a mut usize);

impl Counted<'_> {
    fn count<E: serde::de::Error>(&mut self) -> Result<(), E> {
        *self.0 += 1;
        if *self.0 > MOST_VALUES { Err(E::custom(format_args!("more than {MOST_VALUES} values"))) } else { Ok(()) }
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
        while let Some(value) = elements.next_element_seed(Counted(&mut 0))? {
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
