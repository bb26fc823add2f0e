//! The command line of `batch`: the flags of `slim` and `cut`, and its own.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::args::{EvaluateArgs, RuntimeArgs};
use crate::batch::partition::Partition;
use crate::cli::flags;

/// Slim or cut all adapters below a folder, or those of a manifest
///
/// Each adapter is slimmed with samples and cut without; all flags of `slim` or `cut` apply to each. Adapters of one base model
/// share its sweeps. OUT gets an adapter folder and a line of results.jsonl for each adapter below IN, and summary.csv and
/// index.html. What was done before, from the same bytes with the same options, is not done again.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  lora-slim batch adapters --samples val.jsonl --chat -o slimmed
  lora-slim batch adapters --boundary 14 --jobs 4 -o cut
  lora-slim batch --manifest jobs.jsonl --partition hash:JOB_COMPLETION_INDEX/8 -o slimmed")]
pub struct BatchArgs {
    #[command(flatten)]
    pub flags: JobFlags,
    /// Jobs, a JSON object per line: adapter and, optionally, base, samples, output (its folder below OUT) and options (an object
    /// from flags to values, which win over those of the command line)
    #[arg(long, value_name = "FILE", conflicts_with = "adapter", required_unless_present = "adapter")]
    pub manifest: Option<PathBuf>,
    /// Folder to write into
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,
    /// Do one part of the work: hash:M/N is part M of N, by the hashes of names. M may be JOB_COMPLETION_INDEX (Kubernetes) or
    /// SLURM_ARRAY_TASK_ID, each of which counts in its own way, and N SLURM_ARRAY_TASK_COUNT
    #[arg(long, value_name = "PART")]
    pub partition: Option<Partition>,
    /// Adapters to cut at the same time, without samples [default: the number of processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub jobs: Option<u64>,
    /// With --minimize bytes: keep the same modules at the same rank in all adapters of a base model, the fewest that are surely as
    /// good for each of them. A server that holds one buffer for all needs the least memory so
    #[arg(long, requires = "minimize", conflicts_with = "partition")]
    pub common: bool,
    /// Stop at the first adapter that fails
    #[arg(long)]
    pub fail_fast: bool,
    /// Print what would be done and what it would take, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Read all bytes of finished outputs to see whether they are as they were written, and not only their sizes and
    /// samples of their bytes
    #[arg(long)]
    pub check: bool,
    /// Replace adapter folders in OUT that lora-slim did not write
    #[arg(long)]
    pub force: bool,
    /// Write a JSON object per finished adapter to stdout
    #[arg(long)]
    pub json: bool,
}

/// Flags of `slim` and `cut`, with a folder of adapters in place of the adapter. They stay words, because a job may add its own.
#[derive(Debug)]
pub struct JobFlags {
    pub input: Option<PathBuf>,
    pub words: Vec<OsString>,
}

impl Args for JobFlags {
    fn augment_args(command: Command) -> Command {
        let command = <RuntimeArgs as Args>::augment_args(<EvaluateArgs as Args>::augment_args(command));
        command
            .mut_arg("adapter", |arg| arg.required(false).value_name("IN").help("Folder with adapter folders below it"))
            .mut_arg("samples", |arg| arg.required(false))
            .mut_arg("report", |arg| arg.hide(true))
            .arg(
                Arg::new("keep_layers")
                    .long("keep-layers")
                    .value_name("LAYERS")
                    .help("Without samples: keep these layers, for example 0-13,20"),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for JobFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        if matches.contains_id("report") {
            let message = "batch writes a page for each adapter, beside its folder, without `--report`\n";
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, message));
        }
        let words = flags::typed(&Self::augment_args(Command::new("batch")), matches);
        let input = matches.get_one::<String>("adapter").map(PathBuf::from);
        Ok(Self { input, words })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
