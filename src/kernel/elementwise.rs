//! Vectorised exponentials: the element-wise work that is left beside products.
//!
//! The loops are plain and branch-free, so that the compiler vectorises them. They are compiled twice, once for processors
//! with AVX-512 and once for all others.

/// eˣ with an error of about one unit in the last place, for x up to 88; 0 far below.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts, so that the product with a small integer is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5 · 2²³ rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let rest = x - whole * LN2_HIGH - whole * LN2_LOW;
    // Cephes' polynomial for eˣ on ±ln 2 / 2.
    let mut sum = 1.987_569_1e-4;
    for factor in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        sum = sum * rest + factor;
    }
    let power = sum * rest * rest + rest + 1.0;
    // The integer is in the low bits of the shifted number.
    power * f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23)
}

/// tanh(x) with an error of about one unit in the last place.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    // Cephes' polynomial up to 0.625, where the other form would cancel.
    let square = x * x;
    let mut sum = -5.704_989e-3;
    for factor in [2.063_909e-2, -5.373_971_6e-2, 0.133_314_42, -0.333_332_8] {
        sum = sum * square + factor;
    }
    let near = sum * square * x + x;
    let far = (1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0)).copysign(x);
    if x.abs() < 0.625 { near } else { far }
}

/// Whether the processor has what loops are compiled for besides.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

/// Compiles a loop for AVX-512 too, and runs that version where the processor has it.
macro_rules! for_each_processor {
    ($(#[$doc:meta])* pub fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? { $inner:ident }) => {
        $(#[$doc])*
        pub fn $name($($argument: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn wide($($argument: $type),*) $(-> $result)? {
                    $inner($($argument),*)
                }
                if $crate::kernel::elementwise::has_avx512() {
                    // SAFETY: the processor has what the function is compiled for.
                    return unsafe { wide($($argument),*) };
                }
            }
            $inner($($argument),*)
        }
    };
}
pub(super) use for_each_processor;

for_each_processor! {
    /// gate ← SiLU(gate) · up.
    pub fn silu_times(gate: &mut [f32], up: &[f32]) { silu_times_inner }
}

#[inline(always)]
fn silu_times_inner(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + exp(-*gate)) * up;
    }
}

for_each_processor! {
    /// Σ exp(x − largest), in as many f32 sums as a register holds, each of a few hundred values below 1.
    pub fn sum_exp(values: &[f32], largest: f32) -> f64 { sum_exp_inner }
}

#[inline(always)]
fn sum_exp_inner(values: &[f32], largest: f32) -> f64 {
    let mut lanes = [0f32; 16];
    let (blocks, rest) = values.as_chunks::<16>();
    for block in blocks {
        for (lane, &value) in lanes.iter_mut().zip(block) {
            *lane += exp(value - largest);
        }
    }
    let rest: f32 = rest.iter().map(|&value| exp(value - largest)).sum();
    lanes.into_iter().chain([rest]).map(f64::from).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_exact_to_the_last_place_or_two() {
        for i in -8700..8800 {
            let x = i as f32 / 100.0;
            let relative = f64::from(exp(x)) / f64::from(x).exp() - 1.0;
            assert!(relative.abs() < 2.5e-7, "e^{x}: {relative}");
        }
        assert!(exp(-1000.0) < 1e-37 && exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn hyperbolic_tangents_are_exact_to_the_last_place_or_two() {
        for i in -5000..5000 {
            let x = i as f32 / 250.0;
            let error = f64::from(tanh(x)) - f64::from(x).tanh();
            assert!(error.abs() <= 2.5e-7 * f64::from(x).tanh().abs(), "tanh {x}: {error}");
        }
        assert!(tanh(1000.0) == 1.0 && tanh(-1000.0) == -1.0);
    }

    #[test]
    fn loops_are_what_they_say() {
        let values: Vec<f32> = (0..77).map(|i| (i as f32 - 40.0) / 5.0).collect();
        let mut gate = values.clone();
        silu_times(&mut gate, &values);
        for (gate, &x) in gate.iter().zip(&values) {
            let expected = f64::from(x) * f64::from(x) / (1.0 + (-f64::from(x)).exp());
            assert!((f64::from(*gate) - expected).abs() < 1e-5, "{x}: {gate}");
        }
        let expected: f64 = values.iter().map(|&x| f64::from(x - 8.0).exp()).sum();
        assert!((sum_exp(&values, 8.0) / expected - 1.0).abs() < 1e-6);
    }
}
