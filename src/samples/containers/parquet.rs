//! Parquet.
//!
//! Rows are read one by one. Pages may be plain or compressed by Snappy, which bounds what they become; other compressions are
//! refused. What a page says that it becomes is bounded before the library makes room for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::basic::{Compression, ConvertedType, LogicalType};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::{Type, TypePtr};
use serde_json::{Map, Value};

use super::cells::{CellBudget, CellValue, guarded};
use super::{LARGEST, OnRecord, SampleFile, unreadable};
use crate::error::Result;
use crate::samples::remarks::Remarks;

/// What a file begins with.
pub const MAGIC: &[u8] = b"PAR1";

/// Rows are numbered from 1.
pub fn read(file: &SampleFile, _: &mut Remarks, on_record: OnRecord) -> Result<()> {
    let fail = |place: usize, problem: String| file.malformed(place, format!("not valid Parquet: {problem}"));
    let sizes = PageSizes::default();
    let pages = BoundedPages { bytes: Bytes::copy_from_slice(file.bytes), sizes: sizes.clone() };
    let open = || SerializedFileReader::new(pages).map_err(|error| error.to_string());
    let reader = guarded(open).map_err(|problem| fail(1, problem))?;
    *sizes.lock().unwrap_or_else(PoisonError::into_inner) = Some(HashMap::new());
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
fn check(reader: &SerializedFileReader<BoundedPages>) -> std::result::Result<(), String> {
    let columns = || reader.metadata().row_groups().iter().flat_map(|group| group.columns());
    let is_bounded = |compression| matches!(compression, Compression::UNCOMPRESSED | Compression::SNAPPY);
    if let Some(column) = columns().find(|column| !is_bounded(column.compression())) {
        let compression = column.compression();
        return Err(format!("its pages are compressed by {compression}; only Snappy is read, so write them with that"));
    }
    let size: u64 = columns().map(|column| column.uncompressed_size().max(0) as u64).sum();
    if size > LARGEST { Err(format!("its pages have more than {LARGEST} bytes")) } else { Ok(()) }
}

/// What the pages that were read claim to become, by their places, because a header may be read twice. `None` until the file's own
/// header is read.
type PageSizes = Arc<Mutex<Option<HashMap<u64, u64>>>>;

/// The bytes of a file. The pages that are read may together claim no more than [`LARGEST`] bytes.
struct BoundedPages {
    bytes: Bytes,
    sizes: PageSizes,
}

impl Length for BoundedPages {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
}

impl ChunkReader for BoundedPages {
    type T = <Bytes as ChunkReader>::T;

    /// Headers are read through this, and the bodies of pages as bytes.
    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        if let Some(sizes) = self.sizes.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            let header = usize::try_from(start).ok().and_then(|start| self.bytes.get(start..));
            let size = header.and_then(claimed_size);
            sizes.insert(start, size.ok_or_else(|| ParquetError::General("a page has no size".into()))?);
            if sizes.values().fold(0, |sum: u64, size| sum.saturating_add(*size)) > LARGEST {
                return Err(ParquetError::General(format!("its pages claim more than {LARGEST} bytes")));
            }
        }
        self.bytes.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.bytes.get_bytes(start, length)
    }
}

/// The size that the header of a page gives for its decompressed body. Headers are structures in Thrift's compact protocol, and
/// begin with the kind of the page and this size, both integers.
fn claimed_size(header: &[u8]) -> Option<u64> {
    /// The next field, an integer of 32 bits.
    const NEXT_INTEGER: u8 = 0x15;
    let (kind, rest) = varint(header.strip_prefix(&[NEXT_INTEGER])?)?;
    let (size, _) = varint(rest.strip_prefix(&[NEXT_INTEGER])?)?;
    // Integers are in zigzag; negative ones have the lowest bit.
    (kind & 1 == 0 && size & 1 == 0).then_some(size >> 1)
}

/// A number of at most five bytes with seven bits each, and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().take(5).position(|byte| byte & 0x80 == 0)?;
    let number = bytes[..=end].iter().rev().fold(0, |number, byte| number << 7 | u64::from(byte & 0x7f));
    Some((number, &bytes[end + 1..]))
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
        Field::Bytes(bytes) => budget.utf8(bytes.data())?,
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
        Field::Decimal(_) => unreadable::cell("decimals"),
        Field::Date(_) => unreadable::cell("dates"),
        _ => unreadable::cell("times"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_claim_too_much_are_refused_before_they_are_read() {
        // The kind of the page, then its size: 200 MiB, and 2 GiB less one byte.
        let header = |size: u64| {
            let mut bytes = vec![0x15, 0, 0x15];
            let mut rest = size << 1;
            while rest > 0x7f {
                bytes.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
            bytes
        };
        let (large, largest) = (header(200 << 20), header((2 << 30) - 1));
        assert_eq!(claimed_size(&largest), Some((2 << 30) - 1));
        assert_eq!(claimed_size(&[0x15, 0, 0x15, 1]), None);
        let pages = |headers: &[&[u8]]| {
            let bytes = Bytes::from(headers.concat());
            BoundedPages { bytes, sizes: Arc::new(Mutex::new(Some(HashMap::new()))) }
        };
        assert!(pages(&[&largest]).get_read(0).is_err());
        let two = pages(&[&large, &large]);
        assert!(two.get_read(0).is_ok() && two.get_read(0).is_ok());
        assert!(two.get_read(large.len() as u64).is_err());
    }
}
