//! The types of GGML's blocks that candle does not know, as the gguf package 0.19 reads them (`gguf/quants.py`), to the bit.
//!
//! A type is a line of [`TYPES`] and a function. Those called IQ1 to IQ3 take eight or four neighbouring values at once from a table;
//! `scripts/fixtures/ggml_blocks.py` writes the tables.

use half::f16;

use super::float8::e4m3_to_f32;

/// A type of blocks.
#[derive(Debug)]
pub struct BlockType {
    /// Its number in GGUF files (`ggml.h`).
    number: u32,
    pub name: &'static str,
    /// The values of a block.
    pub values: usize,
    /// The bytes of a block.
    pub bytes: usize,
    /// Computes the values of a block from its bytes.
    pub dequantise: fn(&[u8], &mut [f32]),
}

impl PartialEq for BlockType {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

pub static TYPES: [BlockType; 13] = [
    BlockType { number: 16, name: "IQ2_XXS", values: 256, bytes: 66, dequantise: iq2_xxs },
    BlockType { number: 17, name: "IQ2_XS", values: 256, bytes: 74, dequantise: iq2_xs },
    BlockType { number: 18, name: "IQ3_XXS", values: 256, bytes: 98, dequantise: iq3_xxs },
    BlockType { number: 19, name: "IQ1_S", values: 256, bytes: 50, dequantise: iq1_s },
    BlockType { number: 20, name: "IQ4_NL", values: 32, bytes: 18, dequantise: iq4_nl },
    BlockType { number: 21, name: "IQ3_S", values: 256, bytes: 110, dequantise: iq3_s },
    BlockType { number: 22, name: "IQ2_S", values: 256, bytes: 82, dequantise: iq2_s },
    BlockType { number: 23, name: "IQ4_XS", values: 256, bytes: 136, dequantise: iq4_xs },
    BlockType { number: 29, name: "IQ1_M", values: 256, bytes: 56, dequantise: iq1_m },
    BlockType { number: 34, name: "TQ1_0", values: 256, bytes: 54, dequantise: tq1_0 },
    BlockType { number: 35, name: "TQ2_0", values: 256, bytes: 66, dequantise: tq2_0 },
    BlockType { number: 39, name: "MXFP4", values: 32, bytes: 17, dequantise: mxfp4 },
    BlockType { number: 40, name: "NVFP4", values: 64, bytes: 36, dequantise: nvfp4 },
];

/// The type with this number in GGUF files.
pub fn of_number(number: u32) -> Option<&'static BlockType> {
    TYPES.iter().find(|kind| kind.number == number)
}

/// The tables, one after the other: the values of each entry.
static TABLES: &[u8; 33_792] = include_bytes!("ggml_grids.bin");

/// A part of [`TABLES`].
struct Codebook {
    start: usize,
    /// The values of an entry.
    width: usize,
}

const IQ1: Codebook = Codebook { start: 0, width: 8 };
const IQ2_XXS: Codebook = Codebook { start: IQ1.start + 2048 * 8, width: 8 };
const IQ2_XS: Codebook = Codebook { start: IQ2_XXS.start + 256 * 8, width: 8 };
const IQ2_S: Codebook = Codebook { start: IQ2_XS.start + 512 * 8, width: 8 };
const IQ3_XXS: Codebook = Codebook { start: IQ2_S.start + 1024 * 8, width: 4 };
const IQ3_S: Codebook = Codebook { start: IQ3_XXS.start + 256 * 4, width: 4 };

impl Codebook {
    fn entry(&self, index: usize) -> impl Iterator<Item = f32> {
        let start = self.start + index * self.width;
        TABLES[start..start + self.width].iter().map(|&value| f32::from(value as i8))
    }
}

/// Sets values to `scale` times those of an entry, negative where the bits of `signs` are set.
fn set(values: &mut [f32], scale: f32, entry: impl Iterator<Item = f32>, signs: u8) {
    for (place, (value, of_entry)) in values.iter_mut().zip(entry).enumerate() {
        let magnitude = scale * of_entry;
        *value = if signs >> place & 1 == 1 { -magnitude } else { magnitude };
    }
}

