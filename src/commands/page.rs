//! The page of `--report`: its place is reserved before the long run, and it is written afterwards.

use std::path::Path;

use super::evaluate;
use super::fetch::Finder;
use super::output::remark;
use crate::cli::EvaluateArgs;
use crate::error::Result;
use crate::files::{self, NewFile};
use crate::pipeline::Evaluation;
use crate::printable::OneLine;
use crate::report::page;

/// The reserved page, and the command that it shows.
pub struct Page {
    /// `None` without `--report`.
    file: Option<NewFile>,
    command: Option<String>,
}

impl Page {
    /// Refuses a place that is in an input or in the `output` of `slim`, is taken, or cannot be written.
    pub fn reserve(args: &EvaluateArgs, finder: Finder, output: Option<&Path>, force: bool) -> Result<Self> {
        let command = args.command_line.clone();
        let Some(path) = &args.report else { return Ok(Self { file: None, command }) };
        evaluate::declare_inputs(args, finder)?;
        if let Some(output) = output {
            files::check_outputs_apart(path, output)?;
        }
        NewFile::beside(path, page::BEGINNING.as_bytes(), force).map(|file| Self { file: Some(file), command })
    }

    /// Writes the page of an evaluation.
    pub fn write(self, evaluation: &Evaluation, quiet: bool) -> Result<()> {
        let Some(file) = self.file else { return Ok(()) };
        let place = format!("report in {}\n", OneLine(file.target().display()));
        file.publish(page::page(&evaluation.report, self.command.as_deref())?.as_bytes())?;
        remark(&place, quiet);
        Ok(())
    }
}
