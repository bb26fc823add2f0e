//! Cells of tables whose values no form of sample can have, for example days.

use serde_json::Value;

/// The key of the object that stands for such a cell. No table has a column of this name.
const KEY: &str = "\0unreadable";

/// Stands for a cell that cannot be read. A form that reads the column refuses it; otherwise the column is named.
#[cfg(feature = "parquet")]
pub fn cell(kind: impl Into<String>) -> Value {
    serde_json::json!({ KEY: kind.into() })
}

/// What the values of a cell are that cannot be read, or those of a cell somewhere in it.
pub fn kind(value: &Value) -> Option<&str> {
    match value {
        Value::Object(fields) => match fields.get(KEY) {
            Some(of_cell) => of_cell.as_str(),
            None => fields.values().find_map(kind),
        },
        Value::Array(items) => items.iter().find_map(kind),
        _ => None,
    }
}