/// The signs of eight values, of which seven bits are stored: an even number of them is negative.
fn even_signs(seven: u32) -> u8 {
    let seven = (seven & 127) as u8;
    seven | (seven.count_ones() as u8 & 1) << 7
}

fn half(block: &[u8], at: usize) -> f32 {
    f16::from_bits(short(block, at)).to_f32()
}

fn short(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

fn long(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// The lower half of a byte for even places, the upper one for odd ones.
fn nibble(bytes: &[u8], place: usize) -> u8 {
    bytes[place / 2] >> (4 * (place % 2)) & 15
}

fn iq2_xxs(block: &[u8], values: &mut [f32]) {
    let scale = half(block, 0);
    for (group, values) in values.chunks_exact_mut(32).enumerate() {
        let (indices, signs) = (&block[2 + 8 * group..], long(block, 6 + 8 * group));
        let scale = scale * (0.5 + (signs >> 28) as f32) * 0.25;
        for (part, values) in values.chunks_exact_mut(8).enumerate() {
            set(values, scale, IQ2_XXS.entry(indices[part].into()), even_signs(signs >> (7 * part)));
        }
    }
}

fn iq2_xs(block: &[u8], values: &mut [f32]) {
    let scale = half(block, 0);
    for (part, values) in values.chunks_exact_mut(8).enumerate() {
        let scale = scale * (0.5 + f32::from(nibble(&block[66..], part / 2))) * 0.25;
        let code = short(block, 2 + 2 * part);
        set(values, scale, IQ2_XS.entry((code & 511).into()), even_signs(u32::from(code >> 9)));
    }
}

fn iq2_s(block: &[u8], values: &mut [f32]) {
    let scale = half(block, 0);
    let (low, signs, high, scales) = (&block[2..34], &block[34..66], &block[66..74], &block[74..82]);
    for (part, values) in values.chunks_exact_mut(8).enumerate() {
        let scale = scale * (0.5 + f32::from(nibble(scales, part / 2))) * 0.25;
        let index = usize::from(low[part]) | usize::from(high[part / 4] >> (2 * (part % 4)) & 3) << 8;
        set(values, scale, IQ2_S.entry(index), signs[part]);
    }
}

fn iq3_xxs(block: &[u8], values: &mut [f32]) {
    let scale = half(block, 0);
    for (group, values) in values.chunks_exact_mut(32).enumerate() {
        let (indices, signs) = (&block[2 + 8 * group..], long(block, 66 + 4 * group));
        let scale = scale * (0.5 + (signs >> 28) as f32) * 0.5;
        for (part, values) in values.chunks_exact_mut(8).enumerate() {
            let entry = IQ3_XXS.entry(indices[2 * part].into()).chain(IQ3_XXS.entry(indices[2 * part + 1].into()));
            set(values, scale, entry, even_signs(signs >> (7 * part)));
        }
    }
}

fn iq3_s(block: &[u8], values: &mut [f32]) {
    let scale = half(block, 0);
    let (low, high, signs, scales) = (&block[2..66], &block[66..74], &block[74..106], &block[106..110]);
    let index = |place: usize| usize::from(low[place]) | usize::from(high[place / 8] >> (place % 8) & 1) << 8;
    for (part, values) in values.chunks_exact_mut(8).enumerate() {
        let scale = scale * f32::from(1 + 2 * nibble(scales, part / 4));
        let entry = IQ3_S.entry(index(2 * part)).chain(IQ3_S.entry(index(2 * part + 1)));
        set(values, scale, entry, signs[part]);
    }
}

/// What the types of one bit add to each value of an entry.
const DELTA: f32 = 0.125;

fn iq1_s(block: &[u8], values: &mut [f32]) {
    let scale = half(block, 0);
    for (group, values) in values.chunks_exact_mut(32).enumerate() {
        let high = short(block, 34 + 2 * group);
        let scale = scale * f32::from(2 * (high >> 12 & 7) + 1);
        let delta = if high & 0x8000 == 0 { DELTA } else { -DELTA };
        for (part, values) in values.chunks_exact_mut(8).enumerate() {
            let index = usize::from(block[2 + 4 * group + part]) | usize::from(high >> (3 * part) & 7) << 8;
            set(values, scale, IQ1.entry(index).map(|value| value + delta), 0);
        }
    }
}

fn iq1_m(block: &[u8], values: &mut [f32]) {
    let (low, high, scales) = (&block[..32], &block[32..48], &block[48..56]);
    // Four bits of the scale lie above each four of the others.
    let bits = (0..4).fold(0, |bits, place| bits | short(scales, 2 * place) >> 12 << (4 * place));
    let scale = f16::from_bits(bits).to_f32();
    for (part, values) in values.chunks_exact_mut(8).enumerate() {
        let own = short(scales, part / 8 * 2) >> (3 * (part / 2 % 4)) & 7;
        let high = nibble(high, part);
        let index = usize::from(low[part]) | usize::from(high & 7) << 8;
        let delta = if high & 8 == 0 { DELTA } else { -DELTA };
        set(values, scale * f32::from(2 * own + 1), IQ1.entry(index).map(|value| value + delta), 0);
    }
}

/// What the four bits of IQ4 stand for.
const IQ4: [f32; 16] =
    [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0];

/// Sets values to `scale` times what the lower halves of bytes stand for, and then the upper halves.
fn set_halves(values: &mut [f32], scale: f32, codes: &[u8], of_code: &[f32; 16]) {
    let halves = codes.iter().map(|code| code & 15).chain(codes.iter().map(|code| code >> 4));
    values.iter_mut().zip(halves).for_each(|(value, code)| *value = scale * of_code[usize::from(code)]);
}

fn iq4_nl(block: &[u8], values: &mut [f32]) {
    set_halves(values, half(block, 0), &block[2..], &IQ4);
}

fn iq4_xs(block: &[u8], values: &mut [f32]) {
    let (scale, high) = (half(block, 0), short(block, 2));
    for (group, values) in values.chunks_exact_mut(32).enumerate() {
        let own = u16::from(nibble(&block[4..8], group)) | (high >> (2 * group) & 3) << 4;
        set_halves(values, scale * (f32::from(own) - 32.0), &block[8 + 16 * group..24 + 16 * group], &IQ4);
    }
}

fn tq1_0(block: &[u8], values: &mut [f32]) {
    let scale = half(block, 52);
    // Each byte holds digits of base three: as a fraction of 256, from which one after the other is multiplied out.
    let parts = [(0..32, 5), (32..48, 5), (48..52, 4)];
    let mut values = values.iter_mut();
    for (bytes, digits) in parts {
        for power in [1u8, 3, 9, 27, 81].into_iter().take(digits) {
            for (byte, value) in block[bytes.clone()].iter().zip(&mut values) {
                let digit = (u16::from(byte.wrapping_mul(power)) * 3) >> 8;
                *value = scale * (f32::from(digit) - 1.0);
            }
        }
    }
}

fn tq2_0(block: &[u8], values: &mut [f32]) {
    let scale = half(block, 64);
    for (group, values) in values.chunks_exact_mut(32).enumerate() {
        let codes = &block[group / 4 * 32..];
        for (value, code) in values.iter_mut().zip(codes) {
            *value = scale * (f32::from(code >> (2 * (group % 4)) & 3) - 1.0);
        }
    }
}

/// Twice what the four bits of an E2M1 number stand for.
const E2M1: [f32; 16] = [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 0.0, -1.0, -2.0, -3.0, -4.0, -6.0, -8.0, -12.0];

fn mxfp4(block: &[u8], values: &mut [f32]) {
    // 2^(exponent − 128), which is subnormal for the two least.
    let bits = match block[0] {
        exponent @ (0 | 1) => 0x0020_0000 << exponent,
        exponent => u32::from(exponent - 1) << 23,
    };
    set_halves(values, f32::from_bits(bits), &block[1..], &E2M1);
}

fn nvfp4(block: &[u8], values: &mut [f32]) {
    for (group, values) in values.chunks_exact_mut(16).enumerate() {
        let scale = match block[group] & 0x7f {
            0x7f => 0.0,
            code => 0.5 * e4m3_to_f32(code),
        };
        set_halves(values, scale, &block[4 + 8 * group..12 + 8 * group], &E2M1);
    }
}
