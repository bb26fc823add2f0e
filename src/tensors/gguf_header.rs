//! The header of a GGUF file, parsed within bounds.
//!
//! Why own code: candle's parser reserves memory for whatever lengths a header claims. Here each count and each length is
//! compared with the bytes that are there before anything is built from it, and the total is bounded, so that no file takes
//! more memory than its size explains.

use std::collections::HashMap;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use safetensors::Dtype;

use super::block_types;
use super::stored::StoredType;

/// The most values in all arrays together. The largest vocabularies have a few hundred thousand tokens with as many merges,
/// scores and types; each value takes 32 bytes here, whatever it takes in the file.
const MOST_VALUES: usize = 8_000_000;

/// The most keys, and the most tensors. Models have tens of keys and thousands of tensors.
const MOST_ENTRIES: u64 = 1_000_000;

/// The deepest nesting of arrays. No known file nests them.
const DEEPEST: usize = 4;

const MOST_DIMENSIONS: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;

/// What the header says about a tensor.
pub struct TensorInfo {
    pub name: String,
    /// Rows first, unlike in the file.
    pub shape: Vec<usize>,
    /// The number of the type.
    pub kind: u32,
    /// From the start of the file.
    pub offset: u64,
}

pub struct Header {
    pub metadata: HashMap<String, Value>,
    pub tensors: Vec<TensorInfo>,
}

/// Reads the header of the file with these bytes, or says what is wrong with it.
pub fn read(bytes: &[u8]) -> Result<Header, String> {
    let mut reader = Reader { bytes, at: 0, wide: true, values_left: MOST_VALUES };
    if reader.take(4)? != b"GGUF" {
        return Err("it does not start with `GGUF`".into());
    }
    match reader.u32()? {
        1 => reader.wide = false,
        2 | 3 => {}
        version => return Err(format!("its version is {version}")),
    }
    let (tensor_count, key_count) = (reader.length()?, reader.length()?);
    if tensor_count.max(key_count) > MOST_ENTRIES {
        return Err(format!("it says that it has {tensor_count} tensors and {key_count} keys"));
    }
    let mut metadata = HashMap::new();
    for _ in 0..key_count {
        let key = reader.string()?;
        let kind = reader.u32()?;
        metadata.insert(key, reader.value(kind, 0)?);
    }
    let mut tensors = (0..tensor_count).map(|_| reader.tensor()).collect::<Result<Vec<_>, _>>()?;
    let start = data_start(reader.at as u64, &metadata)?;
    for tensor in &mut tensors {
        let offset = start.checked_add(tensor.offset);
        tensor.offset = offset.ok_or_else(|| format!("tensor `{}` has an impossible offset", tensor.name))?;
    }
    Ok(Header { metadata, tensors })
}

/// Tensors begin after the header, at a multiple of the alignment.
fn data_start(end: u64, metadata: &HashMap<String, Value>) -> Result<u64, String> {
    let alignment = match metadata.get("general.alignment") {
        None => DEFAULT_ALIGNMENT,
        Some(value) => value.to_u64().unwrap_or(0),
    };
    let start = end.checked_next_multiple_of(alignment).filter(|_| alignment > 0);
    start.ok_or_else(|| "`general.alignment` is not an alignment".into())
}

/// The names of the types of whole numbers, which no weights have, by their numbers in the file (`ggml.h`).
const OTHER_TYPES: [(u32, &str); 6] = [(24, "I8"), (25, "I16"), (26, "I32"), (27, "I64"), (28, "F64"), (41, "Q1_0")];

/// What ggml calls a type that is not read.
pub fn name_of_other(kind: u32) -> String {
    let known = OTHER_TYPES.iter().find(|(number, _)| *number == kind);
    known.map_or_else(|| format!("number {kind}"), |(_, name)| (*name).into())
}

