//! A record while a form reads it: its columns, with an account of those that were read, and what is to be said about it.

use serde_json::{Map, Value};

use crate::account::{Account, is_set};
use crate::files::json;
use crate::samples::containers::unreadable;
use crate::samples::remarks::Remarks;

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// A value is not what it should be.
    Malformed(String),
    /// A column or key that changes the meaning of the sample and is not supported.
    Unsupported { field: String, reason: String },
}

impl Problem {
    pub fn unsupported(field: &str, reason: impl Into<String>) -> Self {
        Self::Unsupported { field: field.into(), reason: reason.into() }
    }
}

impl<T: Into<String>> From<T> for Problem {
    fn from(problem: T) -> Self {
        Self::Malformed(problem.into())
    }
}

/// What a reader of columns gives.
pub type Parsed<T> = Result<T, Problem>;

/// A record that is being read.
pub struct Row<'a> {
    columns: Account<'a>,
    pub remarks: &'a mut Remarks,
}

impl<'a> Row<'a> {
    pub fn new(fields: &'a Map<String, Value>, remarks: &'a mut Remarks) -> Self {
        Self { columns: Account::of(fields), remarks }
    }

    /// The value of a column unless it is absent or null. The column counts as read.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.columns.get(name).filter(|value| !value.is_null())
    }

    /// Whether a column is there, null or not. It does not count as read.
    pub fn has(&self, name: &str) -> bool {
        self.columns.has(name)
    }

    /// The value of a column. It does not count as read.
    pub fn peek(&self, name: &str) -> Option<&'a Value> {
        self.columns.peek(name)
    }

    /// The set columns that nobody has read. In data, false says something.
    pub fn unread(&self) -> Vec<&'a str> {
        self.columns.unread_where(&[], |value| is_set(value) || value.is_boolean())
    }

    /// A column that was read though its values cannot be, and what these are.
    pub fn unreadable(&self) -> Option<(&'a str, &'a str)> {
        self.columns.read().find_map(|(name, value)| Some((name, unreadable::kind(value)?)))
    }

    /// A string that must be there.
    pub fn string(&self, name: &str) -> Parsed<String> {
        self.optional_string(name)?.ok_or_else(|| format!("`{name}` should be a string").into())
    }

    /// A string, if there is one.
    pub fn optional_string(&self, name: &str) -> Parsed<Option<String>> {
        let text = |value: &Value| value.as_str().map(String::from);
        self.get(name).map(|value| text(value).ok_or_else(|| format!("`{name}` should be a string").into())).transpose()
    }

    /// The first of several columns that holds a string that is not empty.
    pub fn first_string(&self, names: &[&str]) -> Parsed<Option<String>> {
        for name in names {
            if let Some(text) = self.optional_string(name)?.filter(|text| !text.is_empty()) {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// A list, or the JSON text of one, as tables without nested columns have it.
    pub fn list(&self, name: &str) -> Parsed<Option<Vec<Value>>> {
        let wrong = || format!("`{name}` should be a list");
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items.clone())),
            Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
            Some(Value::String(text)) => match json::parse(text.as_bytes()) {
                Ok(Value::Array(items)) => Ok(Some(items)),
                Ok(Value::Null) => Ok(None),
                _ => Err(wrong().into()),
            },
            Some(_) => Err(wrong().into()),
        }
    }

    /// Whether a column holds turns of a conversation, or their JSON text. It does not count as read.
    pub fn holds_turns(&self, name: &str) -> bool {
        match self.columns.peek(name) {
            Some(Value::Array(_)) => true,
            // A prompt may itself be JSON, and is a text then.
            Some(Value::String(text)) if text.trim_start().starts_with("[{") => {
                let is_turn = |item: &Value| item.get("role").or_else(|| item.get("from")).is_some();
                let items = json::parse(text.as_bytes()).unwrap_or_default();
                items.as_array().is_some_and(|items| items.iter().all(is_turn))
            }
            _ => false,
        }
    }

    /// Whole numbers, one a token.
    pub fn numbers(&self, name: &str) -> Parsed<Option<Vec<i64>>> {
        let wrong = || format!("`{name}` should be a list of integers");
        let Some(items) = self.list(name)? else { return Ok(None) };
        // Tables write booleans and, where a column has gaps, floats.
        let number = |item: &Value| match item {
            Value::Bool(flag) => Some(i64::from(*flag)),
            _ => item.as_i64(),
        };
        Ok(Some(items.iter().map(number).collect::<Option<_>>().ok_or_else(wrong)?))
    }
}
