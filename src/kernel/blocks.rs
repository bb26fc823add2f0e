//! A product in blocks, each as large as the registers of a unit that sums in them.

use std::mem::MaybeUninit;

/// A sum of products a·b, each of rows of activations and panels of a weight, `depth` values deep.
pub struct Terms<'a> {
    pub factors: Vec<(&'a [u16], &'a [u16])>,
    pub depth: usize,
}

/// Writes all of `y` (rows, outputs). `multiply` fills a block, given its place among those of rows and of outputs: every term
/// holds all rows and outputs of the block.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub fn for_each_block<const ROWS: usize, const COLUMNS: usize>(
    terms: &Terms,
    outputs: usize,
    y: &mut [MaybeUninit<f32>],
    multiply: impl Fn(usize, usize, &mut [[f32; COLUMNS]; ROWS]),
) {
    let rows = y.len() / outputs;
    let (row_blocks, column_blocks) = (rows.div_ceil(ROWS), outputs.div_ceil(COLUMNS));
    for (a, b) in &terms.factors {
        assert!(a.len() >= row_blocks * ROWS * terms.depth && b.len() >= column_blocks * COLUMNS * terms.depth);
    }
    let mut block = [[0f32; COLUMNS]; ROWS];
    for column_block in 0..column_blocks {
        let columns = (outputs - column_block * COLUMNS).min(COLUMNS);
        for row_block in 0..row_blocks {
            multiply(row_block, column_block, &mut block);
            for (row, from) in block.iter().take(rows - row_block * ROWS).enumerate() {
                let start = (row_block * ROWS + row) * outputs + column_block * COLUMNS;
                y[start..start + columns].iter_mut().zip(from).for_each(|(to, &value)| _ = to.write(value));
            }
        }
    }
}
