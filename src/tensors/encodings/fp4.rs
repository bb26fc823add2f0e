//! Four-bit floating-point numbers (E2M1), two in a byte, the lower half first, with a scale for 16 or 32 of them: NVFP4, and MXFP4 as
//! compressed-tensors packs it.
//!
//! A scale of NVFP4 is an FP8 number over (compressed-tensors, `X.weight_packed` and `X.weight_global_scale`) or times (ModelOpt,
//! `X.weight` and `X.weight_scale_2`) one of the whole matrix; one of MXFP4 is an exponent. Values are rounded to bf16, as these
//! libraries do it.

use std::ops::Range;
use std::sync::Arc;

use safetensors::Dtype;

use super::matrix::{Matrix, Numbers};
use super::mxfp4::VALUES;
use super::scales::{BlockScales, Layout, scale};
use super::{RecognisedWeight, Scheme};
use crate::error::TensorError;
use crate::tensors::stored::StoredTensors;

pub struct Fp4;

#[derive(Debug)]
struct Fp4Rows {
    name: &'static str,
    columns: usize,
    scales: BlockScales,
    /// What each scale is multiplied with, or divided by.
    whole: Whole,
}

#[derive(Debug, Clone, Copy)]
enum Whole {
    Nothing,
    Factor(f32),
    Divisor(f32),
}

impl Scheme for Fp4 {
    fn quant_methods(&self) -> &'static [&'static str] {
        &["compressed-tensors", "modelopt"]
    }

    fn recognise(&self, name: &str, stored: &StoredTensors) -> Result<Option<RecognisedWeight>, TensorError> {
        let (module, codes) = match (name.strip_suffix(".weight_packed"), name.strip_suffix(".weight_scale_2")) {
            (Some(module), _) => (module, name.to_string()),
            (_, Some(module)) => (module, format!("{module}.weight")),
            _ => return Ok(None),
        };
        if !stored.has_type(&codes, Dtype::U8) {
            return Ok(None);
        }
        let part = |suffix: &str| format!("{module}.{suffix}");
        let &[rows, half] = stored.find(&codes)?.shape.as_slice() else {
            return Err(stored.shape_error(&codes, &[0, 0]));
        };
        let columns = half.checked_mul(2).ok_or_else(|| stored.shape_error(&codes, &[rows, 0]))?;
        let local = part("weight_scale");
        let scales = BlockScales::of(stored, (&local, 1), (rows, columns), Layout::Groups)?;
        let mut parts = vec![codes.clone(), local.clone()];
        let number =
            |name: &str| -> Result<f32, TensorError> { Ok(scale(Dtype::F32, stored.numbers(name, Dtype::F32, 1)?, 0)) };
        let global = part("weight_global_scale");
        let (name, whole) = if codes != name {
            parts.push(name.to_string());
            ("NVFP4", Whole::Factor(number(name)?))
        } else if stored.tensors.contains_key(&global) {
            let divisor = number(&global)?;
            parts.push(global);
            ("NVFP4", Whole::Divisor(divisor))
        } else if stored.has_type(&local, Dtype::U8) || stored.has_type(&local, Dtype::F8_E8M0) {
            ("MXFP4", Whole::Nothing)
        } else {
            return stored.find(&global).map(|_| None);
        };
        let encoding = Arc::new(Fp4Rows { name, columns, scales, whole });
        Ok(Some(RecognisedWeight { name: part("weight"), shape: vec![rows, columns], encoding, parts }))
    }
}

impl Matrix for Fp4Rows {
    fn name(&self) -> String {
        self.name.into()
    }

    fn numbers(&self) -> Numbers {
        Numbers::Bf16
    }

    fn dequantise(&self, parts: &[&[u8]], rows: Range<usize>, values: &mut [f32]) {
        let bytes = self.columns / 2;
        for (row, values) in rows.zip(values.chunks_mut(self.columns.max(1))) {
            let codes = &parts[0][row * bytes..(row + 1) * bytes];
            let mut scales = self.scales.of_row(parts, row);
            for scale in &mut scales {
                match self.whole {
                    Whole::Nothing => (),
                    Whole::Factor(factor) => *scale *= factor,
                    Whole::Divisor(divisor) => *scale /= divisor,
                }
            }
            for (column, value) in values.iter_mut().enumerate() {
                let code = codes[column / 2] >> (4 * (column % 2)) & 15;
                *value = VALUES[usize::from(code)] * scales[column / self.scales.width()];
            }
        }
    }
}
