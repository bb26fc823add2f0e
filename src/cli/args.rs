//! The command line: described here, and nothing more. [`super::settings`] turns it into values.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use super::answer_args::AnswerArgs;
pub use super::batch_args::{BatchArgs, JobFlags};
pub use super::compare_args::CompareArgs;
pub use super::evaluate_args::{EvaluateArgs, MinimizeArg, PrecisionArg, RuntimeArgs, ScanArgs, SearchArg, SlimArgs};
use super::flags::GivenFlags;
pub use super::gate_args::GateArgs;
pub use super::log_format::LogFormatArg;
pub use super::look_args::{BufferTypeArg, CheckArgs, InspectArgs, PlanArgs, VerifyArgs};
use super::parse;
pub use super::push_args::PushArgs;
use super::step_args;
pub use super::step_args::{RuntimeStepArgs, SizeStepArgs};
use crate::choice::gates::GATES;
use crate::rewrite::{Boundary, parse_boundary, parse_layers};

/// Make finished LoRA adapters smaller without retraining
///
/// A LoRA adapter is trained on every layer, but the lower ones do most of the work. lora-slim runs a few samples
/// through the base model, measures the loss with the adapter kept only below each layer, and writes a new PEFT adapter
/// without the layers that are not needed.
#[derive(Debug, Parser)]
#[command(name = "lora-slim", version, disable_help_flag = true, disable_version_flag = true, max_term_width = 100, after_help = exit_codes())]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Print this help; `lora-slim help COMMAND` prints the whole help of a command
    #[arg(short, long, global = true, action = clap::ArgAction::HelpShort)]
    pub help: Option<bool>,
    /// Print the version
    #[arg(short = 'V', long, action = clap::ArgAction::Version)]
    pub version: Option<bool>,
    /// Print nothing but results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Also print what is done, and with what
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Form of what goes to standard error: lines, or JSON objects, one a line, of progress, warnings and errors [default: text]
    #[arg(long, global = true, value_enum, value_name = "FORM")]
    pub log_format: Option<LogFormatArg>,
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
  5    the answer is no: verify found a difference, check a
       contradiction or a runtime that does not load the
       adapter, slim that it does not help
  6    a gate failed: nothing was written. The gates are
       {}
  70   a bug in lora-slim
  130  interrupted",
        gates.join(",\n       ")
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
    Push(PushArgs),
    Compare(CompareArgs),
    Completions(CompletionsArgs),
    /// Write the man page to stdout
    ///
    /// Example: lora-slim man > lora-slim.1
    Man,
    Schema(SchemaArgs),
}

/// Keep chosen layers, or reduce rank and type, without a base model or samples; works for any model family
#[derive(Debug, Args)]
#[command(after_help = "Example:
  lora-slim cut my-adapter --boundary 14 -o my-adapter-14
  lora-slim cut my-adapter --keep-layers 0-13,20 -o my-adapter-some
  lora-slim cut my-adapter --rank 8 --dtype bf16 -o my-adapter-8
  lora-slim cut my-adapter --boundary all --format gguf --base my-base -o out")]
pub struct CutArgs {
    #[command(flatten)]
    pub given: GivenFlags<CutArgs>,
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
    /// Layer stack to cut if the adapter has several, for example model.text_model.layers; or its side of a model that has an encoder and a
    /// decoder: `encoder` or `decoder` [default then: decoder]
    #[arg(long)]
    pub stack: Option<String>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Where a command writes an adapter that it does not evaluate, and what it prints of it.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// Folder to write; must not exist
    #[arg(short = 'o', long = "output", value_name = "OUT", required_unless_present = "dry_run")]
    pub folder: Option<PathBuf>,
    /// Replace OUT if it is an adapter folder
    #[arg(long)]
    pub force: bool,
    /// Do everything except writing OUT
    #[arg(long)]
    pub dry_run: bool,
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
  lora-slim fix epoch_2/adapter_model.pt --base my-base --alpha 16 -o out
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

/// Write shell completions to stdout
#[derive(Debug, Args)]
#[command(after_help = "Example:
  lora-slim completions bash > ~/.local/share/bash-completion/completions/lora-slim")]
pub struct CompletionsArgs {
    pub shell: clap_complete::Shell,
}

/// Write the JSON schema of what a command writes to stdout
#[derive(Debug, Args)]
#[command(after_help = "Example:
  lora-slim schema report > report.schema.json")]
pub struct SchemaArgs {
    /// What to describe
    #[arg(value_name = "DOCUMENT", value_enum, default_value_t = DocumentKind::Report)]
    pub document: DocumentKind,
}

/// A kind of JSON that the program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DocumentKind {
    /// What slim, scan and cut print with --json, and slim_report.json
    Report,
    /// A line of results.jsonl, and what batch prints with --json for each adapter
    Record,
    /// What inspect prints with --json
    Inspect,
    /// What check prints with --json
    Check,
    /// What check --list prints with --json
    Runtimes,
    /// What verify prints with --json
    Verify,
    /// What fix prints with --json
    Fix,
    /// What plan prints with --json
    Plan,
    /// What compare prints with --json
    Compare,
}
