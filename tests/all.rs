//! One test binary. Each module has its own folder to work in and drives the library or the program from outside.

mod support;

mod accounted;
mod alternatives;
mod answers;
mod applied;
mod bad_input;
mod bases;
mod batch;
mod batch_checked;
mod batch_jobs;
mod broken;
mod card;
mod choosing;
mod commands;
mod common;
mod compared;
mod config_file;
mod contradicted;
mod dead_weight;
#[cfg(any(feature = "cuda", feature = "metal"))]
mod device;
mod encoders;
mod environment;
mod export;
mod export_blocks;
mod export_refused;
mod facade;
mod foreign;
mod fuzzed;
mod gates;
mod gemma3n;
mod gemma4;
mod generating;
mod gguf_converted;
mod gguf_tokenizers;
mod golden;
#[cfg(target_os = "linux")]
mod hostile;
#[cfg(feature = "hub")]
mod hub;
mod hybrids;
mod inputs_kept;
mod judged_by_answers;
mod kills;
mod layouts;
mod mamba;
mod messages;
mod metrics;
mod minimized;
mod mixtures;
#[cfg(target_os = "linux")]
mod mounts;
mod names;
mod ours;
mod panics;
mod pipelines;
mod places;
mod portable;
mod prefixes;
mod probability;
mod profiles;
#[cfg(unix)]
mod push;
mod reduce;
mod refined_errors;
mod report_page;
mod runtimes;
mod sample_files;
mod sample_forms;
mod samples;
mod search;
mod sensitivities;
mod serving;
mod streamed;
mod streams;
mod subset;
mod switches;
mod templates;
mod terminal;
mod together;
mod tokenizer_files;
mod tokenizer_process;
mod trl;
mod warnings;
mod window;
