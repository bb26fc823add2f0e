//! bitsandbytes: NF4 and FP4 with an absolute maximum for each block, which may be quantised itself, and int8 with one for each row.
//!
//! Formats and arithmetic are those of bitsandbytes 0.50 (`functional.py`, `QuantState`), to the bit. Beside the codes of `NAME`, two
//! in a byte, the upper half first, are `NAME.absmax`, `NAME.quant_map` and a JSON text as the bytes of
//! `NAME.quant_state.bitsandbytes__nf4`; a weight is quantised if it has that text, whatever the configuration says. The absolute
//! maxima of a double quantisation are codes of `NAME.nested_quant_map`, with maxima of their own in `NAME.nested_absmax`. Int8 is
//! `X.weight` beside `X.SCB`.

use std::ops::Range;
use std::sync::Arc;

use safetensors::Dtype;
use serde::Deserialize;

use super::matrix::{Matrix, Numbers};
use super::scales::scale;
use super::{RecognisedWeight, Scheme};
use crate::error::TensorError;
use crate::tensors::stored::{StoredTensors, StoredType};

/// The tensors of [`BlockCodes`], by what follows the name of the weight.
const QUANT_STATE: &str = ".quant_state.bitsandbytes__";
const ABSMAX: &str = ".absmax";
const QUANT_MAP: &str = ".quant_map";
const NESTED_ABSMAX: &str = ".nested_absmax";
const NESTED_QUANT_MAP: &str = ".nested_quant_map";

/// Weights of four bits.
pub struct FourBit;

/// What bitsandbytes writes about a weight.
#[derive(Debug, Deserialize)]
struct QuantState {
    quant_type: String,
    blocksize: usize,
    dtype: String,
    shape: Vec<usize>,
    nested_blocksize: Option<usize>,
    nested_offset: Option<f32>,
}

/// Codes of four bits, in blocks that run on from one row to the next.
#[derive(Debug)]
struct BlockCodes {
    name: String,
    numbers: Numbers,
    columns: usize,
    block: usize,
    /// What the codes stand for.
    map: [f32; 16],
    maxima: Maxima,
}

/// The absolute maxima of the blocks, in the second part.
#[derive(Debug)]
enum Maxima {
    Plain,
    /// Codes of `map`, in blocks of their own whose maxima are in the third part.
    Nested {
        map: Vec<f32>,
        block: usize,
        offset: f32,
    },
}

impl Scheme for FourBit {
    fn quant_methods(&self) -> &'static [&'static str] {
        &["bitsandbytes"]
    }

    fn recognise(&self, name: &str, stored: &StoredTensors) -> Result<Option<RecognisedWeight>, TensorError> {
        let Some((weight, _)) = name.split_once(QUANT_STATE) else { return Ok(None) };
        let wrong = |problem: String| stored.quantised_error(name, problem);
        let state: QuantState = serde_json::from_slice(stored.bytes(stored.find(name)?))
            .map_err(|error| wrong(format!("does not describe a weight ({error})")))?;
        let numbers =
            Numbers::named(&state.dtype).ok_or_else(|| wrong(format!("names the unknown type `{}`", state.dtype)))?;
        let count = state.shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
        let (count, columns) = match (count, state.shape.as_slice()) {
            (Some(count), &[_, columns]) if state.blocksize > 0 => (count, columns),
            _ => return Err(wrong("does not describe a matrix in blocks".into())),
        };
        let part = |suffix: &str| format!("{weight}{suffix}");
        // The type that carries the codes does not matter.
        let codes = stored.find(weight)?;
        if codes.range.len() != count.div_ceil(2) {
            return Err(wrong(format!("promises {count} numbers, and `{weight}` has {} bytes", codes.range.len())));
        }
        let blocks = count.div_ceil(state.blocksize);
        let map = floats(stored.numbers(&part(QUANT_MAP), Dtype::F32, 16)?);
        let mut parts = vec![weight.to_string(), part(ABSMAX)];
        let maxima = match (state.nested_blocksize, state.nested_offset) {
            (Some(block), Some(offset)) if block > 0 => {
                stored.numbers(&part(ABSMAX), Dtype::U8, blocks)?;
                stored.numbers(&part(NESTED_ABSMAX), Dtype::F32, blocks.div_ceil(block))?;
                let map = floats(stored.numbers(&part(NESTED_QUANT_MAP), Dtype::F32, 256)?);
                parts.extend([part(NESTED_ABSMAX), part(NESTED_QUANT_MAP)]);
                Maxima::Nested { map, block, offset }
            }
            _ => {
                stored.numbers(&part(ABSMAX), Dtype::F32, blocks)?;
                Maxima::Plain
            }
        };
        parts.extend([part(QUANT_MAP), name.to_string()]);
        let double = if matches!(maxima, Maxima::Plain) { "" } else { ", double quantised" };
        let name = format!("{}{double}", state.quant_type.to_uppercase());
        let map = std::array::from_fn(|code| map[code]);
        let encoding = BlockCodes { name, numbers, columns, block: state.blocksize, map, maxima };
        Ok(Some(RecognisedWeight { name: weight.into(), shape: state.shape, encoding: Arc::new(encoding), parts }))
    }
}

