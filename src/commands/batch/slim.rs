//! The adapters of a batch that are evaluated: those with the same base model and the same flags go through the model together.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use super::progress::RunningBatch;
use super::task::Task;
use super::worklist::JobLog;
use crate::batch::stamp::Hashes;
use crate::cli::SlimArgs;
use crate::commands::fetch::Finder;
use crate::commands::slim::SlimPlan;
use crate::error::{ComputeError, Result};
use crate::files::NewFile;
use crate::hub::BasePath;
use crate::pipeline::minimize::common;
use crate::pipeline::request::{Minimize, Objective, Refinement};
use crate::pipeline::{self, Base, Evaluation, Request};
use crate::report::batch::{KeyFigures, Record};
use crate::report::page;
use crate::search::allocation::Ranks;

/// How many adapters are open at the same time.
pub const MOST_TOGETHER: usize = 32;

/// How many results are written at the same time. Each waits for the disk several times.
const WRITERS: usize = 4;

/// A task whose flags and places are checked.
pub struct PlannedSlim<'a> {
    pub task: Task<'a>,
    pub plan: SlimPlan,
    /// Computed before any input is read for the result, so that an input that changes meanwhile has another stamp.
    pub stamp: String,
}

/// Tasks that share a base model and differ only in the adapter.
pub struct BaseGroup<'a> {
    words: Vec<OsString>,
    pub base: BasePath,
    pub slims: Vec<PlannedSlim<'a>>,
}

pub fn run(tasks: Vec<(Task, Box<SlimArgs>)>, hashes: &Hashes, batch: &mut RunningBatch) -> Result<()> {
    let mut groups = groups(tasks, hashes, batch)?;
    if batch.is_common() {
        let bases: Vec<BasePath> = groups.iter().map(|group| group.base.clone()).collect();
        for (place, base) in bases.iter().enumerate().filter(|(place, base)| !bases[..*place].contains(base)) {
            let slims =
                groups[place..].iter_mut().filter(|group| group.base == *base).flat_map(|group| &mut group.slims);
            choose_for_all(base, slims.collect(), batch)?;
        }
    }
    for group in groups {
        match Base::open_for(group.base, &group.slims[0].plan.request) {
            Ok(base) => group.slims.chunks(MOST_TOGETHER).try_for_each(|together| evaluate(&base, together, batch))?,
            Err(error) => {
                group.slims.iter().try_for_each(|slim| batch.add(slim.task.failed(&error, slim.stamp.clone())))?;
            }
        }
    }
    Ok(())
}

/// Plans tasks and groups them by base model and flags. The records of those that cannot be done go to the log.
pub fn groups<'a>(
    tasks: Vec<(Task<'a>, Box<SlimArgs>)>,
    hashes: &Hashes,
    log: &mut impl JobLog,
) -> Result<Vec<BaseGroup<'a>>> {
    let mut groups: Vec<BaseGroup> = Vec::new();
    for (task, args) in tasks {
        let planned = SlimPlan::new(*args, Finder::offline()).and_then(|plan| Ok((plan.base()?, plan)));
        let stamp = task.stamp(hashes);
        let (base, plan) = match planned {
            Ok(planned) => planned,
            Err(error) => {
                log.add(task.failed(&error, stamp))?;
                continue;
            }
        };
        let words = task.words.clone();
        let slim = PlannedSlim { task, plan, stamp };
        match groups.iter_mut().find(|group| group.words == words && group.base == base) {
            Some(group) => group.slims.push(slim),
            None => groups.push(BaseGroup { words, base, slims: vec![slim] }),
        }
    }
    Ok(groups)
}

