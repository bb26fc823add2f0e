//! What is left to do of a batch: each job's flags are read, and jobs that an earlier run finished are left out.

use std::ffi::OsString;

use super::task::{Task, TaskFlags};
use crate::batch::jobs::Job;
use crate::batch::proof::Depth;
use crate::batch::stamp::Hashes;
use crate::cli::progress;
use crate::cli::{BatchArgs, CutArgs, SlimArgs};
use crate::commands::fetch::Finder;
use crate::error::{ComputeError, Kind, Result};
use crate::files;
use crate::report::batch::Record;

/// What a batch does with the records of its jobs. An error stops the batch.
pub trait JobLog {
    /// The record that an earlier run left of a job.
    fn earlier(&self, name: &str) -> Option<&Record>;

    /// Takes the record of a job that an earlier run finished.
    fn keep(&mut self, record: Record) -> Result<()>;

    /// Takes the record of a job that has just ended.
    fn add(&mut self, record: Record) -> Result<()>;
}

/// How the inputs of jobs are found, and their hashes.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    pub finder: Finder<'a>,
    pub hashes: &'a Hashes,
}

/// A job whose flags are read.
type ReadTask<'a> = (Task<'a>, TaskFlags);

/// The tasks that are left, with the flags of their commands.
#[derive(Default)]
pub struct Worklist<'a> {
    pub slims: Vec<(Task<'a>, Box<SlimArgs>)>,
    pub cuts: Vec<(Task<'a>, Box<CutArgs>)>,
}

impl<'a> Worklist<'a> {
    /// Sorts jobs into those that are left, and those that end here, whose records go to the log.
    pub fn new(jobs: &[&'a Job], args: &BatchArgs, sources: Sources, log: &mut impl JobLog) -> Result<Self> {
        let Sources { finder, hashes } = sources;
        let mut work = Self::default();
        let depth = if args.check { Depth::AllBytes } else { Depth::Samples };
        let mut tasks: Vec<ReadTask> = Vec::new();
        for &job in jobs {
            if progress::interrupted() {
                return Err(ComputeError::Interrupted.into());
            }
            match Task::read(job, args, finder) {
                Ok(read) => tasks.push(read),
                Err(error) if error.kind() == Kind::Interrupted => return Err(error),
                Err(error) => log.add(Record::failed(&job.name, &job.adapter, &error, String::new()))?,
            }
        }
        let finished = |log: &dyn JobLog, task: &Task| {
            log.earlier(&task.job.name).filter(|record| is_final(record, task, hashes, depth)).cloned()
        };
        // What is chosen for all takes all of them.
        let mut again = false;
        if args.common {
            join(&mut tasks, hashes);
            again = tasks.iter().any(|(task, _)| finished(log, task).is_none());
        }
        for (task, flags) in tasks {
            match finished(log, &task).filter(|_| !again) {
                Some(record) => {
                    if !args.dry_run {
                        files::clear_up(&task.output);
                    }
                    log.keep(record)?;
                }
                None => match flags {
                    TaskFlags::Slim(args) => work.slims.push((task, args)),
                    TaskFlags::Cut(args) => work.cuts.push((task, args)),
                },
            }
        }
        Ok(work)
    }
}

/// Makes the stamp of each task depend on all of them.
fn join(tasks: &mut [ReadTask], hashes: &Hashes) {
    let stamps: Vec<OsString> = tasks.iter().map(|(task, _)| task.stamp(hashes).into()).collect();
    let all = hashes.stamp(&stamps, &[]);
    tasks.iter_mut().for_each(|(task, _)| task.words.push(format!("--common={all}").into()));
}

/// Whether an earlier run ended a task, with the same inputs and options, in a way that another attempt would not change.
fn is_final(record: &Record, task: &Task, hashes: &Hashes, depth: Depth) -> bool {
    record.is_final() && task.is_written(record, depth) && record.stamp == task.stamp(hashes)
}
