//! Long JSON texts, read piece by piece: values one after another, and lists inside an object.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Error, StreamDeserializer, Value};

use super::json::{Count, Counted, Elements};

/// A value within the bounds of [`json`](super::json).
struct Bounded(Value);

impl<'de> Deserialize<'de> for Bounded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Counted(&mut Count::of_record()).deserialize(deserializer).map(Self)
    }
}

/// Parses values that follow one another and passes each to `take`, with the place in bytes where it begins.
/// `take` returns whether to go on.
pub fn for_each_value(text: &str, mut take: impl FnMut(usize, Value) -> bool) -> Result<(), Error> {
    let mut values: StreamDeserializer<_, Bounded> = serde_json::Deserializer::from_str(text).into_iter();
    loop {
        let end = values.byte_offset();
        let start = end + text[end..].len() - text[end..].trim_start().len();
        let Some(value) = values.next() else { return Ok(()) };
        if !take(start, value?.0) {
            return Ok(());
        }
    }
}

/// Whether a text begins with a complete value, and if so, where that ends.
pub fn first_value(text: &str) -> Result<Option<usize>, Error> {
    let mut values: StreamDeserializer<_, IgnoredAny> = serde_json::Deserializer::from_str(text).into_iter();
    values.next().transpose().map(|value| value.map(|_| values.byte_offset()))
}

/// The keys of an object, and whether each holds a list of objects.
pub fn keys(text: &str) -> Result<Vec<(String, bool)>, Error> {
    struct KeyVisitor;

    impl<'de> Visitor<'de> for KeyVisitor {
        type Value = Vec<(String, bool)>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut keys = Vec::new();
            while let Some(key) = entries.next_key()? {
                let shape: Shape = entries.next_value()?;
                keys.push((key, shape == Shape::ListOfObjects));
            }
            Ok(keys)
        }
    }

    serde_json::Deserializer::from_str(text).deserialize_map(KeyVisitor)
}

/// Parses the list under a key of an object and passes each element to `take`.
pub fn for_each_under(text: &str, key: &str, take: impl FnMut(Value)) -> Result<(), Error> {
    struct Under<'a, F>(&'a str, F);

    impl<'de, F: FnMut(Value)> Visitor<'de> for Under<'_, F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
            while let Some(key) = entries.next_key::<String>()? {
                if key == self.0 {
                    entries.next_value_seed(List(&mut self.1))?;
                } else {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
            Ok(())
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.deserialize_map(Under(key, take))?;
    deserializer.end()
}

/// A list whose elements are passed on.
struct List<F>(F);

impl<'de, F: FnMut(Value)> DeserializeSeed<'de> for List<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(Elements(self.0))
    }
}

/// What a value is, as far as wrappers of records are concerned.
#[derive(Debug, PartialEq, Eq)]
enum Shape {
    ListOfObjects,
    Object,
    Other,
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

/// Declares visitors of scalars, which have no shape.
macro_rules! other {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E>(self, _: $type) -> Result<Shape, E> { Ok(Shape::Other) })*
    };
}

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any JSON value")
    }

    other!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Shape, A::Error> {
        let first: Option<Shape> = elements.next_element()?;
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(if first == Some(Shape::Object) { Shape::ListOfObjects } else { Shape::Other })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Shape, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Shape::Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_follow_one_another_are_read_one_by_one() {
        let mut values = Vec::new();
        let text = "{\n \"a\": 1\n}\n{\"a\": [2]} 3";
        for_each_value(text, |start, value| {
            values.push((start, value.to_string()));
            true
        })
        .unwrap();
        assert_eq!(values, [(0, r#"{"a":1}"#.into()), (12, r#"{"a":[2]}"#.into()), (23, "3".into())]);
        assert!(for_each_value("{\"a\": 1} {", |_, _| true).is_err());
        assert_eq!(first_value("{\"a\": 1} {").unwrap(), Some(8));
        assert!(first_value("{\"a\"").is_err());
    }

    #[test]
    fn lists_inside_objects_are_found_and_read() {
        let text = r#"{"version": "1", "data": [{"a": 1}, {"a": 2}], "more": [1], "none": []}"#;
        let keys = keys(text).unwrap();
        assert_eq!(
            keys.iter().filter(|(_, is_list)| *is_list).map(|(key, _)| key.as_str()).collect::<Vec<_>>(),
            ["data"]
        );
        assert_eq!(keys.len(), 4);
        let mut values = Vec::new();
        for_each_under(text, "data", |value| values.push(value.to_string())).unwrap();
        assert_eq!(values, [r#"{"a":1}"#, r#"{"a":2}"#]);
    }
}
