//! Parquet.
//!
//! Rows are read one by one. Pages may be plain or compressed by Snappy, which bounds what they become; other compressions are
//! refused.

use bytes::Bytes;
use parquet::basic::Compression;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use serde_json::{Map, Value};

use super::budget::Budget;
use super::{LARGEST, OnRecord, SampleFile};
use crate::error::Result;
use crate::samples::remarks::Remarks;

/// What a file begins with.
pub const MAGIC: &[u8] = b"PAR1";

/// Rows are numbered from 1.
pub fn read(file: &SampleFile, _: &mut Remarks, on_record: OnRecord) -> Result<()> {
    let fail = |place: usize, problem: String| file.malformed(place, format!("not valid Parquet: {problem}"));
    let bytes = Bytes::copy_from_slice(file.bytes);
    let reader = SerializedFileReader::new(bytes).map_err(|error| fail(1, error.to_string()))?;
    check(&reader).map_err(|problem| file.malformed(1, problem))?;
    let rows = reader.get_row_iter(None).map_err(|error| fail(1, error.to_string()))?;
    let mut budget = Budget::default();
    for (place, row) in (1..).zip(rows) {
        let row = row.map_err(|error| fail(place, error.to_string()))?;
        let record = object(&row, &mut budget).map_err(|problem| fail(place, problem))?;
        on_record(place, record)?;
    }
    Ok(())
}

/// Refuses pages that are too large or compressed in a way that does not bound their size.
fn check(reader: &SerializedFileReader<Bytes>) -> std::result::Result<(), String> {
    let columns = || reader.metadata().row_groups().iter().flat_map(|group| group.columns());
    let is_bounded = |compression| matches!(compression, Compression::UNCOMPRESSED | Compression::SNAPPY);
    if let Some(column) = columns().find(|column| !is_bounded(column.compression())) {
        let compression = column.compression();
        return Err(format!("its pages are compressed by {compression}; only Snappy is read, so write them with that"));
    }
    let size: u64 = columns().map(|column| column.uncompressed_size().max(0) as u64).sum();
    if size > LARGEST { Err(format!("its pages have more than {LARGEST} bytes")) } else { Ok(()) }
}

fn object(row: &Row, budget: &mut Budget) -> std::result::Result<Value, String> {
    let mut fields = Map::new();
    for (name, field) in row.get_column_iter() {
        budget.pay(name.len())?;
        fields.insert(name.clone(), value(field, budget)?);
    }
    Ok(Value::Object(fields))
}

fn value(field: &Field, budget: &mut Budget) -> std::result::Result<Value, String> {
    budget.pay(0)?;
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(flag) => (*flag).into(),
        Field::Byte(number) => (*number).into(),
        Field::Short(number) => (*number).into(),
        Field::Int(number) => (*number).into(),
        Field::Long(number) => (*number).into(),
        Field::UByte(number) => (*number).into(),
        Field::UShort(number) => (*number).into(),
        Field::UInt(number) => (*number).into(),
        Field::ULong(number) => (*number).into(),
        Field::Float16(number) => f32::from(*number).into(),
        Field::Float(number) => (*number).into(),
        Field::Double(number) => (*number).into(),
        Field::Str(text) => budget.text(text)?,
        Field::Group(row) => object(row, budget)?,
        Field::ListInternal(list) => {
            Value::Array(list.elements().iter().map(|item| value(item, budget)).collect::<std::result::Result<_, _>>()?)
        }
        Field::MapInternal(map) => {
            let mut fields = Map::new();
            for (key, item) in map.entries() {
                let Field::Str(key) = key else { return Err("a map whose keys are not text".into()) };
                budget.pay(key.len())?;
                fields.insert(key.clone(), value(item, budget)?);
            }
            Value::Object(fields)
        }
        Field::Bytes(bytes) => {
            budget.pay(bytes.len())?;
            String::from_utf8_lossy(bytes.data()).into_owned().into()
        }
        // Dates, times and decimals, as text.
        other => budget.text(&other.to_string())?,
    })
}
