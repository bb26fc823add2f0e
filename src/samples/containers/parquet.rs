//! Parquet.
//!
//! Rows are read one by one. Pages may be plain or compressed by Snappy, which bounds what they become; other compressions are
//! refused.

use bytes::Bytes;
use parquet::basic::{Compression, ConvertedType, LogicalType};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::{Type, TypePtr};
use serde_json::{Map, Value};

use super::cells::{CellBudget, CellValue, guarded};
use super::{LARGEST, OnRecord, SampleFile};
use crate::error::Result;
use crate::samples::remarks::Remarks;

/// What a file begins with.
pub const MAGIC: &[u8] = b"PAR1";

/// Rows are numbered from 1.
pub fn read(file: &SampleFile, _: &mut Remarks, on_record: OnRecord) -> Result<()> {
    let fail = |place: usize, problem: String| file.malformed(place, format!("not valid Parquet: {problem}"));
    let bytes = Bytes::copy_from_slice(file.bytes);
    let open = || SerializedFileReader::new(bytes).map_err(|error| error.to_string());
    let reader = guarded(open).map_err(|problem| fail(1, problem))?;
    check(&reader).map_err(|problem| file.malformed(1, problem))?;
    let schema = reader.metadata().file_metadata().schema();
    let rows = || reader.get_row_iter(None).map_err(|error| error.to_string());
    let (mut rows, mut budget) = (guarded(rows).map_err(|problem| fail(1, problem))?, CellBudget::default());
    for place in 1.. {
        let mut next = || rows.next().transpose().map_err(|error| error.to_string());
        let Some(row) = guarded(&mut next).map_err(|problem| fail(place, problem))? else { break };
        let record = object(&row, Some(schema), &mut budget).map_err(|problem| fail(place, problem))?;
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

/// A row. `schema` is the type of the group.
fn object(row: &Row, schema: Option<&Type>, budget: &mut CellBudget) -> CellValue {
    let mut fields = Map::new();
    for (name, field) in row.get_column_iter() {
        budget.pay(name.len())?;
        let schema = schema.and_then(|group| members(group).iter().find(|member| member.name() == name));
        fields.insert(name.clone(), value(field, schema.map(|schema| &**schema), budget)?);
    }
    Ok(Value::Object(fields))
}

fn value(field: &Field, schema: Option<&Type>, budget: &mut CellBudget) -> CellValue {
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
        Field::Str(text) if schema.is_some_and(is_json) => budget.json(text)?,
        Field::Str(text) => budget.text(text)?,
        Field::Bytes(bytes) => budget.text(&String::from_utf8_lossy(bytes.data()))?,
        Field::Group(row) => object(row, schema, budget)?,
        Field::ListInternal(list) => {
            let item = schema.and_then(item);
            let items = list.elements().iter().map(|element| value(element, item, budget));
            Value::Array(items.collect::<std::result::Result<_, _>>()?)
        }
        Field::MapInternal(map) => {
            let mut fields = Map::new();
            for (key, item) in map.entries() {
                let Field::Str(key) = key else { return Err("a map whose keys are not text".into()) };
                budget.pay(key.len())?;
                fields.insert(key.clone(), value(item, None, budget)?);
            }
            Value::Object(fields)
        }
        // Dates, times and decimals, as text.
        other => budget.text(&other.to_string())?,
    })
}

/// Whether a column of text holds JSON: `datasets` keeps values of several shapes in one column so.
fn is_json(column: &Type) -> bool {
    let info = column.get_basic_info();
    info.logical_type_ref() == Some(&LogicalType::Json) || info.converted_type() == ConvertedType::JSON
}

fn members(group: &Type) -> &[TypePtr] {
    if group.is_group() { group.get_fields() } else { &[] }
}

/// The type of a list's items: a list is a group of a repeated group of one item.
fn item(list: &Type) -> Option<&Type> {
    let [repeated] = members(list) else { return None };
    match members(repeated) {
        [item] => Some(item),
        _ => Some(repeated),
    }
}
