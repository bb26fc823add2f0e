//! Arrow's IPC formats: the stream that `datasets` writes with `save_to_disk`, and the file (Feather), which is a stream between
//! two marks.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_schema::{DataType, Field, Fields};
use serde_json::{Map, Value};

use super::cells::{CellBudget, CellValue, guarded};
use super::{OnRecord, SampleFile, unreadable};
use crate::error::Result;
use crate::samples::remarks::Remarks;

/// What a file begins with: eight bytes with the padding. A stream begins with a mark of continuation.
const FILE: &[u8] = b"ARROW1\0\0";
const STREAM: &[u8] = b"\xff\xff\xff\xff";

/// The key of a field's metadata that names its extension type, and the name of JSON.
const EXTENSION: &str = "ARROW:extension:name";
const JSON: &str = "arrow.json";

/// Whether a file is Arrow.
pub fn matches(file: &SampleFile) -> bool {
    [FILE, STREAM].iter().any(|magic| file.bytes.starts_with(magic))
}

/// Rows are numbered from 1.
pub fn read(file: &SampleFile, _: &mut Remarks, on_record: OnRecord) -> Result<()> {
    let fail = |place: usize, problem: String| file.malformed(place, format!("not valid Arrow: {problem}"));
    let mut rest = Buffer::from(file.bytes.strip_prefix(FILE).unwrap_or(file.bytes));
    let (mut decoder, mut budget, mut place) = (StreamDecoder::new(), CellBudget::default(), 0);
    while let Some(batch) = guarded(|| next(&mut decoder, &mut rest)).map_err(|problem| fail(place + 1, problem))? {
        for row in 0..batch.num_rows() {
            place += 1;
            let record = guarded(|| record(&batch, row, &mut budget)).map_err(|problem| fail(place, problem))?;
            on_record(place, record)?;
        }
    }
    Ok(decoder.finish().map_err(|error| fail(place + 1, error.to_string()))?)
}

/// The next batch of rows, until the end of the stream.
fn next(decoder: &mut StreamDecoder, rest: &mut Buffer) -> std::result::Result<Option<RecordBatch>, String> {
    match decoder.decode(rest) {
        // What follows the end of the stream is the footer of a file.
        Err(_) if decoder.finish().is_ok() => Ok(None),
        Err(error) if error.to_string().contains("IPC decompression") => {
            Err("its buffers are compressed; write them uncompressed".into())
        }
        batch => batch.map_err(|error| error.to_string()),
    }
}

fn record(batch: &RecordBatch, row: usize, budget: &mut CellBudget) -> CellValue {
    object(batch.schema().fields(), batch.columns(), row, budget)
}

fn object(fields: &Fields, columns: &[ArrayRef], row: usize, budget: &mut CellBudget) -> CellValue {
    let mut object = Map::new();
    for (field, column) in fields.iter().zip(columns) {
        budget.pay(field.name().len())?;
        object.insert(field.name().clone(), cell(field, &**column, row, budget)?);
    }
    Ok(Value::Object(object))
}

/// The value of a cell.
fn cell(field: &Field, column: &dyn Array, row: usize, budget: &mut CellBudget) -> CellValue {
    budget.pay(0)?;
    if column.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match column.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Int8 => number::<Int8Type>(column, row).into(),
        DataType::Int16 => number::<Int16Type>(column, row).into(),
        DataType::Int32 => number::<Int32Type>(column, row).into(),
        DataType::Int64 => number::<Int64Type>(column, row).into(),
        DataType::UInt8 => number::<UInt8Type>(column, row).into(),
        DataType::UInt16 => number::<UInt16Type>(column, row).into(),
        DataType::UInt32 => number::<UInt32Type>(column, row).into(),
        DataType::UInt64 => number::<UInt64Type>(column, row).into(),
        DataType::Float16 => f32::from(number::<Float16Type>(column, row)).into(),
        DataType::Float32 => number::<Float32Type>(column, row).into(),
        DataType::Float64 => number::<Float64Type>(column, row).into(),
        DataType::Utf8 => text(field, column.as_string::<i32>().value(row), budget)?,
        DataType::LargeUtf8 => text(field, column.as_string::<i64>().value(row), budget)?,
        DataType::Utf8View => text(field, column.as_string_view().value(row), budget)?,
        DataType::Binary => budget.utf8(column.as_binary::<i32>().value(row))?,
        DataType::LargeBinary => budget.utf8(column.as_binary::<i64>().value(row))?,
        DataType::BinaryView => budget.utf8(column.as_binary_view().value(row))?,
        DataType::List(item) => list(item, &column.as_list::<i32>().value(row), budget)?,
        DataType::LargeList(item) => list(item, &column.as_list::<i64>().value(row), budget)?,
        DataType::ListView(item) => list(item, &column.as_list_view::<i32>().value(row), budget)?,
        DataType::LargeListView(item) => list(item, &column.as_list_view::<i64>().value(row), budget)?,
        DataType::FixedSizeList(item, _) => list(item, &column.as_fixed_size_list().value(row), budget)?,
        DataType::Struct(fields) => object(fields, column.as_struct().columns(), row, budget)?,
        DataType::Dictionary(..) => {
            let dictionary = column.as_any_dictionary();
            let place = cell(field, dictionary.keys(), row, budget)?.as_u64().and_then(|place| place.try_into().ok());
            let place = place.filter(|&place| place < dictionary.values().len());
            cell(field, &**dictionary.values(), place.ok_or("a key is not in its dictionary")?, budget)?
        }
        other => unreadable::cell(other.to_string()),
    })
}

fn number<T: ArrowPrimitiveType>(column: &dyn Array, row: usize) -> T::Native {
    column.as_primitive::<T>().value(row)
}

fn list(item: &Field, items: &ArrayRef, budget: &mut CellBudget) -> CellValue {
    let cells = (0..items.len()).map(|row| cell(item, &**items, row, budget));
    cells.collect::<std::result::Result<_, _>>().map(Value::Array)
}

/// A text, or the JSON that it is: `datasets` keeps values of several shapes in one column so.
fn text(field: &Field, text: &str, budget: &mut CellBudget) -> CellValue {
    let is_json = field.metadata().get(EXTENSION).is_some_and(|name| name == JSON);
    if is_json { budget.json(text) } else { budget.text(text) }
}
