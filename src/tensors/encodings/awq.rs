//! AWQ in its layout `gemm`: four-bit numbers, eight outputs in a word, in an order of their own.
//!
//! `X.qweight`, I32 of shape (inputs, outputs / 8), and `X.qzeros` (groups, outputs / 8) hold the codes and the zero points of eight
//! neighbouring outputs in a word, the first at [`ORDER`]`[0]`; `X.scales` (groups, outputs) belong to groups of neighbouring inputs. A
//! value is (code − zero point) · scale, rounded to the type of the scales (AutoAWQ's `dequantize_gemm`).

use std::ops::Range;
use std::sync::Arc;

use safetensors::Dtype;

use super::bits::word;
use super::matrix::{Matrix, Numbers};
use super::scales::{numbers_of, scale};
use super::{RecognisedWeight, Scheme};
use crate::error::TensorError;
use crate::tensors::stored::{StoredTensors, StoredType};

pub struct Awq;

/// The layout that is read, as the configuration calls it.
const LAYOUT: &str = "gemm";

/// The four bits of a word where each of eight outputs lies.
const ORDER: [u32; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

#[derive(Debug)]
struct AwqColumns {
    inputs: usize,
    outputs: usize,
    /// The inputs of a group.
    group: usize,
    scales: Dtype,
}

impl Scheme for Awq {
    fn quant_methods(&self) -> &'static [&'static str] {
        &["awq"]
    }

    fn recognise(&self, name: &str, stored: &StoredTensors) -> Result<Option<RecognisedWeight>, TensorError> {
        let Some(module) = name.strip_suffix(".qweight") else { return Ok(None) };
        let part = |suffix: &str| format!("{module}.{suffix}");
        let (codes, scales) = (stored.find(name)?, stored.find(&part("scales"))?);
        let (&[inputs, packed], &[groups, outputs]) = (codes.shape.as_slice(), scales.shape.as_slice()) else {
            return Ok(None);
        };
        if packed == outputs {
            return Ok(None); // GPTQ
        }
        let layout = stored.text("version").or(stored.text("format")).unwrap_or(LAYOUT);
        let fits = packed.checked_mul(8) == Some(outputs) && groups > 0 && inputs.is_multiple_of(groups);
        if !fits || !layout.eq_ignore_ascii_case(LAYOUT) {
            let problem = "is stored in a layout of AWQ that is not read (only `gemm` with four bits is)";
            return Err(stored.quantised_error(name, problem));
        }
        stored.expect(name, Dtype::I32, &[inputs, packed])?;
        stored.expect(&part("qzeros"), Dtype::I32, &[groups, packed])?;
        let StoredType::Plain(dtype) = scales.dtype else { return Ok(None) };
        let parts = vec![name.to_string(), part("qzeros"), part("scales")];
        let encoding = Arc::new(AwqColumns { inputs, outputs, group: inputs / groups, scales: dtype });
        Ok(Some(RecognisedWeight { name: part("weight"), shape: vec![outputs, inputs], encoding, parts }))
    }
}

impl Matrix for AwqColumns {
    fn name(&self) -> String {
        "AWQ, 4 bits".into()
    }

    fn numbers(&self) -> Numbers {
        numbers_of(self.scales)
    }

    fn dequantise(&self, parts: &[&[u8]], rows: Range<usize>, values: &mut [f32]) {
        for (row, values) in rows.zip(values.chunks_mut(self.inputs.max(1))) {
            let number = |part: usize, place: usize| {
                let word = word(parts[part], place * (self.outputs / 8) + row / 8);
                (word >> (4 * ORDER[row % 8]) & 15) as i32
            };
            for (group, values) in values.chunks_mut(self.group).enumerate() {
                let (zero, scale) = (number(1, group), scale(self.scales, parts[2], group * self.outputs + row));
                for (place, value) in values.iter_mut().enumerate() {
                    *value = (number(0, group * self.group + place) - zero) as f32 * scale;
                }
            }
        }
    }
}
