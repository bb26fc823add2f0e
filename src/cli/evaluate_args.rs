//! The flags of the commands that measure an adapter: `slim` and `scan`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::answer_args::AnswerArgs;
use super::flags::GivenFlags;
use super::gate_args::GateArgs;
use super::parse;
use super::rule_args::RuleParser;
use super::step_args::{RuntimeStepArgs, SizeStepArgs, format_parser};
use crate::audit::runtimes::{self, Runtime};
use crate::choice::rules::{self, Rule};
use crate::choice::scale::Scaling;
use crate::export::Format;
use crate::samples::{self, read::PassedFiles};
/// Find the boundary and write the smaller adapter
#[derive(Debug, Args)]
#[command(after_help = "Example:
  lora-slim slim my-adapter --samples val.jsonl --chat -o my-adapter-slim
  lora-slim slim my-adapter --base model.gguf --samples val.jsonl --dry-run
  lora-slim slim my-adapter --samples val.jsonl --chat -o out --report slim.html")]
pub struct SlimArgs {
    #[command(flatten)]
    pub given: GivenFlags<SlimArgs>,
    #[command(flatten)]
    pub evaluate: EvaluateArgs,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// Folder to write; must not exist
    #[arg(short, long, value_name = "OUT", required_unless_present = "dry_run")]
    pub output: Option<PathBuf>,
    /// Replace OUT if it is an adapter folder, and the file of `--report` if it is a report
    #[arg(long)]
    pub force: bool,
    /// Do everything except writing OUT
    #[arg(long)]
    pub dry_run: bool,
    /// Write one JSON object to stdout: the report in OUT (schema: `lora-slim schema`)
    #[arg(long)]
    pub json: bool,
}

/// Show the loss at every boundary, write no adapter
#[derive(Debug, Args)]
#[command(after_help = "Example:
  lora-slim scan my-adapter --base model.gguf --samples val.jsonl --chat
  lora-slim scan my-adapter --samples val.jsonl --json > curve.json")]
pub struct ScanArgs {
    #[command(flatten)]
    pub given: GivenFlags<ScanArgs>,
    #[command(flatten)]
    pub evaluate: EvaluateArgs,
    /// Write one JSON object to stdout (schema: `lora-slim schema`)
    #[arg(long)]
    pub json: bool,
    /// Replace the file of `--report` if it is a report
    #[arg(long, requires = "report")]
    pub force: bool,
}

