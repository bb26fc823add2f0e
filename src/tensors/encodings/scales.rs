//! The scales of a quantised matrix: numbers of some type, one for each block of it.

use half::{bf16, f16};
use safetensors::Dtype;

use super::matrix::Numbers;
use crate::error::TensorError;
use crate::tensors::float8::e4m3_to_f32;
use crate::tensors::stored::{StoredTensors, StoredType};

/// The types that scales and zero points have.
const TYPES: [Dtype; 7] = [Dtype::F32, Dtype::BF16, Dtype::F16, Dtype::F8_E4M3, Dtype::F8_E8M0, Dtype::U8, Dtype::I8];

/// One part of a matrix, which holds a scale (or a zero point) for each block.
#[derive(Debug, Clone, Copy)]
pub struct BlockScales {
    /// The place of the part.
    part: usize,
    dtype: Dtype,
    /// The rows and the columns of the matrix that share a scale.
    block: (usize, usize),
    /// The scales in a row.
    across: usize,
}

impl BlockScales {
    /// The scales `name` of a matrix of this shape, one for all of it, for each row, or for each block. `block` tells the size of
    /// blocks that do not divide the matrix.
    pub fn of(
        stored: &StoredTensors,
        (name, part): (&str, usize),
        (rows, columns): (usize, usize),
        block: Option<(usize, usize)>,
    ) -> Result<Self, TensorError> {
        let scales = stored.find(name)?;
        let dtype = match scales.dtype {
            StoredType::Plain(dtype) if TYPES.contains(&dtype) => dtype,
            other => {
                let (path, dtype) = (stored.path.into(), other.to_string());
                return Err(TensorError::Dtype { path, name: name.into(), dtype });
            }
        };
        let (down, across) = match scales.shape.as_slice() {
            [] | [1] => (1, 1),
            &[count] if count == rows => (rows, 1),
            &[down, across] => (down, across),
            _ => return Err(stored.shape_error(name, &[rows, 1])),
        };
        let fits = |(height, width): (usize, usize)| {
            height > 0 && width > 0 && rows.div_ceil(height) == down && columns.div_ceil(width) == across
        };
        let divides = down > 0 && across > 0 && rows.is_multiple_of(down) && columns.is_multiple_of(across);
        let equal = divides.then(|| (rows / down, columns / across));
        let block = block.filter(|&block| fits(block)).or(equal.filter(|&block| fits(block)));
        match block {
            Some(block) => Ok(Self { part, dtype, block, across }),
            None => Err(stored.shape_error(name, &[rows, 1])),
        }
    }

    /// The type that products with these scales are rounded to.
    pub fn numbers(&self) -> Numbers {
        numbers_of(self.dtype)
    }

    /// The columns that share a scale.
    pub fn width(&self) -> usize {
        self.block.1
    }

    /// The scales of a row, in the order of its blocks.
    pub fn of_row(&self, parts: &[&[u8]], row: usize) -> Vec<f32> {
        let first = row / self.block.0 * self.across;
        (first..first + self.across).map(|place| scale(self.dtype, parts[self.part], place)).collect()
    }
}

/// The type that products with scales of this type are rounded to.
pub fn numbers_of(dtype: Dtype) -> Numbers {
    match dtype {
        Dtype::BF16 => Numbers::Bf16,
        Dtype::F16 => Numbers::F16,
        _ => Numbers::F32,
    }
}

/// Number `place` of a type that scales have. Bytes are exponents, as those of MXFP4.
pub fn scale(dtype: Dtype, bytes: &[u8], place: usize) -> f32 {
    let pair = || bytes.as_chunks::<2>().0.get(place).copied().unwrap_or([0xff; 2]);
    let byte = || bytes.get(place).copied().unwrap_or(0xff);
    match dtype {
        Dtype::F32 => bytes.as_chunks::<4>().0.get(place).map_or(f32::NAN, |&bytes| f32::from_le_bytes(bytes)),
        Dtype::BF16 => bf16::from_le_bytes(pair()).to_f32(),
        Dtype::F16 => f16::from_le_bytes(pair()).to_f32(),
        Dtype::F8_E4M3 => e4m3_to_f32(byte()),
        Dtype::U8 | Dtype::F8_E8M0 => 2f32.powi(i32::from(byte()) - 127),
        Dtype::I8 => f32::from(byte() as i8),
        _ => f32::NAN,
    }
}
