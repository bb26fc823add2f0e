//! The command line: described here, and nothing more. [`super::settings`] turns it into values.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use super::answer_args::AnswerArgs;
pub use super::batch_args::{BatchArgs, JobFlags};
pub use super::gate_args::GateArgs;
use super::parse;
use super::rule_args::RuleParser;
use super::step_args::{self, format_parser};
pub use super::step_args::{RuntimeStepArgs, SizeStepArgs};
use crate::audit::runtimes::{self, Runtime};
use crate::choice::gates::GATES;
use crate::choice::rules::{self, Rule};
use crate::choice::scale::Scaling;
use crate::export::Format;
use crate::rewrite::{Boundary, parse_boundary, parse_layers};
use crate::samples::{self, read::PassedFiles};

/// Make finished LoRA adapters smaller without retraining
///
/// A LoRA adapter is trained on every layer, but the lower ones do most of the work. lora-slim runs a few samples
/// through the base model, measures the loss with the adapter kept only below each layer, and writes a new PEFT adapter
/// without the layers that are not needed.
#[derive(Debug, Parser)]
#[command(name = "lora-slim", version, max_term_width = 100, after_help = exit_codes())]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Print nothing but results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Open no connection: take adapters and base models from this machine alone, as with HF_HUB_OFFLINE=1
    #[cfg(feature = "hub")]
    #[arg(long, global = true)]
    pub offline: bool,
    /// Take further flags from this file [default: lora-slim.toml in the working directory, if it is there]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "no_config")]
    pub config: Option<PathBuf>,
    /// Take no flags from a file
    #[arg(long, global = true)]
    pub no_config: bool,
    /// Print the flags of the command as a config file, and do nothing else
    #[arg(long, global = true)]
    pub print_config: bool,
}

fn exit_codes() -> String {
    let gates: Vec<String> = GATES.iter().map(|gate| format!("--{}", gate.name())).collect();
    format!(
        "\
Exit codes:
  0    done
  2    usage: the command line asks for something impossible
  3    bad input: it will fail again
  4    reading or writing failed: it may work later
  5    the answer is no: verify found a difference, check found a contradiction or a runtime that does not load the adapter,
       or slim found that the adapter does not help
  6    a gate failed ({}): nothing was written
  70   a bug in lora-slim
  130  interrupted",
        gates.join(", ")
    )
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Slim(SlimArgs),
    Scan(ScanArgs),
    Cut(CutArgs),
    Fix(FixArgs),
    Batch(BatchArgs),
    Inspect(InspectArgs),
    Verify(VerifyArgs),
    Check(CheckArgs),
    Plan(PlanArgs),
    Completions(CompletionsArgs),
    /// Write the man page to stdout
    ///
    /// Example: lora-slim man > lora-slim.1
    Man,
    /// Write the JSON schema of reports to stdout
    Schema,
}

/// Find the boundary and write the smaller adapter
#[derive(Debug, Args)]
#[command(after_help = "Example:
  lora-slim slim my-adapter --samples val.jsonl --chat -o my-adapter-slim
  lora-slim slim my-adapter --base model.gguf --samples val.jsonl --choose best -o out --dry-run
  lora-slim slim my-adapter --samples val.jsonl --chat -o my-adapter-slim --report slim.html")]
pub struct SlimArgs {
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
    /// Base model: a Hugging Face folder, a GGUF file, or a name on the Hugging Face Hub, ORG/NAME or ORG/NAME/FILE.gguf [default: the
    /// adapter's base_model_name_or_path]
    #[arg(long)]
    pub base: Option<String>,
    /// Layer stack of the text decoder if the adapter has several, for example model.text_model.layers
    #[arg(long)]
    pub stack: Option<String>,
    #[arg(long, value_name = "PATH", required = true, help = samples::accepted())]
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
    /// Hold out this share of the samples, drawn at random: they do not choose but check the choice, for example 0.3 or 30%
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
    /// Share of the adapter's gain over the base model that may be given up, in loss (`smallest`) and in the probability of the
    /// true tokens (every rule), for example 0.02 or 2%
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
    /// How to find the boundary [default: `adaptive` for slim, `exhaustive` for scan; always `exhaustive` with
    /// limits and with --one-standard-error]
    #[arg(long, value_enum)]
    pub search: Option<SearchArg>,
    #[command(flatten)]
    pub answers: AnswerArgs,
    /// Look for the fewest bytes that are surely as good (`bytes`), or for the lowest loss within --max-bytes (`loss`): drop any
    /// modules, and reduce the rank of each to what the samples need. In bf16, unless --dtype says otherwise. With --search
    /// exhaustive, sizes far from the smallest are measured too
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
    /// Arithmetic of matrix products; sums are always f32, and on devices other than the cpu so is everything
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
    /// Refuse, before any work, to write an adapter that one of these runtimes would not load or would compute differently, for
    /// example vllm,llama.cpp (`lora-slim check` names them all)
    #[arg(long = "for", value_name = "NAMES", value_delimiter = ',', value_parser = runtimes::parse)]
    pub runtimes: Vec<&'static Runtime>,
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
    /// bf16x2 where the processor's bf16 unit makes that faster than f32 (AMX; AMD's AVX512-BF16), else f32
    Auto,
    F32,
    /// Activations as two bf16 values: nearly as exact as f32
    Bf16x2,
    /// Activations as one bf16 value: for a first look
    Bf16,
}

