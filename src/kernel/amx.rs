//! Products by AMX tiles. Rust has no stable intrinsics for them, hence the assembly.
//!
//! # Safety
//! The assembly reads whole blocks of 32 rows and two panels, which [`multiply`] checks to be there, and writes blocks of
//! 32 × 32 values into the output or, at its edges, into a buffer of its own. Tiles belong to the thread; each call
//! configures and releases them.

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _xgetbv};
use std::mem::MaybeUninit;

use super::blocks::Terms;
use super::pack::{DEPTH, X86};

const PANEL: usize = X86.weights.rows;
const BLOCK: usize = 2 * PANEL;

/// Whether the processor has bf16 tiles and the operating system permits their use.
pub fn is_available() -> bool {
    const TILES: u32 = 1 << 24;
    const BF16: u32 = 1 << 22;
    const OSXSAVE: u32 = 1 << 27;
    const TILE_STATE: u64 = 0b11 << 17;
    let has = |mask: u32| __cpuid_count(7, 0).edx & mask == mask;
    let saves_state = || {
        // SAFETY: OSXSAVE says that XGETBV is there.
        __cpuid_count(1, 0).ecx & OSXSAVE != 0 && unsafe { _xgetbv(0) } & TILE_STATE == TILE_STATE
    };
    has(TILES | BF16) && saves_state() && is_permitted()
}

/// Linux permits the large state of tiles only to processes that ask for it, once for all their threads.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let result: i64;
    // SAFETY: a system call that changes only which instructions the process may use.
    unsafe {
        asm!("syscall", inlateout("rax") ARCH_PRCTL => result, in("rdi") ARCH_REQ_XCOMP_PERM,
             in("rsi") XFEATURE_XTILEDATA, out("rcx") _, out("r11") _);
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// LDTILECFG's operand: all eight tiles of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// y = Σ a·b over the terms; `y` (rows, outputs) is written as a whole.
pub fn multiply(terms: &Terms, outputs: usize, y: &mut [MaybeUninit<f32>]) {
    let depth = terms.depth;
    let rows = y.len() / outputs;
    let (row_blocks, panel_pairs) = (rows.div_ceil(BLOCK), outputs.div_ceil(2 * PANEL));
    for (a, b) in &terms.factors {
        assert!(a.len() >= row_blocks * BLOCK * depth && b.len() >= panel_pairs * BLOCK * depth);
        assert!(depth.is_multiple_of(DEPTH) && depth > 0);
    }
    let mut full = [0u16; 16];
    full[..8].fill(64);
    let mut sixteen = [0u8; 16];
    sixteen[..8].fill(16);
    let config = TileConfig { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: full, rows: sixteen };
    let mut block = [MaybeUninit::new(0f32); BLOCK * BLOCK];
    // SAFETY: weights are packed for this unit only where it is available; the configuration is valid.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &config, options(nostack)) };
    for pair in 0..panel_pairs {
        let columns = (outputs - pair * BLOCK).min(BLOCK);
        for row_block in 0..row_blocks {
            let block_rows = (rows - row_block * BLOCK).min(BLOCK);
            let start = row_block * BLOCK * outputs + pair * BLOCK;
            if (block_rows, columns) == (BLOCK, BLOCK) {
                // SAFETY: the assertions above; the block lies inside of y.
                unsafe { multiply_block(terms, row_block, pair, y.as_mut_ptr().add(start).cast(), outputs) };
                continue;
            }
            // SAFETY: as above; the buffer is one block.
            unsafe { multiply_block(terms, row_block, pair, block.as_mut_ptr().cast(), BLOCK) };
            for row in 0..block_rows {
                let to = &mut y[start + row * outputs..][..columns];
                to.copy_from_slice(&block[row * BLOCK..row * BLOCK + columns]);
            }
        }
    }
    // SAFETY: releases the tiles of this thread.
    unsafe { asm!("tilerelease", options(nostack, nomem)) };
}

/// 32 rows times 32 outputs, in four tiles, written to rows at `out` that are `stride` values apart.
///
/// # Safety
/// Every term has the rows and panels of the block, tiles are configured, and `out` has room for the rows.
unsafe fn multiply_block(terms: &Terms, row_block: usize, pair: usize, out: *mut f32, stride: usize) {
    let depth = terms.depth;
    let row_bytes = depth * size_of::<u16>();
    // SAFETY: promised by the caller; the tiles are those of this thread.
    unsafe {
        asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", options(nostack, nomem));
        for (a, b) in &terms.factors {
            let upper = a.as_ptr().add(row_block * BLOCK * depth);
            let left = b.as_ptr().add(pair * 2 * PANEL * depth);
            asm!(
                "2:",
                "tileloadd tmm6, [{left} + {line}*1]",
                "tileloadd tmm4, [{upper} + {row}*1]",
                "tileloadd tmm7, [{right} + {line}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{lower} + {row}*1]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {left}, 1024",
                "add {right}, 1024",
                "add {upper}, 64",
                "add {lower}, 64",
                "dec {steps}",
                "jnz 2b",
                left = inout(reg) left => _,
                right = inout(reg) left.add(PANEL * depth) => _,
                upper = inout(reg) upper => _,
                lower = inout(reg) upper.byte_add(16 * row_bytes) => _,
                steps = inout(reg) depth / DEPTH => _,
                row = in(reg) row_bytes,
                line = in(reg) 64usize,
                options(nostack, readonly),
            );
        }
        asm!(
            "tilestored [{upper} + {line}*1], tmm0",
            "tilestored [{upper} + {line}*1 + 64], tmm1",
            "tilestored [{lower} + {line}*1], tmm2",
            "tilestored [{lower} + {line}*1 + 64], tmm3",
            upper = in(reg) out,
            lower = in(reg) out.add(16 * stride),
            line = in(reg) stride * size_of::<f32>(),
            options(nostack),
        );
    }
}
