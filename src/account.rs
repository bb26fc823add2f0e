//! An account of what a reader asked for, so that nothing of an input is dropped in silence.
//!
//! Every key of an object is used, known to be harmless, or named to the user. The reader asks for keys as it goes; what nobody
//! asked for is left over, less a list of harmless keys with their reasons.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// A key that changes nothing here, and why.
pub type Harmless = (&'static str, &'static str);

/// The fields of an object, and which of them a reader asked for.
#[derive(Debug)]
pub struct Account<'a> {
    fields: &'a Map<String, Value>,
    asked: RefCell<BTreeSet<String>>,
}

impl<'a> Account<'a> {
    pub fn of(fields: &'a Map<String, Value>) -> Self {
        Self { fields, asked: RefCell::default() }
    }

    /// The value of a key, which counts as read from now on, whether it is there or not.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.asked.borrow_mut().insert(key.into());
        self.fields.get(key)
    }

    /// The value of a key, without counting it as read.
    pub fn peek(&self, key: &str) -> Option<&'a Value> {
        self.fields.get(key)
    }

    /// Whether a key is there. This recognises an object and does not count as reading it.
    pub fn has(&self, key: &str) -> bool {
        self.fields.contains_key(key)
    }

    /// The fields that were asked for, in the order of the object.
    pub fn read(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let asked = self.asked.borrow().clone();
        self.fields.iter().filter(move |(key, _)| asked.contains(*key)).map(|(key, value)| (key.as_str(), value))
    }

    /// The keys that nobody asked for, in the order of the object. Keys whose value says nothing ([`is_set`]) and the harmless
    /// ones are left out.
    pub fn unread(&self, harmless: &[Harmless]) -> Vec<&'a str> {
        self.unread_where(harmless, is_set)
    }

    /// As [`unread`](Self::unread), where `says_something` tells which values do.
    pub fn unread_where(&self, harmless: &[Harmless], says_something: fn(&Value) -> bool) -> Vec<&'a str> {
        let asked = self.asked.borrow();
        let is_left = |(key, value): &(&'a String, &Value)| {
            says_something(value) && !asked.contains(key.as_str()) && harmless.iter().all(|(name, _)| name != key)
        };
        self.fields.iter().filter(is_left).map(|(key, _)| key.as_str()).collect()
    }
}

/// Whether a value says something: it is not null, false or empty.
pub fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Number(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asked_for_is_left() {
        let fields = serde_json::json!({"b": 1, "a": [0], "off": false, "none": null, "date": "today", "empty": {}});
        let account = Account::of(fields.as_object().unwrap());
        assert!(account.has("a") && !account.has("c"));
        assert_eq!(account.unread(&[]), ["b", "a", "date"]);
        assert_eq!(account.get("a"), Some(&serde_json::json!([0])));
        assert_eq!(account.get("c"), None);
        assert_eq!(account.unread(&[("date", "says when it was written")]), ["b"]);
    }
}