/// Keep chosen layers, or reduce rank and type, without a base model or samples; works for any model family
#[derive(Debug, Args)]
#[command(after_help = "Example:
  lora-slim cut my-adapter --boundary 14 -o my-adapter-14
  lora-slim cut my-adapter --keep-layers 0-13,20 -o my-adapter-some
  lora-slim cut my-adapter --rank 8 --dtype bf16 -o my-adapter-8
  lora-slim cut my-adapter --boundary all --format gguf --base my-base-model -o my-adapter-gguf")]
pub struct CutArgs {
    /// PEFT adapter folder, or its name on the Hugging Face Hub
    pub adapter: String,
    /// Keep the layers below N, or all [default: all, if another flag asks for a change]
    #[arg(long, value_name = "N|all", conflicts_with = "keep_layers", value_parser = parse_boundary,
        required_unless_present_any = step_args::names().chain(["keep_layers", "format"]))]
    pub boundary: Option<Boundary>,
    /// Keep these layers, for example 0-13,20
    #[arg(long, value_name = "LAYERS", value_parser = parse_layers)]
    pub keep_layers: Option<std::collections::BTreeSet<usize>>,
    /// Scale the kept layers by this number, through alpha
    #[arg(long, value_name = "FACTOR", value_parser = parse::scale, default_value_t = 1.0)]
    pub scale: f64,
    #[command(flatten)]
    pub reduce: SizeStepArgs,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    #[command(flatten)]
    pub gates: GateArgs<false>,
    /// Base model, of which only the configuration is read: --format gguf and mlx need it, and it may decide which runtimes
    /// load the result [default: the adapter's base_model_name_or_path]
    #[arg(long)]
    pub base: Option<String>,
    /// Layer stack to cut if the adapter has several, for example model.text_model.layers
    #[arg(long)]
    pub stack: Option<String>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Where a command writes an adapter that it does not evaluate, and what it prints of it.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// Folder to write; must not exist
    #[arg(short = 'o', long = "output", value_name = "OUT")]
    pub folder: PathBuf,
    /// Replace OUT if it is an adapter folder
    #[arg(long)]
    pub force: bool,
    /// Write one JSON object to stdout: what was done (for `cut`, the report in OUT; schema: `lora-slim schema`)
    #[arg(long)]
    pub json: bool,
}

/// Write an adapter as PEFT saves it: names, configuration and layout of other trainers, and PEFT's own with something missing
///
/// Each change is printed. Values are only moved, never computed anew; what is not certain is refused.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  lora-slim fix mlx-adapter -o my-adapter
  lora-slim fix epoch_2/adapter_model.pt --base my-base-model --alpha 16 -o my-adapter
  lora-slim verify mlx-adapter my-adapter")]
