//! Codes of eight bits with scales for the whole matrix, each row, or each block: FP8 (DeepSeek, Qwen, compressed-tensors, FBGEMM,
//! ModelOpt, torchao) and int8 (compressed-tensors, torchao).
//!
//! A value is a code times its scale, in spite of the name `weight_scale_inv`, rounded to the type of the scales or, by torchao, to that
//! of the model; an asymmetric int8 code loses its zero point before (transformers' `Fp8Dequantize`, compressed-tensors' `dequantize`).

use std::ops::Range;
use std::sync::Arc;

use safetensors::Dtype;

use super::matrix::{Matrix, Numbers};
use super::scales::{BlockScales, Layout};
use super::{RecognisedWeight, Scheme};
use crate::error::TensorError;
use crate::tensors::float8::{e4m3_to_f32, e5m2_to_f32};
use crate::tensors::stored::{StoredTensors, StoredType};

pub struct EightBit;

/// What a code stands for, by its bits.
type Values = [f32; 256];

#[derive(Debug)]
struct ScaledCodes {
    name: &'static str,
    values: Box<Values>,
    columns: usize,
    scales: BlockScales,
    zeros: Option<BlockScales>,
    numbers: Numbers,
}

/// What the tensors of a weight are called, after the name of the module.
struct WeightNaming {
    codes: &'static str,
    scales: &'static str,
    zeros: &'static str,
    /// Whether there may be blocks of several rows, whatever the configuration says.
    has_blocks: bool,
    /// Whether values are rounded to the type of the model instead of that of the scales.
    rounds_to_model: bool,
}

const NAMINGS: [WeightNaming; 3] = [
    WeightNaming {
        codes: ".weight",
        scales: ".weight_scale_inv",
        zeros: ".weight_zero_point",
        has_blocks: true,
        rounds_to_model: false,
    },
    WeightNaming {
        codes: ".weight",
        scales: ".weight_scale",
        zeros: ".weight_zero_point",
        has_blocks: false,
        rounds_to_model: false,
    },
    // torchao
    WeightNaming {
        codes: "._weight_qdata",
        scales: "._weight_scale",
        zeros: "._weight_zero_point",
        has_blocks: true,
        rounds_to_model: true,
    },
];

/// A type of codes: what people call it, and what each code stands for.
type CodeType = (Dtype, &'static str, fn(u8) -> f32);

const CODES: [CodeType; 3] = [
    (Dtype::F8_E4M3, "FP8", e4m3_to_f32),
    (Dtype::F8_E5M2, "FP8 E5M2", e5m2_to_f32),
    (Dtype::I8, "int8", |code| f32::from(code as i8)),
];

impl Scheme for EightBit {
    fn quant_methods(&self) -> &'static [&'static str] {
        &["fp8", "fbgemm_fp8", "compressed-tensors", "modelopt", "torchao"]
    }

    fn recognise(&self, name: &str, stored: &StoredTensors) -> Result<Option<RecognisedWeight>, TensorError> {
        let Some((module, naming)) =
            NAMINGS.iter().find_map(|naming| Some((name.strip_suffix(naming.scales)?, naming)))
        else {
            return Ok(None);
        };
        let weight = format!("{module}{}", naming.codes);
        let Some(codes) = stored.tensors.get(&weight) else { return Ok(None) };
        let of_type = |(dtype, ..): &&CodeType| codes.dtype == StoredType::Plain(*dtype);
        let Some((_, described, value)) = CODES.iter().find(of_type) else { return Ok(None) };
        let &[rows, columns] = codes.shape.as_slice() else { return Err(stored.shape_error(&weight, &[0, 0])) };
        // Only FP8 has blocks of several rows, and says so by the name of the scales or by their size.
        let block = stored.block_size();
        let layout = if block.is_some() || naming.has_blocks { Layout::Blocks(block) } else { Layout::Groups };
        let scales = BlockScales::of(stored, (name, 1), (rows, columns), layout)?;
        let mut parts = vec![weight.clone(), name.to_string()];
        let zero_point = format!("{module}{}", naming.zeros);
        let zeros = match stored.tensors.contains_key(&zero_point) {
            true => {
                parts.push(zero_point.clone());
                let zeros = BlockScales::of(stored, (&zero_point, 2), (rows, columns), layout)?;
                if !zeros.has_blocks_of(&scales) {
                    return Err(stored.shape_error(&zero_point, &stored.find(name)?.shape));
                }
                Some(zeros)
            }
            false => None,
        };
        let values = Box::new(std::array::from_fn(|code| value(code as u8)));
        let told = stored.dtype().filter(|_| naming.rounds_to_model);
        let numbers = told.and_then(Numbers::named).unwrap_or(scales.numbers());
        let encoding = Arc::new(ScaledCodes { name: described, values, columns, scales, zeros, numbers });
        let name = format!("{module}.weight");
        Ok(Some(RecognisedWeight { name, shape: vec![rows, columns], encoding, parts }))
    }
}

impl Matrix for ScaledCodes {
    fn name(&self) -> String {
        self.name.into()
    }

    fn numbers(&self) -> Numbers {
        self.numbers
    }

    fn dequantise(&self, parts: &[&[u8]], rows: Range<usize>, values: &mut [f32]) {
        let columns = self.columns.max(1);
        let codes = parts[0][rows.start * self.columns..].chunks(columns);
        for ((row, values), codes) in rows.zip(values.chunks_mut(columns)).zip(codes) {
            let scales = self.scales.of_row(parts, row);
            let zeros = self.zeros.map(|zeros| zeros.of_row(parts, row));
            let blocks = values.chunks_mut(self.scales.width()).zip(codes.chunks(self.scales.width())).enumerate();
            for (block, (values, codes)) in blocks {
                let zero = zeros.as_ref().map_or(0.0, |zeros| zeros[block]);
                for (value, &code) in values.iter_mut().zip(codes) {
                    *value = (self.values[usize::from(code)] - zero) * scales[block];
                }
            }
        }
    }
}
