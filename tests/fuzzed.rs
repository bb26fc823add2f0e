//! Readers under bytes that may be anything: they return, with a value or an error, and never panic.
//!
//! `LORA_SLIM_FUZZ_SECONDS=600 cargo test --release --locked --test all fuzzed -- --ignored --nocapture` runs each target for that
//! long, on all processors; `fuzz/` has the same targets for cargo-fuzz, and in `fuzz/corpus` the inputs that it kept.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use lora_slim::hub::BasePath;
use lora_slim::kernel::Arithmetic;
use lora_slim::model::Model;
use lora_slim::samples::TextModel;

use crate::support::mutate::{mutate, seeds};
use crate::support::small_gguf::small_gguf;
use crate::support::targets::{TARGETS, Target};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        TARGETS.iter().for_each(|(_, run)| run(&bytes));
    }

    #[test]
    fn any_text(text in "\\PC{0,100}") {
        TARGETS.iter().for_each(|(_, run)| run(text.as_bytes()));
    }
}

/// Files that were valid before some bytes were changed. The same ones each time.
#[test]
fn broken_files() {
    for target @ (name, _) in TARGETS {
        let mut random = fastrand::Rng::with_seed(1);
        let seeds = seeds(name);
        for _ in 0..300 {
            once(target, &seeds, &mut random);
        }
    }
}

/// What cargo-fuzz kept: an input for each way through the readers that it found, and the ones that were once handled wrongly.
#[test]
fn corpora() {
    for target @ (name, _) in TARGETS {
        let mut inputs: Vec<_> = std::fs::read_dir(corpus(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "{name}");
        for input in inputs {
            run_named(target, &std::fs::read(&input).unwrap(), || input.display().to_string());
        }
    }
}

/// Otherwise its changes would all be refused at the same place.
#[test]
fn the_small_model_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("base.gguf");
    std::fs::write(&path, small_gguf()).unwrap();
    let (model, metadata) =
        Model::open(&BasePath::Gguf(path.clone()), &candle_core::Device::Cpu, Arithmetic::F32).unwrap();
    assert!(model.layer(0).is_ok());
    assert!(TextModel::from_gguf(&metadata.unwrap(), &path).is_ok());
}

fn corpus(target: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// Writes the valid files that the tests begin with, from which cargo-fuzz begins, too.
#[test]
#[ignore = "writes to fuzz/seeds"]
fn write_seeds() {
    for (name, _) in TARGETS {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for (place, seed) in seeds(name).iter().enumerate() {
            std::fs::write(folder.join(place.to_string()), seed).unwrap();
        }
    }
}

/// Runs a target on one broken file. If it panics, the file is kept to be looked at.
fn once((name, run): Target, seeds: &[Vec<u8>], random: &mut fastrand::Rng) {
    let bytes = mutate(seeds[random.usize(0..seeds.len())].clone(), seeds, random);
    run_named((name, run), &bytes, || {
        let path = std::env::temp_dir().join(format!("fuzzed-{name}-{:x}", random.u32(..)));
        std::fs::write(&path, &bytes).unwrap();
        path.display().to_string()
    });
}

/// Runs a target on an input that `place` names if it panics.
fn run_named((name, run): Target, bytes: &[u8], place: impl FnOnce() -> String) {
    if catch_unwind(AssertUnwindSafe(|| run(bytes))).is_err() {
        panic!("`{name}` panics on {}", place());
    }
}

#[test]
#[ignore = "runs for as long as LORA_SLIM_FUZZ_SECONDS says, for each target"]
fn for_a_long_time() {
    let seconds = std::env::var("LORA_SLIM_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(60);
    let wanted = std::env::var("LORA_SLIM_FUZZ_TARGET").ok();
    let is_wanted = |(name, _): &Target| wanted.as_ref().is_none_or(|wanted| wanted == name);
    let targets = Mutex::new(TARGETS.into_iter().filter(is_wanted).collect::<Vec<_>>());
    let next = || targets.lock().unwrap().pop();
    let work = || {
        while let Some(target) = next() {
            let (mut random, seeds, started) = (fastrand::Rng::new(), seeds(target.0), Instant::now());
            let mut executions = 0u64;
            while started.elapsed() < Duration::from_secs(seconds) {
                once(target, &seeds, &mut random);
                executions += 1;
            }
            println!("{}: {executions} executions in {:.0} s", target.0, started.elapsed().as_secs_f64());
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
    std::thread::scope(|scope| (0..processors).for_each(|_| drop(scope.spawn(work))));
}
