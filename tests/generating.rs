//! Greedy answers, token for token, against transformers + PEFT (`scripts/fixtures/generated.py`).

use std::collections::BTreeSet;
use std::path::Path;

use candle_core::Device;
use lora_slim::adapter::Adapter;
use lora_slim::error::{Error, MetricError};
use lora_slim::hub::BasePath;
use lora_slim::kernel::Arithmetic;
use lora_slim::measure::{self, Completion, GenerateOptions, Profile};
use lora_slim::model::{AdaptedModel, Model};
use lora_slim::samples::Prompt;
use serde_json::Value;

use crate::golden::folders_with_expectations;
use crate::support::{fixture, read_json};

/// Enough for all weights and prompts of a pico model.
const MEMORY: u64 = 1 << 30;

/// The prompts of a case with what is expected of them: `[boundary][prompt]`.
struct Case {
    boundaries: BTreeSet<usize>,
    prompts: Vec<Prompt>,
    expected: Vec<Vec<Vec<u32>>>,
}

impl Case {
    fn read(folder: &Path) -> Self {
        let expected = read_json(&folder.join("generated.json"));
        let samples = std::fs::read_to_string(fixture("pico/samples.tokens.jsonl")).unwrap();
        let samples: Vec<Value> = samples.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let numbers = |list: &Value| list.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        let boundaries: Vec<u32> = numbers(&expected["boundaries"]);
        let answers = expected["answers"].as_array().unwrap();
        let prompt = |answer: &Value| {
            let sample = &samples[answer["sample"].as_u64().unwrap() as usize];
            let (ids, labels) = (numbers(&sample["input_ids"]), sample["labels"].as_array().unwrap());
            let end = labels.iter().rposition(|label| label != -100).unwrap();
            let start = labels[..end].iter().rposition(|label| label == -100).unwrap() + 1;
            let ids: Vec<u32> = ids;
            Prompt { ids: ids[..start].to_vec(), stops: BTreeSet::new() }
        };
        let of_boundary = |place: usize| answers.iter().map(|answer| numbers(&answer["tokens"][place])).collect();
        Self {
            prompts: answers.iter().map(prompt).collect(),
            expected: (0..boundaries.len()).map(of_boundary).collect(),
            boundaries: boundaries.into_iter().map(|boundary| boundary as usize).collect(),
        }
    }

    fn most_tokens(&self) -> usize {
        self.expected[0][0].len()
    }
}

fn generated(folder: &Path, case: &Case, memory: u64) -> Vec<Vec<Completion>> {
    try_to_generate(folder, case, memory, &mut 0).unwrap()
}

/// The answers, and in how many passes they were found.
fn try_to_generate(folder: &Path, case: &Case, memory: u64, passes: &mut usize) -> Result<Vec<Vec<Completion>>, Error> {
    let (device, adapter) = (Device::Cpu, Adapter::open(&folder.join("adapter"), None)?);
    let (model, _) = Model::open(&BasePath::Folder(folder.join("base")), &device, Arithmetic::F32)?;
    let ends = AdaptedModel::load(&model, &adapter)?;
    let options = GenerateOptions { memory, max_new_tokens: case.most_tokens(), is_ended: None };
    let profile = |&boundary: &usize| Profile::below(boundary, model.config.layers);
    let profiles: Vec<Profile> = case.boundaries.iter().map(profile).collect();
    measure::generate(&ends, &case.prompts, &profiles, &options, &mut |step| {
        *passes = step.passes;
        true
    })
}

fn ids(answers: &[Vec<Completion>]) -> Vec<Vec<Vec<u32>>> {
    answers.iter().map(|answers| answers.iter().map(|answer| answer.ids.clone()).collect()).collect()
}

#[test]
fn every_family_answers_as_transformers_does() {
    for name in folders_with_expectations("pico") {
        let folder = fixture("pico").join(&name);
        if !folder.join("base/config.json").exists() {
            continue;
        }
        let case = Case::read(&folder);
        assert!(case.prompts.len() >= 4, "{name} has few prompts");
        let answers = generated(&folder, &case, MEMORY);
        assert_eq!(ids(&answers), case.expected, "{name}");
        assert!(answers.iter().flatten().all(|answer| !answer.stopped), "{name}");
    }
}

#[test]
fn little_memory_gives_the_same_answers_in_more_passes() {
    // With experts, with ALiBi, with keys that are turned anew, and a plain one.
    for name in ["qwen3-moe", "bloom", "phi3-longrope", "qwen2"] {
        let folder = fixture("pico").join(name);
        let case = Case::read(&folder);
        let (mut memory, mut passes) = (MEMORY, 0);
        loop {
            memory /= 2;
            match try_to_generate(&folder, &case, memory, &mut passes) {
                Ok(answers) => assert_eq!(ids(&answers), case.expected, "{name} with {memory} bytes"),
                Err(Error::Metric(MetricError::Memory { needed, budget })) => {
                    assert!(needed > budget && budget == memory && passes > 1, "{name}: {needed} of {budget}");
                    break;
                }
                Err(error) => panic!("{name}: {error}"),
            }
        }
    }
}

#[test]
fn a_stop_ends_its_own_answer_only() {
    let folder = fixture("pico/qwen2");
    let mut case = Case::read(&folder);
    let stop = case.expected[0][0][3];
    case.prompts[0].stops = BTreeSet::from([stop]);
    let answers = generated(&folder, &case, MEMORY);
    for (answers, expected) in answers.iter().zip(&case.expected) {
        let end = expected[0].iter().position(|&id| id == stop).map_or(expected[0].len(), |place| place + 1);
        assert_eq!((answers[0].ids.as_slice(), answers[0].stopped), (&expected[0][..end], expected[0].contains(&stop)));
        assert_eq!(answers[1].ids, expected[1]);
    }
    assert!(answers[0][0].stopped && answers[0][0].ids.len() <= 4);
}

#[test]
fn answers_end_at_the_context() {
    let folder = fixture("pico/qwen2");
    let mut case = Case::read(&folder);
    let context = read_json(&folder.join("base/config.json"))["max_position_embeddings"].as_u64().unwrap() as usize;
    for prompt in &mut case.prompts {
        prompt.ids = prompt.ids.iter().copied().cycle().take(context - 2).collect();
    }
    let answers = generated(&folder, &case, MEMORY);
    assert!(answers.iter().flatten().all(|answer| answer.ids.len() == 2 && !answer.stopped));
}