/// The flags that `slim` and `scan` share.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// PEFT adapter folder, or its name on the Hugging Face Hub, ORG/NAME or ORG/NAME@REVISION
    pub adapter: String,
    /// Base model: a folder, a GGUF file, or a name on the hub [default: the one that the adapter names]
    ///
    /// A folder is one of Hugging Face. A name is ORG/NAME or ORG/NAME/FILE.gguf. An adapter names its base model in
    /// base_model_name_or_path.
    #[arg(long)]
    pub base: Option<String>,
    /// Layer stack of the text decoder if the adapter has several, for example model.text_model.layers
    #[arg(long)]
    pub stack: Option<String>,
    #[arg(long, value_name = "PATH", required = true, long_help = samples::accepted(),
        help = "Validation samples: JSON lines, Parquet, CSV …, a folder of them, or - for standard input")]
    pub samples: Vec<PathBuf>,
    /// Split to read of a data set that has several, for example validation
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,
    /// Run prompts and completions through the model's chat template
    #[arg(long)]
    pub chat: bool,
    /// Tokenizer folder or tokenizer.json [default: the adapter's, else the base model's]
    #[arg(long, value_name = "PATH")]
    pub tokenizer: Option<PathBuf>,
    /// Chat template, a Jinja file, that replaces the model's own: for example the one of a training, which marks the assistant's
    /// turns with `{% generation %}`
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// Day that a chat template gives for today [default: 2024-07-26]
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub date: Option<samples::Date>,
    /// Score the assistant's turns only, also in completions of several turns (TRL's `assistant_only_loss`) [default: completions,
    /// and the assistant's turns in conversations]
    #[arg(long)]
    pub assistant_only: bool,
    /// Score prompts and the turns of all roles, too, as TRL does by default in conversations
    #[arg(long, conflicts_with = "assistant_only")]
    pub all_turns: bool,
    /// Field that holds the prompt
    #[arg(long, value_name = "NAME")]
    pub prompt_field: Option<String>,
    /// Field that holds the completion
    #[arg(long, value_name = "NAME")]
    pub completion_field: Option<String>,
    /// Score what the whole adapter answers, greedily, in place of the answers of --samples, which may be prompts alone: the choice
    /// then keeps what the adapter does, right or wrong
    #[arg(long, conflicts_with = "all_turns")]
    pub own_answers: bool,
    /// Field by which samples are sliced, for example domain: what is dropped has to keep the margin in each slice; all boundaries
    /// are evaluated then
    #[arg(long, value_name = "NAME")]
    pub slice_by: Option<String>,
    /// Use only the first N of --samples
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_samples: Option<u64>,
    /// Hold out this share of the samples to check the choice, for example 0.3 or 30%
    ///
    /// They are drawn at random, and do not choose.
    #[arg(long, value_name = "SHARE", allow_hyphen_values = true)]
    pub holdout: Option<String>,
    /// Samples that check the choice, in their own file, which is read like those of --samples
    #[arg(long, value_name = "FILE", conflicts_with = "holdout")]
    pub test: Option<PathBuf>,
    /// Cut samples that are longer than the model's context
    #[arg(long)]
    pub truncate: bool,
    /// Rule that chooses the boundary
    #[arg(long, value_name = "RULE", default_value = rules::SMALLEST.name(), value_parser = RuleParser)]
    pub choose: &'static dyn Rule,
    /// Judge by the loss alone. Otherwise no rule gives up more than the margin of the probability of the true tokens, which
    /// the loss does not show: an adapter that is less sure can have a lower loss and answer worse
    #[arg(long, conflicts_with = "by")]
    pub loss_only: bool,
    /// Let the measure of `--by` decide alone, without the guard of the probability of the true tokens
    #[arg(long)]
    pub no_guard: bool,
    /// Share of the adapter's gain over the base model that may be given up, for example 0.02 or 2%
    ///
    /// In loss (`smallest`) and in the probability of the true tokens (every rule).
    #[arg(long, value_name = "SHARE", default_value = "2%", allow_hyphen_values = true)]
    pub margin: String,
    /// One-sided confidence that no more than the margin is given up, from 0.5, for example 0.99 or 99%
    #[arg(long, value_name = "SHARE", default_value = "95%", allow_hyphen_values = true)]
    pub confidence: String,
    /// With `--choose best`: take the smallest boundary within one standard error of the lowest loss; all boundaries
    /// are evaluated then
    #[arg(long)]
    pub one_standard_error: bool,
    /// Also measure the probability curve, as `--choose curve` does: the probability of the true tokens after each layer,
    /// read through the final norm and the head
    #[arg(long)]
    pub probability: bool,
    /// Choose this boundary yourself: keep the layers below N
    #[arg(long, value_name = "N", value_parser = parse::boundary, conflicts_with_all = ["choose", "max_layers", "max_bytes"])]
    pub boundary: Option<usize>,
    /// Keep at most N layers
    #[arg(long, value_name = "N")]
    pub max_layers: Option<usize>,
    /// Keep at most this many bytes of tensors, for example 5MB
    #[arg(long, value_name = "SIZE", value_parser = parse::bytes)]
    pub max_bytes: Option<u64>,
    /// Scale the kept layers by this number, or by the best one on the samples (`tune`), through alpha
    #[arg(long, value_name = "tune|FACTOR", value_parser = parse::scaling)]
    pub scale: Option<Scaling>,
    /// Compare with other ways to reduce the adapter: a smaller scale, the highest layers, random layers, and the layers with
    /// the largest changes
    #[arg(long)]
    pub controls: bool,
    /// How to find the boundary [default: `adaptive` for slim, `exhaustive` for scan]
    ///
    /// Always `exhaustive` with limits and with --one-standard-error.
    #[arg(long, value_enum)]
    pub search: Option<SearchArg>,
    #[command(flatten)]
    pub answers: AnswerArgs,
    /// Look for the fewest bytes that are surely as good, or for the lowest loss within --max-bytes
    ///
    /// Any modules may be dropped, and the rank of each is reduced to what the samples need. In bf16, unless --dtype says
    /// otherwise. With --search exhaustive, sizes far from the smallest are measured too.
    #[arg(long, value_enum, conflicts_with_all = ["boundary", "choose", "scale", "controls", "by", "max_layers", "one_standard_error", "probability"])]
    pub minimize: Option<MinimizeArg>,
    /// Keep all modules at one rank with --minimize, for runtimes that know no other
    #[arg(long, requires = "minimize")]
    pub same_rank: bool,
    /// Memory for the sweep, for example 700MB [default: 4GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse::bytes)]
    pub memory: Option<u64>,
    /// Where to compute: cpu, cuda, cuda:N or metal, if this build supports it
    #[arg(long, default_value = "cpu", value_name = "NAME")]
    pub device: String,
    /// Arithmetic of matrix products; sums are always f32
    #[arg(long, value_enum, default_value_t = PrecisionArg::Auto)]
    pub precision: PrecisionArg,
    #[command(flatten)]
    pub reduce: SizeStepArgs,
    #[command(flatten)]
    pub gates: GateArgs<true>,
    /// Also write the result as an HTML page, which quotes a few samples
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Samples that are no files, from a program that calls this one.
    #[arg(skip)]
    pub passed: PassedFiles,
}