/// Chooses what all adapters of a base model keep. Where nothing smaller can be shown to hold for all, each is minimised by itself.
fn choose_for_all(base: &BasePath, slims: Vec<&mut PlannedSlim>, batch: &mut RunningBatch) -> Result<()> {
    let requests: Vec<&Request> = slims.iter().map(|slim| &slim.plan.request).collect();
    // The record of each adapter says what is wrong with the base model.
    let Ok(base) = Base::open_for(base.clone(), requests[0]) else { return Ok(()) };
    let progress = batch.sweep_progress();
    let ranks = slims[0].plan.buffer_ranks().map_or(Ranks::Same, Ranks::Served);
    let Some(common) = common::choose(&base, &requests, ranks, &mut |step| progress.step(step))? else {
        tracing::warn!(
            "nothing smaller can be shown to be as good for all {} adapters: each keeps its own",
            slims.len()
        );
        return Ok(());
    };
    batch.announce(&format!("{common}\n"))?;
    let common = Arc::new(common);
    for slim in slims {
        slim.plan.request.command = None;
        if let Some(Refinement::Minimize(minimize)) = &mut slim.plan.request.refinement {
            *minimize = Minimize { objective: Objective::Common(common.clone()), ranks: Ranks::Same, ..*minimize };
        }
    }
    Ok(())
}

/// Evaluates adapters together, and writes each while the next ones are evaluated.
fn evaluate(base: &Base, together: &[PlannedSlim], batch: &mut RunningBatch) -> Result<()> {
    let requests: Vec<&Request> = together.iter().map(|slim| &slim.plan.request).collect();
    let progress = batch.sweep_progress();
    let (sender, receiver) = mpsc::sync_channel::<(usize, Result<Evaluation>)>(WRITERS);
    let (receiver, batch) = (Mutex::new(receiver), Mutex::new(batch));
    let has_stopped = AtomicBool::new(false);
    let write = || {
        let mut result = Ok(());
        while let Ok((place, evaluation)) = next(&receiver) {
            // After a stop, evaluations are received all the same: their sender must not wait forever.
            if has_stopped.load(Ordering::SeqCst) {
                continue;
            }
            let record = record(&together[place], evaluation);
            let added = batch.lock().unwrap_or_else(PoisonError::into_inner).add(record);
            has_stopped.fetch_or(added.is_err(), Ordering::SeqCst);
            result = result.and(added);
        }
        result
    };
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(write)).collect();
        let mut done = |place: usize, evaluation: Result<Evaluation>| match has_stopped.load(Ordering::SeqCst) {
            false if sender.send((place, evaluation)).is_ok() => Ok(()),
            _ => Err(ComputeError::Interrupted.into()),
        };
        let evaluated = pipeline::evaluate_together(base, &requests, &mut |step| progress.step(step), &mut done);
        drop(sender);
        // The error of a writer comes first: it stopped the others.
        let joined =
            writers.into_iter().map(|writer| writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.collect::<Result<()>>().and(evaluated)
    })
}

fn next<T>(receiver: &Mutex<mpsc::Receiver<T>>) -> std::result::Result<T, mpsc::RecvError> {
    receiver.lock().unwrap_or_else(PoisonError::into_inner).recv()
}

/// Writes the result of an evaluation, and returns the record of its job.
fn record(slim: &PlannedSlim, evaluation: Result<Evaluation>) -> Record {
    let PlannedSlim { task, plan, stamp } = slim;
    let mut evaluation = match evaluation {
        Ok(evaluation) => evaluation,
        Err(error) => return task.failed(&error, stamp.clone()),
    };
    // The work was shared with other adapters, and differs when the batch continues after a stop.
    evaluation.report.work = None;
    let page = page(task, &evaluation);
    let has_page = page.is_ok();
    let verdict = page.and_then(|()| evaluation.check());
    let record = match verdict.and_then(|()| plan.write(&evaluation, &plan.reserve(&task.output, task.force)?)) {
        Ok(report) => Record::done(&task.job.name, &task.job.adapter, &report, stamp.clone()),
        Err(error) => task.failed(&error, stamp.clone()),
    };
    task.proved(Record {
        found: Some(KeyFigures::of(&evaluation.report)),
        warnings: evaluation.report.warnings.clone(),
        page: has_page.then(|| format!("{}.html", task.job.name)),
        ..record
    })
}

fn page(task: &Task, evaluation: &Evaluation) -> Result<()> {
    let page = NewFile::beside(&task.page(), page::BEGINNING.as_bytes(), true)?;
    page.publish(page::page(&evaluation.report)?.as_bytes())
}