impl Matrix for BlockCodes {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn numbers(&self) -> Numbers {
        self.numbers
    }

    fn dequantise(&self, parts: &[&[u8]], rows: Range<usize>, values: &mut [f32]) {
        let codes = parts[0];
        let (mut place, end) = (rows.start * self.columns, rows.end * self.columns);
        let mut values = values.iter_mut();
        while place < end {
            let block = place / self.block;
            let block_end = end.min((block + 1) * self.block);
            let maximum = self.maxima.of(parts, block);
            let products = self.map.map(|value| value * maximum);
            for (place, value) in (place..block_end).zip(&mut values) {
                let shift = if place.is_multiple_of(2) { 4 } else { 0 };
                *value = products[usize::from(codes[place / 2] >> shift & 15)];
            }
            place = block_end;
        }
    }
}

impl Maxima {
    fn of(&self, parts: &[&[u8]], block: usize) -> f32 {
        match self {
            Self::Plain => scale(Dtype::F32, parts[1], block),
            Self::Nested { map, block: size, offset } => {
                map[usize::from(parts[1][block])] * scale(Dtype::F32, parts[2], block / size) + offset
            }
        }
    }
}

/// Weights of eight bits.
pub struct Int8;

/// Whole numbers, with the absolute maximum of each row in the second part.
#[derive(Debug)]
struct RowCodes {
    columns: usize,
}

/// bitsandbytes multiplies by this instead of dividing by 127.
const OF_127: f32 = 1.0 / 127.0;

impl Scheme for Int8 {
    fn quant_methods(&self) -> &'static [&'static str] {
        &["bitsandbytes"]
    }

    fn recognise(&self, name: &str, stored: &StoredTensors) -> Result<Option<RecognisedWeight>, TensorError> {
        let Some(module) = name.strip_suffix(".SCB") else { return Ok(None) };
        let weight = format!("{module}.weight");
        let codes = stored.find(&weight)?;
        let &[outputs, columns] = codes.shape.as_slice() else {
            return Err(stored.shape_error(&weight, &[0, 0]));
        };
        stored.expect(&weight, Dtype::I8, &[outputs, columns])?;
        stored.numbers(name, Dtype::F32, outputs)?;
        let mut parts = vec![weight.clone(), name.to_string()];
        let format = format!("{module}.weight_format");
        if let Some(found) = stored.tensors.get(&format) {
            // Other layouts interleave the rows for one kind of GPU.
            if found.dtype != StoredType::Plain(Dtype::U8) || stored.bytes(found) != [0] {
                let problem = "names a layout that is not read; save the model again with bitsandbytes 0.45 or newer";
                return Err(stored.quantised_error(&format, problem));
            }
            parts.push(format);
        }
        let shape = vec![outputs, columns];
        Ok(Some(RecognisedWeight { name: weight, shape, encoding: Arc::new(RowCodes { columns }), parts }))
    }
}

impl Matrix for RowCodes {
    fn name(&self) -> String {
        "int8 (bitsandbytes)".into()
    }

    fn numbers(&self) -> Numbers {
        Numbers::F32
    }

    fn dequantise(&self, parts: &[&[u8]], rows: Range<usize>, values: &mut [f32]) {
        let codes = &parts[0][rows.start * self.columns..];
        for ((row, values), codes) in
            rows.zip(values.chunks_mut(self.columns.max(1))).zip(codes.chunks(self.columns.max(1)))
        {
            let maximum = scale(Dtype::F32, parts[1], row);
            for (value, &code) in values.iter_mut().zip(codes) {
                *value = f32::from(code as i8) * maximum * OF_127;
            }
        }
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}
