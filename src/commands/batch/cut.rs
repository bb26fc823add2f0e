//! The adapters of a batch that are cut without being evaluated: several at a time, because each waits for the disk.

use std::sync::{Mutex, PoisonError};
use std::thread;

use rayon::ThreadPoolBuilder;
use rayon::prelude::*;

use super::Run;
use super::task::Task;
use crate::batch::stamp::{self, Hashes};
use crate::choice::gates;
use crate::cli::CutArgs;
use crate::cli::progress;
use crate::commands::cut;
use crate::error::{Result, SweepError};
use crate::hub;
use crate::report::Report;
use crate::report::batch::{KeyFigures, Record};

/// A task, and the flags of `cut`.
pub type Given<'a> = (Task<'a>, Box<CutArgs>);

pub fn run(tasks: Vec<Given>, run: &mut Run) -> Result<()> {
    if tasks.is_empty() {
        return Ok(());
    }
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let jobs = run.args.jobs.map_or(processors, |jobs| jobs as usize);
    let hashes = run.hashes.clone();
    let run = Mutex::new(run);
    let all = || {
        tasks.into_par_iter().try_for_each(|(task, args)| {
            if progress::interrupted() {
                return Err(SweepError::Interrupted.into());
            }
            let record = record(&task, cut::write(*args), &hashes);
            run.lock().unwrap_or_else(PoisonError::into_inner).add(record)
        })
    };
    match ThreadPoolBuilder::new().num_threads(jobs).build() {
        Ok(pool) => pool.install(all),
        // Without threads of its own, with those that there are.
        Err(_) => all(),
    }
}

/// How a job ended. It hashes, and so it is made before anything is locked.
fn record(task: &Task, written: Result<Report>, hashes: &Hashes) -> Record {
    let (name, adapter) = (&task.job.name, &task.job.adapter);
    let report = match written {
        Ok(report) => report,
        Err(error) => return Record::failed(name, adapter, &error, task.stamp(hashes)),
    };
    // The weights were hashed while they were copied.
    let folder = hub::find(adapter, None).unwrap_or_default();
    for file in &report.adapter.files {
        hashes.learn(folder.join(&file.name), file.sha256.as_deref());
    }
    let stamp = task.stamp(hashes);
    match gates::check(&report.gates) {
        Ok(()) => Record { written: stamp::of_output(&task.output), ..Record::done(name, adapter, &report, stamp) },
        Err(error) => Record { found: Some(KeyFigures::of(&report)), ..Record::failed(name, adapter, &error, stamp) },
    }
}
