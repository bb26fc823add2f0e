//! What lora-slim's own forward pass makes of prompts, for `scripts/interop` to hold against other runtimes: the logits of
//! every word behind each prompt, and how greedy decoding goes on. Dense models only.
//!
//! ```text
//! cargo run --release --example logits -- BASE ADAPTER PROMPTS.json 24 > logits.json
//! ```
//! The prompts are a JSON list of lists of token ids; behind them stands the most tokens of an answer.

use std::error::Error;
use std::path::Path;

use candle_core::Device;
use lora_slim::adapter::Adapter;
use lora_slim::hub::BasePath;
use lora_slim::kernel::Arithmetic;
use lora_slim::measure::{self, GenerateOptions, Profile};
use lora_slim::model::{AdaptedModel, Model, Pass};
use lora_slim::samples::Prompt;
use lora_slim::samples::packing::Batch;
use serde_json::json;

/// The memory that generating may take.
const MEMORY: u64 = 4 << 30;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, adapter, prompts, max_new_tokens] = arguments.as_slice() else {
        return Err("give a base, an adapter, a file of prompts and a number of tokens".into());
    };
    let prompts: Vec<Vec<u32>> = serde_json::from_slice(&std::fs::read(prompts)?)?;
    let adapter = Adapter::open(Path::new(adapter), None)?;
    let (model, _) = Model::open(&BasePath::find(base, None)?, &Device::Cpu, Arithmetic::F32)?;
    let ends = AdaptedModel::load(&model, &adapter)?;
    let logits = prompts.iter().map(|ids| next_word(&ends, ids)).collect::<Result<Vec<_>, _>>()?;
    let greedy = continuations(&ends, prompts, max_new_tokens.parse()?)?;
    println!("{}", json!({ "logits": logits, "greedy": greedy }));
    Ok(())
}

/// The logits of all words behind a prompt.
fn next_word(ends: &AdaptedModel, ids: &[u32]) -> Result<Vec<f32>, Box<dyn Error>> {
    let model = ends.model();
    let batch = Batch::growing([(ids, 0)]);
    let pass = Pass::new(model, &batch)?;
    let mut hidden = ends.first_hidden(&batch)?;
    for index in 0..model.config.layers {
        let layer = model.layer(index)?.adapted(ends.adapter().load_layer(index, model.device())?)?;
        let (next, routed) = layer.forward(&hidden, &pass, None)?;
        if routed.is_some() {
            return Err("models with experts are not for this example".into());
        }
        hidden = next;
    }
    let last = hidden.narrow(0, hidden.dim(0)? - 1, 1)?;
    let normed = ends.final_norm().forward(&last)?;
    let logits = ends.head(0..ends.head_size()?)?.forward(&normed)?;
    Ok((logits * model.config.scales.logits)?.flatten_all()?.to_vec1()?)
}

/// The greedy answers, each up to and with the word that ends it.
fn continuations(
    ends: &AdaptedModel,
    prompts: Vec<Vec<u32>>,
    max_new_tokens: usize,
) -> lora_slim::Result<Vec<Vec<u32>>> {
    let model = ends.model();
    let prompts: Vec<Prompt> = prompts.into_iter().map(|ids| Prompt { ids, stops: model.stops.clone() }).collect();
    let profile = Profile::below(model.config.layers, model.config.layers);
    let options = GenerateOptions { memory: MEMORY, max_new_tokens, is_ended: None };
    let answers = measure::generate(ends, &prompts, &[profile], &options, &mut |_| true)?;
    Ok(answers.into_iter().flatten().map(|answer| answer.ids).collect())
}
