//! Products by BFMMLA of ARM: 8 rows times 12 outputs in 24 registers, each with the sums of two rows and two outputs. Rust's
//! intrinsic for the instruction is not stable, hence the assembly.
//!
//! # Rounding
//! The instruction rounds the sum of two products, and what that adds to the sum so far, to odd, and takes subnormal numbers
//! for zero. Each rounding is off by less than 2⁻²³ of its result, so a sum of n products is off by less than
//! (n / 2 + 1) · 2⁻²³ · Σ|a·b|, as long as nothing is below 2⁻¹²⁶. That is the default, also with FEAT_EBF16.
//!
//! # Safety
//! [`for_each_block`] checks that rows and panels are there before pointers go on.

use std::arch::aarch64::{
    float32x4_t, uint16x8_t, vdupq_n_f32, vld1q_u16, vreinterpretq_f32_f64, vreinterpretq_f64_f32, vst1q_f32,
    vzip1q_f64, vzip2q_f64,
};
use std::arch::{asm, is_aarch64_feature_detected};
use std::mem::MaybeUninit;

use super::blocks::{Terms, for_each_block};
use super::pack::NEON;

const ROWS: usize = NEON.activations.rows;
const COLUMNS: usize = NEON.weights.rows;
/// The inputs that a step takes, and the values of a register.
const STEP: usize = NEON.weights.group as usize;
const REGISTER: usize = 2 * STEP;

pub fn is_available() -> bool {
    is_aarch64_feature_detected!("bf16")
}

/// Whether the instruction is issued as often as one that multiplies and adds f32, of which it does the work of four. That holds
/// for Arm's own cores, by their optimisation guides: Neoverse V1 to V3, N2 and N3, Cortex-X2. Others issue it half as often, or
/// publish nothing. Not measured: no such processor was at hand.
pub fn is_full_rate() -> bool {
    const ARM: u64 = 0x41;
    designer() == Some(ARM)
}

/// Who designed the processor, where Linux lets processes ask.
#[cfg(target_os = "linux")]
fn designer() -> Option<u64> {
    const HWCAP_CPUID: libc::c_ulong = 1 << 11;
    // SAFETY: the call reads a table that the process was started with.
    let may_ask = unsafe { libc::getauxval(libc::AT_HWCAP) } & HWCAP_CPUID != 0;
    may_ask.then(|| {
        let register: u64;
        // SAFETY: Linux answers the instruction, which it has just said, and nothing else happens.
        unsafe { asm!("mrs {}, midr_el1", out(reg) register, options(nomem, nostack, preserves_flags)) };
        register >> 24 & 0xff
    })
}

#[cfg(not(target_os = "linux"))]
fn designer() -> Option<u64> {
    None
}

/// y = Σ a·b over the terms; `y` (rows, outputs) is written as a whole.
pub fn multiply(terms: &Terms, outputs: usize, y: &mut [MaybeUninit<f32>]) {
    for_each_block(terms, outputs, y, |rows, panel, block| {
        // SAFETY: weights are packed for this unit only where it is available; every term has the rows and the panel.
        unsafe { multiply_block(terms, rows, panel, block) }
    });
}

/// # Safety
/// Every term has the rows and the panel of the block, and the processor has FEAT_BF16.
#[target_feature(enable = "neon,bf16")]
unsafe fn multiply_block(terms: &Terms, rows: usize, panel: usize, block: &mut [[f32; COLUMNS]; ROWS]) {
    let depth = terms.depth;
    let mut sums = [[vdupq_n_f32(0.0); COLUMNS / 2]; ROWS / 2];
    for (a, b) in &terms.factors {
        // SAFETY: promised by the caller.
        unsafe {
            let mut a = a.as_ptr().add(rows * ROWS * depth);
            let mut b = b.as_ptr().add(panel * COLUMNS * depth);
            for _ in 0..depth / STEP {
                let pairs: [uint16x8_t; ROWS / 2] = std::array::from_fn(|pair| vld1q_u16(a.add(pair * REGISTER)));
                for column in 0..COLUMNS / 2 {
                    let columns = vld1q_u16(b.add(column * REGISTER));
                    for (sums, pair) in sums.iter_mut().zip(pairs) {
                        sums[column] = add_products(sums[column], pair, columns);
                    }
                }
                a = a.add(ROWS * STEP);
                b = b.add(COLUMNS * STEP);
            }
        }
    }
    for (pair, sums) in sums.iter().enumerate() {
        for (four, sums) in sums.as_chunks::<2>().0.iter().enumerate() {
            let (left, right) = (vreinterpretq_f64_f32(sums[0]), vreinterpretq_f64_f32(sums[1]));
            let (upper, lower) = (vzip1q_f64(left, right), vzip2q_f64(left, right));
            for (row, sums) in [(2 * pair, upper), (2 * pair + 1, lower)] {
                // SAFETY: the block has the room.
                unsafe { vst1q_f32(block[row][4 * four..][..4].as_mut_ptr(), vreinterpretq_f32_f64(sums)) };
            }
        }
    }
}

/// What two rows, of four values each, times two columns add to the four sums.
#[inline]
#[target_feature(enable = "neon,bf16")]
fn add_products(mut sums: float32x4_t, rows: uint16x8_t, columns: uint16x8_t) -> float32x4_t {
    // SAFETY: the instruction computes in the three registers and does nothing else.
    unsafe {
        asm!("bfmmla {sums:v}.4s, {rows:v}.8h, {columns:v}.8h", sums = inout(vreg) sums, rows = in(vreg) rows,
             columns = in(vreg) columns, options(pure, nomem, nostack, preserves_flags));
    }
    sums
}
