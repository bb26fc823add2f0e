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

/// The reserved page; `None` without `--report`.
pub struct Page(Option<NewFile>);

impl Page {
    /// Refuses a place that is in an input or in the `output` of `slim`, is taken, or cannot be written.
    pub fn reserve(args: &EvaluateArgs, finder: Finder, output: Option<&Path>, force: bool) -> Result<Self> {
        let Some(path) = &args.report else { return Ok(Self(None)) };
        evaluate::declare_inputs(args, finder)?;
        if let Some(output) = output {
            files::check_outputs_apart(path, output)?;
        }
        NewFile::beside(path, page::BEGINNING.as_bytes(), force).map(|file| Self(Some(file)))
    }

    /// Writes the page of an evaluation.
    pub fn write(self, evaluation: &Evaluation, quiet: bool) -> Result<()> {
        let Some(file) = self.0 else { return Ok(()) };
        let place = format!("report in {}\n", OneLine(file.target().display()));
        file.publish(page::page(&evaluation.report)?.as_bytes())?;
        remark(&place, quiet);
        Ok(())
    }
}
