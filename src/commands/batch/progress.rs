//! A batch under way: each record goes to the results on disk, to the user and into the counts that decide the exit code.

use std::collections::BTreeSet;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::worklist::JobLog;
use crate::batch::partition::Partition;
use crate::batch::results::Results;
use crate::batch::summary;
use crate::cli::BatchArgs;
use crate::cli::progress::{BatchProgress, TerminalProgress};
use crate::commands::output::{print, print_json_line};
use crate::error::{BatchError, Kind, Result};
use crate::report::batch::{Record, Status};
use crate::report::text;
use crate::report::warnings::{EARLIER_OUTPUT, Finding};

/// A batch under way.
pub struct RunningBatch<'a> {
    args: &'a BatchArgs,
    jobs: usize,
    quiet: bool,
    results: Results,
    bars: BatchProgress,
    outcomes: Outcomes,
    /// The first error of standard output. It ends the batch only after its last job: what is printed is on disk, too.
    printed: Result<()>,
}

impl<'a> RunningBatch<'a> {
    /// Opens the results in the output folder.
    pub fn start(args: &'a BatchArgs, partition: Partition, jobs: usize, quiet: bool) -> Result<Self> {
        summary::check(&args.output)?;
        let results = Results::open(&args.output, partition)?;
        let bars = BatchProgress::new(quiet || args.json, jobs);
        Ok(Self { args, jobs, quiet, results, bars, outcomes: Outcomes::default(), printed: Ok(()) })
    }

    /// How many adapters may be cut at the same time, if the user says so.
    pub fn cuts_at_once(&self) -> Option<usize> {
        self.args.jobs.map(|jobs| jobs as usize)
    }

    /// Whether all adapters of a base model keep the same.
    pub fn is_common(&self) -> bool {
        self.args.common
    }

    /// Says something above the bars.
    pub fn announce(&mut self, line: &str) -> Result<()> {
        self.bars.done(|| if self.quiet || self.args.json { Ok(()) } else { print(line) })
    }

    /// The progress of the sweep that is running.
    pub fn sweep_progress(&self) -> TerminalProgress {
        self.bars.within.begin_anew();
        self.bars.within.clone()
    }

    /// Sorts the results on disk, once all jobs have ended.
    pub fn finish(mut self, names: &BTreeSet<&str>) -> Result<EndedBatch> {
        self.bars.finish();
        self.results.finish(names)?;
        Ok(EndedBatch { results: self.results, outcomes: self.outcomes, printed: self.printed })
    }

    fn report(&mut self, record: &Record, unchanged: bool) -> Result<()> {
        self.outcomes.add(record);
        let lost = self.printed.is_err();
        // Places that are left out were named before the first job.
        let is_known = unchanged || record.status == Status::LeftOut;
        let printed = self.bars.done(|| match (self.args.json, self.quiet || is_known) {
            _ if lost => Ok(()),
            (true, _) => print_json_line(&PrintedRecord { record, unchanged }),
            (false, true) => Ok(()),
            (false, false) => print(&text::batch::line(record)),
        });
        if !lost {
            self.printed = printed;
        }
        if record.status == Status::Failed && self.args.fail_fast {
            self.bars.finish();
            self.outcomes.check(self.jobs, self.results.path())?;
        }
        Ok(())
    }
}

/// A batch after its last job.
pub struct EndedBatch {
    pub results: Results,
    pub outcomes: Outcomes,
    /// Whether all records could be printed.
    pub printed: Result<()>,
}

impl JobLog for RunningBatch<'_> {
    fn earlier(&self, name: &str) -> Option<&Record> {
        self.results.get(name)
    }

    fn keep(&mut self, record: Record) -> Result<()> {
        self.outcomes.unchanged += 1;
        self.report(&record, true)
    }

    fn add(&mut self, mut record: Record) -> Result<()> {
        let output = self.args.output.join(&record.name);
        if record.status != Status::Done && output.exists() {
            let finding = Finding::new(format!("`{}` is there from an earlier run", output.display()));
            record.warnings.push(finding.coded(EARLIER_OUTPUT));
        }
        self.results.add(record.clone())?;
        self.report(&record, false)
    }
}

/// A record as `--json` prints it.
#[derive(Serialize, JsonSchema)]
pub struct PrintedRecord<'a> {
    #[serde(flatten)]
    record: &'a Record,
    /// Whether it is that of an earlier run.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unchanged: bool,
}

/// How many jobs did not succeed, and the most severe reason.
#[derive(Debug, Default)]
pub struct Outcomes {
    pub unchanged: usize,
    pub not_done: usize,
    pub worst: Option<Kind>,
}

impl Outcomes {
    pub fn add(&mut self, record: &Record) {
        if let Some(kind) = Kind::of_exit_code(record.exit_code) {
            self.not_done += 1;
            self.worst = self.worst.into_iter().chain([kind]).max_by_key(|kind| kind.severity());
        }
    }

    /// An error if any of `jobs` did not succeed.
    pub fn check(&self, jobs: usize, results: &Path) -> Result<bool> {
        match self.worst {
            None => Ok(true),
            Some(kind) => {
                Err(BatchError::NotAllDone { failed: self.not_done, jobs, results: results.into(), kind }.into())
            }
        }
    }
}