/// Flags that fit the written adapter to its runtimes.
#[derive(Debug, Default, Args)]
pub struct RuntimeArgs {
    #[command(flatten)]
    pub steps: RuntimeStepArgs,
    /// Format to write; gguf and mlx take names and sizes from the base model's configuration
    #[arg(long, value_parser = format_parser(), default_value_t = Format::Peft)]
    pub format: Format,
    /// Write nothing that one of these runtimes would not load, for example vllm,llama.cpp
    ///
    /// Nor what it would compute differently. It is refused before any work. `lora-slim check` names all runtimes.
    #[arg(long = "for", value_name = "NAMES", value_delimiter = ',', value_parser = runtimes::parse)]
    pub runtimes: Vec<&'static Runtime>,
    /// Leave README.md and the header of the weights without what the adapter was made of, and what was measured
    #[arg(long)]
    pub no_card: bool,
}

/// What `--minimize` minimises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MinimizeArg {
    /// The bytes that are written, as long as they are surely as good as the whole adapter
    Bytes,
    /// The loss, within --max-bytes
    Loss,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SearchArg {
    /// Drop boundaries as soon as the samples seen rule them out; the same choice with a probability of 95 %
    Adaptive,
    /// Evaluate every boundary on every sample: the whole curve
    Exhaustive,
    /// As adaptive; then drop layers from below, too, as long as the rule holds: a window of layers is kept
    Window,
    /// As adaptive; then drop more layers, anywhere, as long as the rule holds
    Subset,
    /// As subset, with attention and MLP of each layer separately
    Blocks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    /// bf16x2 where the processor's bf16 unit makes that faster than f32 (AMX; AVX512-BF16 of AMD; BFMMLA of Arm's own
    /// cores), tf32x2 with cuda, else f32
    Auto,
    F32,
    /// Activations as two bf16 values: nearly as exact as f32
    Bf16x2,
    /// Activations as one bf16 value: for a first look
    Bf16,
    /// On NVIDIA GPUs: activations in two parts for tensor cores, where weights are bf16: nearly as exact as f32
    Tf32x2,
}
