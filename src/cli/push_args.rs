//! The flags of `push`.

use std::path::PathBuf;

use clap::Args;

/// Upload an adapter to the Hugging Face Hub, with the installed `hf`
///
/// `hf upload` does it, with its own login. The folder has to hold an adapter and nothing else but what belongs to it, as what
/// `slim`, `cut` and `fix` write.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  lora-slim push my-adapter-slim user/my-adapter-slim --private --dry-run")]
pub struct PushArgs {
    /// Folder of the adapter
    pub folder: PathBuf,
    /// Repository on the hub, `user/name`; it is created if it is not there
    pub repository: String,
    /// Create the repository as a private one
    #[arg(long)]
    pub private: bool,
    /// Show what would be uploaded, and open no connection
    #[arg(long)]
    pub dry_run: bool,
}
