//! How near the sweep comes to its matrix products: the wall time of the exhaustive sweep against the time that the
//! same products take alone, at the rate that this machine reaches in the same run.
//!
//! ```text
//! CANDLE_NUM_THREADS=1 cargo bench --bench sweep -- ADAPTER BASE SAMPLES [COUNT]
//! ```
//! The variable is what the command sets for itself.
//! SAMPLES are tokens (`input_ids`, `labels`); the default is the pico model, which only shows that it runs.

use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use lora_slim::adapter::Adapter;
use lora_slim::hub::BasePath;
use lora_slim::kernel::Arithmetic;
use lora_slim::measure::{ComputeOptions, Curve, sweep};
use lora_slim::model::{AdaptedModel, Model, ModelConfig};
use lora_slim::samples::{EncodeOptions, FieldNames, Sample, encode, read};

/// Rows of the products that are timed: about those of a stream of 64 samples.
const ROWS: usize = 4096;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let given: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let argument = |place: usize, default: &str| given.get(place).cloned().unwrap_or(default.into());
    let adapter = argument(0, "fixtures/pico/llama-llama3-rope/adapter");
    let base = argument(1, "fixtures/pico/llama-llama3-rope/base");
    let samples = argument(2, "fixtures/pico/samples.tokens.jsonl");
    let count: usize = argument(3, "64").parse()?;

    let (model, _) = Model::open(&BasePath::find(&base, None)?, &Device::Cpu, Arithmetic::F32)?;
    let adapter = Adapter::open(Path::new(&adapter), None)?;
    let path = Path::new(&samples);
    let mut raws = read::read(path, &FieldNames::default())?;
    raws.truncate(count);
    let samples = encode::encode(raws, None, EncodeOptions::default(), path, path)?;

    let rate_before = rate(&model.config)?;
    let options = ComputeOptions { memory: 4 << 30, device: Device::Cpu };
    let start = Instant::now();
    let curve = sweep(&[&AdaptedModel::load(&model, &adapter)?], &samples, &options, &mut |_| true)?.remove(0);
    let wall = start.elapsed();
    let rate = (rate_before + rate(&model.config)?) / 2.0;

    let flops = flops(&model.config, &curve, &samples);
    let products = Duration::from_secs_f64(flops / rate);
    println!("samples {}, boundaries {}, {} layer tokens", samples.len(), curve.points.len(), curve.work.layer_tokens);
    println!("matrix products {:.3} TFLOP at {:.1} GFLOP/s: {:.2} s", flops / 1e12, rate / 1e9, products.as_secs_f64());
    println!(
        "sweep {:.2} s, {:.2} times its products",
        wall.as_secs_f64(),
        wall.as_secs_f64() / products.as_secs_f64()
    );
    Ok(())
}

/// The linear modules of a layer as (inputs, outputs).
fn shapes(config: &ModelConfig) -> [(usize, usize); 7] {
    let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
    [
        (hidden, config.query_size(0)),
        (hidden, config.kv_size(0)),
        (hidden, config.kv_size(0)),
        (config.query_size(0), hidden),
        (hidden, intermediate),
        (hidden, intermediate),
        (intermediate, hidden),
    ]
}

/// The products with base weights: layers for every token that goes through them, the head for every answer token.
fn flops(config: &ModelConfig, curve: &Curve, samples: &[Sample]) -> f64 {
    let layer: usize = shapes(config).iter().map(|(inputs, outputs)| 2 * inputs * outputs).sum();
    let head = 2 * config.hidden_size * config.vocab_size;
    let answers: usize = samples.iter().map(Sample::answers).sum();
    layer as f64 * curve.work.layer_tokens as f64 + (head * answers * curve.points.len()) as f64
}

/// FLOP/s of a layer's products, the median of seven.
fn rate(config: &ModelConfig) -> candle_core::Result<f64> {
    let device = &Device::Cpu;
    let operands = shapes(config)
        .into_iter()
        .map(|(inputs, outputs)| {
            let x = Tensor::randn(0f32, 1.0, (ROWS, inputs), device)?;
            Ok((x, Tensor::randn(0f32, 1.0, (outputs, inputs), device)?.t()?))
        })
        .collect::<candle_core::Result<Vec<_>>>()?;
    let flops: usize = shapes(config).iter().map(|(inputs, outputs)| 2 * ROWS * inputs * outputs).sum();
    let mut times = Vec::new();
    for _ in 0..7 {
        let start = Instant::now();
        for (x, w) in &operands {
            x.matmul(w)?;
        }
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(flops as f64 / times[3])
}
