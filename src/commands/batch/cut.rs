//! The adapters of a batch that are cut without evaluation: several at a time, because each waits for the disk.

use std::sync::{Mutex, PoisonError};
use std::thread;

use rayon::ThreadPoolBuilder;
use rayon::prelude::*;

use super::progress::RunningBatch;
use super::task::Task;
use super::worklist::JobLog;
use crate::batch::stamp::Hashes;
use crate::choice::gates;
use crate::cli::CutArgs;
use crate::cli::progress;
use crate::commands::cut;
use crate::commands::fetch::Finder;
use crate::error::{ComputeError, Result};
use crate::hub;
use crate::report::Report;
use crate::report::batch::{KeyFigures, Record};

pub fn run(tasks: Vec<(Task, Box<CutArgs>)>, hashes: &Hashes, batch: &mut RunningBatch) -> Result<()> {
    if tasks.is_empty() {
        return Ok(());
    }
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let at_once = batch.cuts_at_once().unwrap_or(processors);
    let batch = Mutex::new(batch);
    let cut_all = || {
        tasks.into_par_iter().try_for_each(|(task, args)| {
            if progress::interrupted() {
                return Err(ComputeError::Interrupted.into());
            }
            let record = record(&task, cut::write(*args, Finder::offline()), hashes);
            batch.lock().unwrap_or_else(PoisonError::into_inner).add(record)
        })
    };
    match ThreadPoolBuilder::new().num_threads(at_once).build() {
        Ok(pool) => pool.install(cut_all),
        // No threads can be started: use the existing ones.
        Err(_) => cut_all(),
    }
}

/// The record of a task. It computes hashes, so it is made before anything is locked.
fn record(task: &Task, written: Result<Report>, hashes: &Hashes) -> Record {
    let report = match written {
        Ok(report) => report,
        Err(error) => return task.failed(&error, task.stamp(hashes)),
    };
    // The weights were hashed while they were copied.
    let folder = hub::find(&task.job.adapter, None).unwrap_or_default();
    for file in &report.adapter.files {
        hashes.insert(folder.join(&file.name), file.blake3.as_deref());
    }
    let stamp = task.stamp(hashes);
    match gates::check(&report.gates) {
        Ok(()) => task.proved(Record::done(&task.job.name, &task.job.adapter, &report, stamp)),
        Err(error) => {
            let (found, warnings) = (Some(KeyFigures::of(&report)), report.warnings);
            Record { found, warnings, ..task.failed(&error, stamp) }
        }
    }
}
