//! MXFP4 as gpt-oss stores its experts in safetensors: four-bit numbers in blocks of 32 that share an exponent.
//!
//! Format and order are those of transformers (`integrations/mxfp4.py`). `NAME_blocks`, U8 of shape (matrices, rows,
//! blocks, 16), holds two numbers in a byte, the lower half first; `NAME_scales`, U8 of shape (matrices, rows, blocks), the
//! exponents, where 127 stands for 2⁰. transformers transposes the matrices as it unpacks them, so the weight `NAME` has
//! the shape (matrices, columns, rows).

use std::sync::Arc;

use candle_core::{Device, Result as TensorResult, Tensor};
use safetensors::Dtype;

use super::{Encoding, RecognisedWeight, Rows, Scheme};
use crate::error::TensorError;
use crate::tensors::stored::{Stored, StoredTensors, StoredType};

/// The numbers that four bits stand for.
pub const VALUES: [f32; 16] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// Numbers of a block, and the bytes that they take.
const BLOCK: usize = 32;
const BLOCK_BYTES: usize = BLOCK / 2;

#[derive(Debug)]
pub struct Mxfp4;

impl Scheme for Mxfp4 {
    fn recognise(&self, name: &str, stored: &StoredTensors) -> Result<Option<RecognisedWeight>, TensorError> {
        let Some(weight) = name.strip_suffix("_blocks") else { return Ok(None) };
        let scales = format!("{weight}_scales");
        let is_bytes = |stored: &Stored| stored.dtype == StoredType::Plain(Dtype::U8);
        let blocks = &stored.tensors[name];
        if !stored.tensors.contains_key(&scales) && !is_bytes(blocks) {
            return Ok(None);
        }
        let &[matrices, rows, count, _] = blocks.shape.as_slice() else {
            let expected = [blocks.shape.as_slice(), &[BLOCK_BYTES]].concat();
            return stored.expect(name, Dtype::U8, &expected).map(|_| None);
        };
        stored.expect(name, Dtype::U8, &[matrices, rows, count, BLOCK_BYTES])?;
        stored.expect(&scales, Dtype::U8, &[matrices, rows, count])?;
        let shape = vec![matrices, count * BLOCK, rows];
        let parts = vec![name.into(), scales];
        Ok(Some(RecognisedWeight { name: weight.into(), shape, encoding: Arc::new(Mxfp4), parts }))
    }

    fn quant_methods(&self) -> &'static [&'static str] {
        &["mxfp4"]
    }
}

impl Encoding for Mxfp4 {
    fn describe(&self, _: &[Stored]) -> String {
        "MXFP4".into()
    }

    fn decode(&self, rows: &Rows) -> TensorResult<Option<Tensor>> {
        let values = rows.bytes(0, |blocks| rows.bytes(1, |exponents| unpack(blocks, exponents)));
        let &[matrices, columns, height] = rows.shape.as_slice() else { return Ok(None) };
        Tensor::from_vec(values, (matrices, height, columns), &Device::Cpu)?.transpose(1, 2).map(Some)
    }
}

/// The numbers of blocks with these exponents.
fn unpack(blocks: &[u8], exponents: &[u8]) -> Vec<f32> {
    let mut values = Vec::with_capacity(blocks.len() * 2);
    for (block, &exponent) in blocks.chunks_exact(BLOCK_BYTES).zip(exponents) {
        let scale = 2f32.powi(i32::from(exponent) - 127);
        for byte in block {
            values.extend([byte & 15, byte >> 4].map(|half| VALUES[usize::from(half)] * scale));
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::{TensorView, serialize_to_file};

    use super::*;
    use crate::error::Result;
    use crate::tensors::TensorStore;

    #[test]
    fn the_lower_half_comes_first() {
        let mut blocks = [0u8; 2 * BLOCK_BYTES];
        (blocks[0], blocks[BLOCK_BYTES]) = (0x17, 0xf0);
        let values = unpack(&blocks, &[128, 126]);
        assert_eq!(values.len(), 2 * BLOCK);
        assert_eq!((values[0], values[1], values[2]), (12.0, 1.0, 0.0));
        assert_eq!((values[BLOCK], values[BLOCK + 1]), (0.0, -3.0));
    }

    /// A store with `w_blocks` of two matrices of three rows of one block, and tensors beside it.
    fn store(blocks: Dtype, beside: &[(&str, Dtype, &[usize])]) -> Result<TensorStore> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let bytes: Vec<u8> = (0..1024).map(|place| (place % 251) as u8).collect();
        let view = |dtype: Dtype, shape: &[usize]| {
            let size = shape.iter().product::<usize>() * dtype.bitsize() / 8;
            TensorView::new(dtype, shape.into(), &bytes[..size]).unwrap()
        };
        let tensors = beside.iter().map(|(name, dtype, shape)| (*name, view(*dtype, shape)));
        let tensors = tensors.chain([("w_blocks", view(blocks, &[2, 3, 1, BLOCK_BYTES]))]);
        serialize_to_file(tensors, None, &path).unwrap();
        TensorStore::open_base(&path, &serde_json::Map::new())
    }

    #[test]
    fn blocks_and_scales_are_one_weight() -> Result<()> {
        let store = store(Dtype::U8, &[("w_scales", Dtype::U8, &[2, 3, 1]), ("v_scales", Dtype::F32, &[1])])?;
        assert_eq!(store.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["v_scales", "w"]);
        let entry = store.entry("w")?;
        assert_eq!((entry.shape.as_slice(), entry.bytes()), (&[2, BLOCK, 3][..], 2 * 3 * 17));
        assert_eq!(entry.encoding(), "MXFP4");
        let whole = store.load("w", &Device::Cpu)?;
        let second = store.load_rows("w", 1..2, &Device::Cpu)?.squeeze(0)?;
        assert_eq!(whole.get(1)?.to_vec2::<f32>()?, second.to_vec2::<f32>()?);
        // The sixth byte of the second matrix's first row, of a block with the exponent 3.
        let byte = (3 * BLOCK_BYTES + 5) as u8;
        assert_eq!(second.get(10)?.get(0)?.to_scalar::<f32>()?, VALUES[usize::from(byte & 15)] * 2f32.powi(3 - 127));
        Ok(())
    }

    #[test]
    fn parts_that_do_not_fit_are_errors() {
        let error = |blocks: Dtype, beside: &[(&str, Dtype, &[usize])]| store(blocks, beside).unwrap_err().to_string();
        assert!(error(Dtype::U8, &[]).contains("has no tensor `w_scales`"));
        assert!(error(Dtype::F32, &[("w_scales", Dtype::U8, &[2, 3, 1])]).contains("`w_blocks`"));
        assert!(error(Dtype::U8, &[("w_scales", Dtype::F32, &[2, 3, 1])]).contains("the unsupported type F32"));
        assert!(error(Dtype::U8, &[("w_scales", Dtype::U8, &[2, 3])]).contains("has shape [2, 3]"));
        assert!(store(Dtype::F32, &[]).is_ok());
    }
}
