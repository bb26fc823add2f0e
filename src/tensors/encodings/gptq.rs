//! GPTQ: whole numbers of two to eight bits, packed along the columns of the transposed weight.
//!
//! `X.qweight`, I32 of shape (inputs · bits / 32, outputs), holds the codes of an output one after the other; `X.scales` (groups,
//! outputs) and `X.qzeros` (groups, outputs · bits / 32) belong to groups of inputs, which `X.g_idx` names for each input. A value is
//! (code − zero point) · scale, rounded to the type of the scales. Version 1 of the format, which most folders have, stores the zero
//! points less one (GPTQModel's `convert_gptq_v1_to_v2_format`).

use std::ops::Range;
use std::sync::Arc;

use safetensors::Dtype;

use super::bits::{Groups, number, word, words};
use super::matrix::{Matrix, Numbers};
use super::scales::{numbers_of, scale};
use super::{RecognisedWeight, Scheme};
use crate::error::TensorError;
use crate::tensors::stored::{StoredTensors, StoredType};

pub struct Gptq;

/// The versions that are read, as the configuration calls them. The second stores the zero points as they are.
const VERSIONS: [&str; 2] = ["gptq", "gptq_v2"];

#[derive(Debug)]
struct GptqColumns {
    bits: usize,
    inputs: usize,
    outputs: usize,
    /// The words of a row of zero points.
    zero_words: usize,
    /// What is added to each word of zero points.
    ones: [u32; 8],
    scales: Dtype,
    group_of: Groups,
    groups: usize,
}

impl Scheme for Gptq {
    fn quant_methods(&self) -> &'static [&'static str] {
        &["gptq"]
    }

    fn recognise(&self, name: &str, stored: &StoredTensors) -> Result<Option<RecognisedWeight>, TensorError> {
        let Some(module) = name.strip_suffix(".qweight") else { return Ok(None) };
        let part = |suffix: &str| format!("{module}.{suffix}");
        let (codes, scales) = (stored.find(name)?, stored.find(&part("scales"))?);
        let (&[packed, outputs], &[groups, width]) = (codes.shape.as_slice(), scales.shape.as_slice()) else {
            return Err(stored.shape_error(name, &[0, 0]));
        };
        if outputs != width {
            return Ok(None); // AWQ
        }
        let wrong = |problem: &str| stored.quantised_error(name, problem);
        let version = stored.text("checkpoint_format").or(stored.text("format"));
        if version.is_some_and(|version| !VERSIONS.contains(&version)) {
            return Err(wrong("is stored in a version of GPTQ that is not read (only `gptq` and `gptq_v2` are)"));
        }
        if groups == 0 {
            return Err(wrong("has no groups"));
        }
        let order = part("g_idx");
        let told = stored.setting("bits").filter(|bits| (2..=8).contains(bits));
        let inputs = match (stored.tensors.get(&order), told) {
            (Some(order), _) => order.shape.iter().product(),
            (None, Some(bits)) => packed.saturating_mul(32) / bits,
            (None, None) => {
                return Err(wrong("has neither `g_idx` nor `bits` in the configuration to tell its width"));
            }
        };
        let bits = (2..=8).find(|&bits| {
            inputs > 0 && inputs.checked_mul(bits).is_some_and(|all| Some(all) == packed.checked_mul(32))
        });
        let bits = bits.ok_or_else(|| wrong(&format!("has {packed} words for {inputs} inputs")))?;
        stored.expect(name, Dtype::I32, &[packed, outputs])?;
        stored.expect(&part("qzeros"), Dtype::I32, &[groups, words(outputs, bits)])?;
        let StoredType::Plain(dtype) = scales.dtype else { return Ok(None) };
        let mut parts = vec![name.to_string(), part("qzeros"), part("scales")];
        let group_of = match stored.tensors.contains_key(&order) {
            true => {
                let listed = Groups::listed(stored.numbers(&order, Dtype::I32, inputs)?, groups);
                parts.push(order);
                listed.ok_or_else(|| wrong("has inputs of groups that it does not have"))?
            }
            false => Groups::Neighbours(inputs.div_ceil(groups)),
        };
        let (zero_words, ones) = (words(outputs, bits), ones(bits, version));
        let encoding = GptqColumns { bits, inputs, outputs, zero_words, ones, scales: dtype, group_of, groups };
        let shape = vec![outputs, inputs];
        Ok(Some(RecognisedWeight { name: part("weight"), shape, encoding: Arc::new(encoding), parts }))
    }
}

/// A one in the place of each zero point of eight words, after which the places repeat, or nothing for version 2.
fn ones(bits: usize, version: Option<&str>) -> [u32; 8] {
    let mut ones = [0; 8];
    if version != Some(VERSIONS[1]) {
        for place in (0..ones.len() * 32).step_by(bits) {
            ones[place / 32] |= 1 << (place % 32);
        }
    }
    ones
}

impl Matrix for GptqColumns {
    fn name(&self) -> String {
        format!("GPTQ, {} bits", self.bits)
    }

    fn numbers(&self) -> Numbers {
        numbers_of(self.scales)
    }

    fn dequantise(&self, parts: &[&[u8]], rows: Range<usize>, values: &mut [f32]) {
        let zero_word = |group: usize, place: usize| {
            let stored = word(parts[1], group * self.zero_words + place);
            stored.wrapping_add(self.ones[place % self.bits.min(8)])
        };
        for (row, values) in rows.zip(values.chunks_mut(self.inputs.max(1))) {
            let zero = |group| number(self.bits, row, |place| zero_word(group, place)) as i32;
            let of_group: Vec<(i32, f32)> = (0..self.groups)
                .map(|group| (zero(group), scale(self.scales, parts[2], group * self.outputs + row)))
                .collect();
            for (input, value) in values.iter_mut().enumerate() {
                let (zero, scale) = of_group[self.group_of.of(input)];
                let code = number(self.bits, input, |place| word(parts[0], place * self.outputs + row)) as i32;
                *value = (code - zero) as f32 * scale;
            }
        }
    }
}
