//! Products by AVX512-BF16: 8 rows times 48 outputs in 24 registers.
//!
//! # Safety
//! [`for_each_block`] checks that rows and panels are there before pointers go on.

use std::arch::x86_64::{
    __cpuid, __m512bh, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_ps, _mm512_storeu_ps,
};
use std::mem::{MaybeUninit, transmute};

use super::blocks::{Terms, for_each_block};
use super::pack::X86;

const ROWS: usize = 8;
const PANEL: usize = X86.weights.rows;
const PANELS: usize = 3;
const COLUMNS: usize = PANELS * PANEL;

pub fn is_available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
}

/// Whether a product of pairs takes no longer than one in f32. That holds on AMD, while Intel's processors that have this
/// unit without AMX run at half that rate. Measured in GFLOP/s a core, bf16x2 and f32: 61 and 75 there, 250 and 200 on Zen 5.
pub fn is_full_rate() -> bool {
    let vendor = __cpuid(0);
    [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() == b"AuthenticAMD"
}

/// y = Σ a·b over the terms; `y` (rows, outputs) is written as a whole.
pub fn multiply(terms: &Terms, outputs: usize, y: &mut [MaybeUninit<f32>]) {
    for_each_block(terms, outputs, y, |rows, panels, block| {
        // SAFETY: weights are packed for this unit only where it is available; every term has the rows and panels.
        unsafe { multiply_block(terms, rows, panels, block) }
    });
}

/// # Safety
/// Every term has the rows and panels of the block, and the processor has AVX512-BF16.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn multiply_block(terms: &Terms, rows: usize, panels: usize, block: &mut [[f32; COLUMNS]; ROWS]) {
    let depth = terms.depth;
    let mut sums = [[_mm512_setzero_ps(); PANELS]; ROWS];
    for (a, b) in &terms.factors {
        // SAFETY: promised by the caller.
        unsafe {
            let a = a.as_ptr().add(rows * ROWS * depth);
            let b = b.as_ptr().add(panels * COLUMNS * depth);
            for pair in 0..depth / 2 {
                let columns: [__m512bh; PANELS] = std::array::from_fn(|panel| {
                    transmute(_mm512_loadu_si512(b.add(panel * PANEL * depth + pair * 2 * PANEL).cast()))
                });
                for (row, sums) in sums.iter_mut().enumerate() {
                    let values = a.add(row * depth + pair * 2).cast::<i32>().read_unaligned();
                    let values: __m512bh = transmute(_mm512_set1_epi32(values));
                    for (sum, columns) in sums.iter_mut().zip(columns) {
                        *sum = _mm512_dpbf16_ps(*sum, values, columns);
                    }
                }
            }
        }
    }
    for (row, sums) in block.iter_mut().zip(sums) {
        for (panel, sum) in row.as_chunks_mut::<PANEL>().0.iter_mut().zip(sums) {
            // SAFETY: the panel has the room.
            unsafe { _mm512_storeu_ps(panel.as_mut_ptr(), sum) };
        }
    }
}
