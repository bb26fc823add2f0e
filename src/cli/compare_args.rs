//! The flags of `compare`.

use std::path::PathBuf;

use clap::Args;

/// Show reports side by side: what each adapter keeps, costs and scores
///
/// What makes their figures incomparable comes first: other samples, another base model, other settings.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  lora-slim compare out/subset out/minimized
  lora-slim compare monday.json tuesday.json --page compared.html")]
pub struct CompareArgs {
    /// Reports: outputs of slim and cut, or files of what slim, scan and cut print with --json
    #[arg(required = true, num_args = 2.., value_name = "REPORT")]
    pub reports: Vec<PathBuf>,
    /// Write the comparison as one HTML page, too
    #[arg(long, value_name = "FILE")]
    pub page: Option<PathBuf>,
    /// Replace FILE if it is a page of lora-slim
    #[arg(long, requires = "page")]
    pub force: bool,
    /// Write one JSON object to stdout
    #[arg(long)]
    pub json: bool,
}
