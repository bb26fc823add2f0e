//! `lora-slim completions`, `man` and `schema`: texts about the program itself.

use super::output::{print_json, print_program};
use super::schemas;
use crate::cli::{CompletionsArgs, SchemaArgs, help};
use crate::error::{FileError, Result};

pub fn completions(args: CompletionsArgs) -> Result<bool> {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, &mut help::command(), "lora-slim", &mut out);
    print_program(&String::from_utf8_lossy(&out)).map(|()| true)
}

/// The main page, followed by a page for each command.
pub fn man() -> Result<bool> {
    let mut out = Vec::new();
    let mut command = help::command();
    command.build();
    let pages = std::iter::once(command.clone()).chain(command.get_subcommands().cloned());
    for page in pages {
        clap_mangen::Man::new(page).render(&mut out).map_err(|source| FileError::Stdout { source })?;
    }
    print_program(&String::from_utf8_lossy(&out)).map(|()| true)
}

pub fn schema(args: SchemaArgs) -> Result<bool> {
    print_json(&schemas::schema(args.document)).map(|()| true)
}
