//! `lora-slim batch`: many adapters, what is done already left alone, and nothing lost when it is stopped.

mod cut;
mod price;
mod slim;
mod task;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::{print, print_line};
use crate::batch::jobs::{self, Job};
use crate::batch::partition::WHOLE;
use crate::batch::results::Results;
use crate::batch::stamp::Hashes;
use crate::batch::{manifest, summary};
use crate::cli::BatchArgs;
use crate::cli::progress::{self, BatchProgress};
use crate::error::{BatchError, Error, Kind, Result, SweepError};
use crate::files;
use crate::report::batch::{Record, Status};
use crate::report::text;
use task::{Command, Task};

pub fn run(args: BatchArgs, quiet: bool) -> Result<bool> {
    let jobs = find_jobs(&args)?;
    jobs::check_names(&jobs)?;
    let names: BTreeSet<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
    let partition = args.partition.unwrap_or(WHOLE);
    let mine: Vec<&Job> = jobs.iter().filter(|job| partition.has(&job.name)).collect();
    if args.manifest.is_none() {
        // What is wrong with the command line is wrong for each, and said once.
        jobs.first().map(|job| Task::read(job, &args)).transpose()?;
    }
    if args.dry_run {
        return price::dry_run(&mine, &args, partition, quiet);
    }
    let mut run = Run {
        results: Results::open(&args.output, partition)?,
        hashes: Arc::default(),
        progress: BatchProgress::new(quiet || args.json, mine.len()),
        args: &args,
        quiet,
        counts: Counts { jobs: mine.len(), ..Counts::default() },
    };
    let (slims, cuts) = run.left_to_do(&mine)?;
    slim::run(slims, &mut run)?;
    cut::run(cuts, &mut run)?;
    run.progress.finish();
    let Run { mut results, counts, .. } = run;
    results.finish(&names)?;
    let records = summary::write(&args.output, || results.of_all_parts(&names))?;
    report_removed(&records);
    if !quiet && !args.json {
        print(&text::batch::end(mine.len(), counts.unchanged, &records, &args.output));
    }
    counts.judge(results.path())
}

fn find_jobs(args: &BatchArgs) -> Result<Vec<Job>> {
    let Some(folder) = &args.flags.input else {
        let jobs = manifest::read(args.manifest.as_deref().unwrap_or(Path::new("")))?;
        // One job's output must not be another one's input.
        let adapters = jobs.iter().map(|job| Path::new(&job.adapter)).filter(|adapter| adapter.exists());
        files::check_apart(&args.output, &adapters.collect::<Vec<_>>())?;
        return Ok(jobs);
    };
    files::check_apart(&args.output, &[folder])?;
    let found = jobs::below(folder)?;
    if let Some(first) = found.inside.first() {
        tracing::warn!(
            "{} adapters lie inside of others, the first in `{}`, and are left out; a manifest can name them",
            found.inside.len(),
            first.display()
        );
    }
    Ok(found.jobs)
}

fn report_removed(records: &[Record]) {
    let removed: Vec<&str> =
        records.iter().filter(|record| record.removed).map(|record| record.name.as_str()).collect();
    if let Some(first) = removed.first() {
        tracing::warn!(
            "{} results have no adapter any more, the first is `{first}`; they are left as they are",
            removed.len()
        );
    }
}

/// A batch under way.
struct Run<'a> {
    args: &'a BatchArgs,
    results: Results,
    hashes: Arc<Hashes>,
    progress: BatchProgress,
    quiet: bool,
    counts: Counts,
}

/// Whether an earlier run ended a task, from the same inputs and options, in a way that another try will not change.
fn is_done(record: &Record, task: &Task, hashes: &Hashes) -> bool {
    let is_there = record.status != Status::Done || task.is_written(record);
    record.is_final() && is_there && record.stamp == task.stamp(hashes)
}

/// A record as `--json` prints it.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    record: &'a Record,
    /// Whether it is that of an earlier run.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unchanged: bool,
}

/// How many ended how.
#[derive(Debug, Default)]
struct Counts {
    jobs: usize,
    unchanged: usize,
    not_done: usize,
    worst: Option<Kind>,
}

impl Counts {
    fn add(&mut self, record: &Record) {
        if let Some(kind) = Kind::of_exit_code(record.exit_code) {
            self.not_done += 1;
            self.worst = self.worst.into_iter().chain([kind]).max_by_key(|kind| kind.severity());
        }
    }

    fn judge(&self, results: &Path) -> Result<bool> {
        let Some(kind) = self.worst else { return Ok(true) };
        let Self { jobs, not_done: failed, .. } = *self;
        Err(BatchError::NotAllDone { failed, jobs, results: results.into(), kind }.into())
    }
}

impl<'a> Run<'a> {
    /// The tasks that are not done yet, those to slim and those to cut.
    fn left_to_do<'b>(&mut self, jobs: &[&'b Job]) -> Result<(Vec<slim::Given<'b>>, Vec<cut::Given<'b>>)> {
        let (mut slims, mut cuts) = (Vec::new(), Vec::new());
        for &job in jobs {
            if progress::interrupted() {
                return Err(SweepError::Interrupted.into());
            }
            let (task, command) = match Task::read(job, self.args) {
                Ok(read) => read,
                Err(error) => {
                    self.add(Record::failed(&job.name, &job.adapter, &error, String::new()))?;
                    continue;
                }
            };
            if let Some(record) = self.results.get(&job.name).filter(|record| is_done(record, &task, &self.hashes)) {
                self.keep(record.clone())?;
                continue;
            }
            match command {
                Command::Slim(args) => slims.push((task, args)),
                Command::Cut(args) => cuts.push((task, args)),
            }
        }
        Ok((slims, cuts))
    }

    fn fail(&mut self, task: &Task, error: &Error) -> Result<()> {
        let stamp = task.stamp(&self.hashes);
        self.add(Record::failed(&task.job.name, &task.job.adapter, error, stamp))
    }

    /// Takes in how a job ended.
    fn add(&mut self, mut record: Record) -> Result<()> {
        let output: PathBuf = self.args.output.join(&record.name);
        if record.status != Status::Done && output.exists() {
            record.notes.push(format!("`{}` is there from an earlier run", output.display()));
        }
        self.told(&record, false);
        let has_failed = record.status == Status::Failed;
        self.results.add(record)?;
        self.stop_if(has_failed)
    }

    /// Takes in how a job ended in an earlier run.
    fn keep(&mut self, record: Record) -> Result<()> {
        self.counts.unchanged += 1;
        self.told(&record, true);
        self.stop_if(record.status == Status::Failed)
    }

    fn told(&mut self, record: &Record, is_old: bool) {
        self.counts.add(record);
        self.progress.done(|| match (self.args.json, self.quiet || is_old) {
            (true, _) => print_line(&Told { record, unchanged: is_old }),
            (false, true) => (),
            (false, false) => print(&text::batch::line(record)),
        });
    }

    fn stop_if(&self, has_failed: bool) -> Result<()> {
        if has_failed && self.args.fail_fast {
            self.progress.finish();
            return self.counts.judge(self.results.path()).map(drop);
        }
        Ok(())
    }
}
