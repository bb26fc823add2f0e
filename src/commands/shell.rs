//! What the command line definitions give besides parsing: completions, the man page, the report's schema.

use clap::CommandFactory;

use super::{print, print_json};
use crate::cli::{Cli, CompletionsArgs};
use crate::error::{FileError, Result};
use crate::report;

pub fn completions(args: CompletionsArgs) -> Result<bool> {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "lora-slim", &mut out);
    print(&String::from_utf8_lossy(&out));
    Ok(true)
}

/// The main page, with a page for each command behind it.
pub fn man() -> Result<bool> {
    let mut out = Vec::new();
    let mut command = Cli::command();
    command.build();
    let pages = std::iter::once(command.clone()).chain(command.get_subcommands().cloned());
    for page in pages {
        clap_mangen::Man::new(page).render(&mut out).map_err(FileError::write("stdout".as_ref()))?;
    }
    print(&String::from_utf8_lossy(&out));
    Ok(true)
}

pub fn schema() -> Result<bool> {
    print_json(&report::schema());
    Ok(true)
}