pub struct FixArgs {
    /// Folder or file of the adapter, or its name on the Hugging Face Hub
    pub adapter: String,
    /// Base model, whose names the adapter gets; torchtune and NeMo also need the sizes of its attention [default: the one that
    /// the adapter names, if it is on this machine]
    #[arg(long)]
    pub base: Option<String>,
    /// Alpha of the training, where no file says it
    #[arg(long, value_name = "NUMBER", value_parser = parse::alpha)]
    pub alpha: Option<f64>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Show what an adapter consists of
#[derive(Debug, Args)]
#[command(after_help = "Example:
  lora-slim inspect my-adapter")]
pub struct InspectArgs {
    /// PEFT adapter folder, or its name on the Hugging Face Hub
    pub adapter: String,
    /// Base model to compare saved embeddings and heads with [default: the adapter's base_model_name_or_path, if it is on this machine]
    #[arg(long)]
    pub base: Option<String>,
    /// Layer stack to show if the adapter has several
    #[arg(long)]
    pub stack: Option<String>,
    /// Write one JSON object to stdout
    #[arg(long)]
    pub json: bool,
}

/// Prove that an adapter is another one without its upper layers, and nothing else, or what `fix` has to make of it
#[derive(Debug, Args)]
#[command(after_help = "Example:
  lora-slim verify my-adapter my-adapter-slim && rsync my-adapter-slim …")]
pub struct VerifyArgs {
    /// The adapter that was cut or mended, a folder or a name
    pub original: PathBuf,
    /// The adapter that was written
    pub slimmed: PathBuf,
    /// Layer stack that was cut if the adapter has several
    #[arg(long)]
    pub stack: Option<String>,
    /// Allow kept layers that are not all below one boundary, and layers that keep only some of their modules
    /// (`cut --keep-layers`, `--search subset` and `blocks`)
    #[arg(long)]
    pub any_layers: bool,
    /// Expect the original scaled by this number (`--scale`)
    #[arg(long, value_name = "FACTOR", value_parser = parse::scale, default_value_t = 1.0)]
    pub scale: f64,
    /// Allow other ranks and types if each module's ΔW differs by at most this share of its norm, for example 0.05 or 5%
    #[arg(long, value_name = "SHARE", allow_hyphen_values = true)]
    pub tolerance: Option<String>,
    /// After `fix`: the base model, if `fix` was given one. After `--dead-weight`: the base model that whole weights are compared with
    /// [default then: the adapter's base_model_name_or_path]
    #[arg(long)]
    pub base: Option<String>,
    /// After `fix`: the alpha that `fix` was given
    #[arg(long, value_name = "NUMBER", value_parser = parse::alpha)]
    pub alpha: Option<f64>,
    /// Write one JSON object to stdout
    #[arg(long)]
    pub json: bool,
}

/// Find out which runtimes load an adapter as it was trained, and whether it is complete
///
/// Each runtime loads it, loads it but computes something else (`differs`), or refuses it; the reasons name what helps. The facts
/// come from the runtimes' sources, in the versions that docs/runtimes.md names. The exit code is 5 if a runtime that --runtime
/// names does not load the adapter, or if its configuration and its tensors contradict each other.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  lora-slim check my-adapter
  lora-slim check my-adapter --runtime vllm,llama.cpp && deploy …")]
pub struct CheckArgs {
    /// PEFT adapter folder, or its name on the Hugging Face Hub; or the output of `--format gguf` or `mlx`
    #[arg(required_unless_present = "list")]
    pub adapter: Option<String>,
    /// Runtimes to check, for example vllm,llama.cpp [default: all, without effect on the exit code]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = runtimes::parse)]
    pub runtime: Vec<&'static Runtime>,
    /// Base model to compare layers and shapes with: a Hugging Face folder, a GGUF file, or a name on the Hugging Face
    /// Hub
    #[arg(long)]
    pub base: Option<String>,
    /// Layer stack to check if the adapter has several
    #[arg(long)]
    pub stack: Option<String>,
    /// Write one JSON object to stdout
    #[arg(long)]
    pub json: bool,
    /// Print everything known about runtimes as Markdown, or with --json as one object, and check nothing
    #[arg(long, conflicts_with_all = ["adapter", "runtime", "base", "stack"])]
    pub list: bool,
}

/// Find out what servers allocate for adapters, and the options that make them allocate no more
///
/// vLLM and SGLang allocate buffers for adapters when they start, for all modules and for a rank, whatever their adapters have. The
/// options that this prints limit the buffers to what the given adapters have together. The bytes are those of one slot, which one
/// adapter at a time is in, on one device.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  lora-slim plan my-adapter --runtime vllm
  lora-slim plan adapters/ --base my-base-model --runtime vllm,sglang
  lora-slim plan new-adapter --runtime vllm --given '--max-lora-rank 8 --lora-target-modules …' && deploy …")]
pub struct PlanArgs {
    /// PEFT adapter folders, folders that hold several, or names on the Hugging Face Hub, that one server will have
    #[arg(required = true, value_name = "ADAPTER")]
    pub adapters: Vec<String>,
    /// Runtimes, for example vllm [default: all that allocate buffers]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = runtimes::parse)]
    pub runtime: Vec<&'static Runtime>,
    /// Base model, of which only the configuration is read [default: the first adapter's base_model_name_or_path]
    #[arg(long)]
    pub base: Option<String>,
    /// Type of the server's buffers, which is that of its model
    #[arg(long, value_enum, default_value_t = BufferTypeArg::Bf16)]
    pub dtype: BufferTypeArg,
    /// Options of a server: check that the adapters fit into its buffers, and exit with 5 if one does not
    #[arg(long, value_name = "FLAGS", allow_hyphen_values = true)]
    pub given: Option<String>,
    /// Write one JSON object to stdout
    #[arg(long)]
    pub json: bool,
}

/// The type of a server's buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BufferTypeArg {
    F32,
    F16,
    Bf16,
}

impl BufferTypeArg {
    pub fn bytes(self) -> u64 {
        if self == BufferTypeArg::F32 { 4 } else { 2 }
    }
}

/// Write shell completions to stdout
#[derive(Debug, Args)]
#[command(after_help = "Example:
  lora-slim completions bash > ~/.local/share/bash-completion/completions/lora-slim")]
pub struct CompletionsArgs {
    pub shell: clap_complete::Shell,
}
