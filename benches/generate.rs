//! How long greedy answers take, and which tokens they are. `scripts/check/generation.py` compares both with transformers.
//!
//! ```text
//! CANDLE_NUM_THREADS=1 cargo bench --bench generate -- ADAPTER BASE SAMPLES.tokens.jsonl 0,15,30 64 f32 > answers.json
//! ```
//! The variable is what the command sets for itself. Behind the samples stand the boundaries, the most tokens of an answer, and
//! the arithmetic (`f32` or `auto`).

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use candle_core::Device;
use lora_slim::adapter::Adapter;
use lora_slim::cli::PrecisionArg;
use lora_slim::cli::settings;
use lora_slim::hub::BasePath;
use lora_slim::measure::{self, GenerateOptions, Profile};
use lora_slim::model::device::DeviceName;
use lora_slim::model::{AdaptedModel, Model};
use lora_slim::pipeline::request::{DEFAULT_MEMORY, Scoring};
use lora_slim::samples::Prompt;
use lora_slim::samples::{FieldNames, SampleContent, read};

fn main() -> lora_slim::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [adapter, base, samples, boundaries, max_new_tokens, precision] = arguments.as_slice() else {
        eprintln!("give an adapter, a base, a file of token samples, boundaries, a number of tokens, and f32 or auto");
        return Ok(());
    };
    let precision = if precision == "f32" { PrecisionArg::F32 } else { PrecisionArg::Auto };
    let device = Device::Cpu;
    let adapter = Adapter::open(Path::new(adapter), None)?;
    let arithmetic = settings::arithmetic(precision, DeviceName::Cpu)?;
    let (model, _) = Model::open(&BasePath::find(base, None)?, &device, arithmetic)?;
    let ends = AdaptedModel::load(&model, &adapter)?;
    let prompts: Vec<Prompt> = read::read(Path::new(samples), &FieldNames::default())?
        .into_iter()
        .filter_map(|raw| match raw.content {
            SampleContent::Tokens { ids, scored } => {
                let end = scored.iter().rposition(|&scored| scored)?;
                let start = scored[..end].iter().rposition(|&scored| !scored)? + 1;
                Some(Prompt { ids: ids[..start].to_vec(), stops: model.stops.clone() })
            }
            _ => None,
        })
        .collect();
    let boundaries: BTreeSet<usize> = boundaries.split(',').filter_map(|boundary| boundary.parse().ok()).collect();
    let max_new_tokens = max_new_tokens.parse().unwrap_or(Scoring::DEFAULT_MAX_NEW_TOKENS);
    let options = GenerateOptions { memory: DEFAULT_MEMORY, max_new_tokens, is_ended: None };
    let start = Instant::now();
    let layers = ends.model().config.layers;
    let profiles: Vec<Profile> = boundaries.iter().map(|&boundary| Profile::below(boundary, layers)).collect();
    let answers = measure::generate(&ends, &prompts, &profiles, &options, &mut |_| true)?;
    let seconds = start.elapsed().as_secs_f64();
    let ids: Vec<Vec<&[u32]>> =
        answers.iter().map(|answers| answers.iter().map(|answer| answer.ids.as_slice()).collect()).collect();
    let tokens: usize = ids.iter().flatten().map(|ids| ids.len()).sum();
    eprintln!("{tokens} tokens in {seconds:.1} s, {arithmetic}");
    println!("{}", serde_json::json!({"boundaries": boundaries, "seconds": seconds, "answers": ids}));
    Ok(())
}
