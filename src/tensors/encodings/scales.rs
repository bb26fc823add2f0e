//! The scales of a quantised matrix: numbers of some type, one for each block of it.

use half::{bf16, f16};
use safetensors::Dtype;

use super::matrix::Numbers;
use crate::error::TensorError;
use crate::tensors::float8::e4m3_to_f32;
use crate::tensors::stored::{StoredTensors, StoredType};

/// The types that scales and zero points have.
const TYPES: [Dtype; 7] = [Dtype::F32, Dtype::BF16, Dtype::F16, Dtype::F8_E4M3, Dtype::F8_E8M0, Dtype::U8, Dtype::I8];

/// How the blocks lie that share a scale.
#[derive(Debug, Clone, Copy)]
pub enum Layout {
    /// All of the matrix, each row, or equal groups of the columns of a row.
    Groups,
    /// Groups of this many columns of a row.
    GroupsOf(usize),
    /// As `Groups`, or blocks of rows and columns; of the given size, where the matrix is not a multiple of it, else of equal size.
    Blocks(Option<(usize, usize)>),
}

impl Layout {
    /// The size of a block of a matrix of `(rows, columns)` that has so many blocks down and across.
    fn block(self, (rows, columns): (usize, usize), (down, across): (usize, usize)) -> Option<(usize, usize)> {
        let equal = |size: usize, count: usize| (count > 0 && size.is_multiple_of(count)).then(|| size / count);
        match self {
            Self::GroupsOf(width) => Some((1, width)),
            Self::Groups if down != rows && (down, across) != (1, 1) => None,
            Self::Blocks(Some(told))
                if (rows.div_ceil(told.0.max(1)), columns.div_ceil(told.1.max(1))) == (down, across) =>
            {
                Some(told)
            }
            Self::Groups | Self::Blocks(_) => Some((equal(rows, down)?, equal(columns, across)?)),
        }
    }
}

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
    /// The scales `name` of a matrix of this shape, which is part `part` of it.
    pub fn of(
        stored: &StoredTensors,
        (name, part): (&str, usize),
        (rows, columns): (usize, usize),
        layout: Layout,
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
        let block = layout.block((rows, columns), (down, across));
        let fits = |&(height, width): &(usize, usize)| {
            height > 0 && width > 0 && rows.div_ceil(height) == down && columns.div_ceil(width) == across
        };
        let block = block.filter(fits).ok_or_else(|| stored.shape_error(name, &[rows, 1]))?;
        Ok(Self { part, dtype, block, across })
    }

    /// Whether another part has a number for each of the same blocks.
    pub fn has_blocks_of(&self, other: &Self) -> bool {
        (self.block, self.across) == (other.block, other.across)
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