/// The type of a tensor, by its number in the file.
pub fn stored_type(kind: u32) -> Option<StoredType> {
    use GgmlDType as T;
    Some(match kind {
        0 => StoredType::Plain(Dtype::F32),
        1 => StoredType::Plain(Dtype::F16),
        2 => StoredType::Ggml(T::Q4_0),
        3 => StoredType::Ggml(T::Q4_1),
        6 => StoredType::Ggml(T::Q5_0),
        7 => StoredType::Ggml(T::Q5_1),
        8 => StoredType::Ggml(T::Q8_0),
        9 => StoredType::Ggml(T::Q8_1),
        10 => StoredType::Ggml(T::Q2K),
        11 => StoredType::Ggml(T::Q3K),
        12 => StoredType::Ggml(T::Q4K),
        13 => StoredType::Ggml(T::Q5K),
        14 => StoredType::Ggml(T::Q6K),
        15 => StoredType::Ggml(T::Q8K),
        30 => StoredType::Plain(Dtype::BF16),
        _ => return block_types::of_number(kind).map(StoredType::Blocks),
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Lengths have eight bytes; in version 1 they have four.
    wide: bool,
    values_left: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: u64) -> Result<&'a [u8], String> {
        let end = usize::try_from(count).ok().and_then(|count| self.at.checked_add(count));
        let taken = end.and_then(|end| self.bytes.get(self.at..end)).ok_or("its header ends too early")?;
        self.at += taken.len();
        Ok(taken)
    }

    fn number<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], String> {
        let mut number = [0; SIZE];
        number.copy_from_slice(self.take(SIZE as u64)?);
        Ok(number)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.number().map(u32::from_le_bytes)
    }

    fn length(&mut self) -> Result<u64, String> {
        if self.wide { self.number().map(u64::from_le_bytes) } else { self.u32().map(u64::from) }
    }

    /// Some writers end strings with zeros, and some names are not UTF-8.
    fn string(&mut self) -> Result<String, String> {
        let length = self.length()?;
        let bytes = self.take(length)?;
        let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<Value, String> {
        Ok(match kind {
            0 => Value::U8(u8::from_le_bytes(self.number()?)),
            1 => Value::I8(i8::from_le_bytes(self.number()?)),
            2 => Value::U16(u16::from_le_bytes(self.number()?)),
            3 => Value::I16(i16::from_le_bytes(self.number()?)),
            4 => Value::U32(self.u32()?),
            5 => Value::I32(i32::from_le_bytes(self.number()?)),
            6 => Value::F32(f32::from_le_bytes(self.number()?)),
            7 => match self.number()? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [other] => return Err(format!("{other} is neither true nor false")),
            },
            8 => Value::String(self.string()?),
            9 => Value::Array(self.array(depth + 1)?),
            10 => Value::U64(u64::from_le_bytes(self.number()?)),
            11 => Value::I64(i64::from_le_bytes(self.number()?)),
            12 => Value::F64(f64::from_le_bytes(self.number()?)),
            other => return Err(format!("{other} is not a type of value")),
        })
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Value>, String> {
        if depth > DEEPEST {
            return Err("its arrays are nested too deep".into());
        }
        let (kind, length) = (self.u32()?, self.length()?);
        let left = usize::try_from(length).ok().and_then(|length| self.values_left.checked_sub(length));
        self.values_left = left.ok_or_else(|| format!("an array says that it has {length} values"))?;
        // Nothing is reserved: each value has to be there first.
        (0..length).map(|_| self.value(kind, depth)).collect()
    }

    fn tensor(&mut self) -> Result<TensorInfo, String> {
        let name = self.string()?;
        let dimensions = self.u32()?;
        if dimensions > MOST_DIMENSIONS {
            return Err(format!("tensor `{name}` has {dimensions} dimensions"));
        }
        let mut shape = (0..dimensions).map(|_| self.length()).collect::<Result<Vec<_>, _>>()?;
        shape.reverse();
        let size = |size| usize::try_from(size).map_err(|_| format!("tensor `{name}` has an impossible size"));
        let shape = shape.into_iter().map(size).collect::<Result<_, _>>()?;
        let kind = self.u32()?;
        Ok(TensorInfo { kind, shape, offset: u64::from_le_bytes(self.number()?), name })
    }
}
