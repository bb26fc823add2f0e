//! The rate of the sweep's matrix products, for the shapes of small and large models: candle's f32 against the bf16 units.
//!
//! ```text
//! CANDLE_NUM_THREADS=1 cargo bench --bench products -- [ROWS]
//! ```
//! One line of JSON per shape and arithmetic, in GFLOP/s of the product itself (the second product of bf16x2 is not
//! counted), for `scripts/bench/products.py`, which puts PyTorch's beside them. The streams of a sweep go through a
//! layer side by side, so each processor multiplies rows of its own here too.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use lora_slim::kernel::{self, Packed, Precision, Unit};
use rayon::prelude::*;

/// (model, inputs, outputs) of the largest products of a layer.
const SHAPES: [(&str, usize, usize); 6] = [
    ("135M", 576, 1536),
    ("135M", 1536, 576),
    ("1B", 2048, 8192),
    ("1B", 8192, 2048),
    ("8B", 4096, 14336),
    ("8B", 14336, 4096),
];

const ROUNDS: usize = 7;

fn main() -> candle_core::Result<()> {
    let rows = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(1024);
    for (model, inputs, outputs) in SHAPES {
        let xs = (0..rayon::current_num_threads())
            .map(|_| Tensor::randn(0f32, 1.0, (rows, inputs), &Device::Cpu))
            .collect::<candle_core::Result<Vec<_>>>()?;
        let weight = Tensor::randn(0f32, 1.0, (outputs, inputs), &Device::Cpu)?;
        let weight = weight.to_dtype(DType::BF16)?.to_dtype(DType::F32)?;
        let report = |arithmetic: &str, product: &(dyn Fn(&Tensor) -> candle_core::Result<Tensor> + Sync)| {
            let flop = 2.0 * (xs.len() * rows * inputs * outputs) as f64;
            let rate = flop / median_seconds(&xs, product)? / 1e9;
            println!(
                "{{\"model\": \"{model}\", \"inputs\": {inputs}, \"outputs\": {outputs}, \"rows\": {rows}, \
                 \"arithmetic\": \"{arithmetic}\", \"gflops\": {rate:.0}}}"
            );
            Ok::<_, candle_core::Error>(())
        };
        report("f32", &|x| x.matmul(&weight.t()?))?;
        for unit in Unit::available() {
            let packed = Packed::new(&weight, unit)?;
            let name = format!("{unit:?}").to_lowercase();
            report(&format!("bf16x2 {name}"), &|x| kernel::product(x, &packed, Precision::Two))?;
            report(&format!("bf16 {name}"), &|x| kernel::product(x, &packed, Precision::One))?;
        }
    }
    Ok(())
}

fn median_seconds(
    xs: &[Tensor],
    product: &(dyn Fn(&Tensor) -> candle_core::Result<Tensor> + Sync),
) -> candle_core::Result<f64> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        xs.par_iter().try_for_each(|x| product(x).map(drop))?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[ROUNDS / 2])
}
