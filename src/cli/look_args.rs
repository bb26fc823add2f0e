//! The flags of the commands that look at adapters and write none: `inspect`, `verify`, `check` and `plan`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::parse;
use crate::audit::runtimes::{self, Runtime};
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
    /// Layer stack to show first if the adapter has several: its name, `encoder` or `decoder`
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
    /// Layer stack that was cut if the adapter has several: its name, `encoder` or `decoder`
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
    /// Layer stack to check if the adapter has several: its name, `encoder` or `decoder`
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
