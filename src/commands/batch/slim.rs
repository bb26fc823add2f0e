//! The adapters of a batch that are evaluated: those of one base model and the same flags together.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use super::Run;
use super::task::Task;
use crate::batch::stamp::{self, Hashes};
use crate::cli::SlimArgs;
use crate::commands::slim::Plan;
use crate::error::{Error, Result, SweepError};
use crate::files::NewFile;
use crate::hub::BasePath;
use crate::pipeline::{self, Base, Evaluation, Request, notes};
use crate::report::batch::{KeyFigures, Record};
use crate::report::page;

/// How many adapters are open at the same time.
pub const MOST_TOGETHER: usize = 32;

/// How many results are written at the same time. Each waits for the disk several times.
const WRITERS: usize = 4;

/// A task that can begin.
pub struct Ready<'a> {
    pub task: Task<'a>,
    pub plan: Plan,
    /// Made before anything is read for the result: what changes meanwhile is another input.
    stamp: String,
}

/// Tasks that share a base model and differ in nothing but the adapter.
pub struct Group<'a> {
    words: Vec<OsString>,
    pub base: BasePath,
    pub ready: Vec<Ready<'a>>,
}

/// A task, and the flags of `slim`.
pub type Given<'a> = (Task<'a>, Box<SlimArgs>);

pub fn run(tasks: Vec<Given>, run: &mut Run) -> Result<()> {
    let groups = {
        let hashes = run.hashes.clone();
        groups(tasks, &hashes, &mut |task, error| run.fail(task, error))?
    };
    groups.into_iter().try_for_each(|group| group.run(run))
}

/// Makes groups of tasks; those that cannot be done are given to `failed`.
pub fn groups<'a>(
    tasks: Vec<Given<'a>>,
    hashes: &Hashes,
    failed: &mut dyn FnMut(&Task, &Error) -> Result<()>,
) -> Result<Vec<Group<'a>>> {
    let mut groups: Vec<Group> = Vec::new();
    for (task, args) in tasks {
        let (plan, base) = match plan(*args) {
            Ok(planned) => planned,
            Err(error) => {
                failed(&task, &error)?;
                continue;
            }
        };
        let stamp = task.stamp(hashes);
        match groups.iter_mut().find(|group| group.words == task.words && group.base == base) {
            Some(group) => group.ready.push(Ready { task, plan, stamp }),
            None => groups.push(Group { words: task.words.clone(), base, ready: vec![Ready { task, plan, stamp }] }),
        }
    }
    Ok(groups)
}

fn plan(args: SlimArgs) -> Result<(Plan, BasePath)> {
    let plan = Plan::new(args)?;
    let base = plan.base()?;
    Ok((plan, base))
}

impl Group<'_> {
    fn run(self, run: &mut Run) -> Result<()> {
        let base = match Base::open(self.base, &self.ready[0].plan.request) {
            Ok(base) => base,
            Err(error) => return self.ready.iter().try_for_each(|ready| run.fail(&ready.task, &error)),
        };
        self.ready.chunks(MOST_TOGETHER).try_for_each(|together| evaluate(&base, together, run))
    }
}

/// Evaluates adapters together, and writes each while the next ones are evaluated.
fn evaluate(base: &Base, together: &[Ready], run: &mut Run) -> Result<()> {
    let requests: Vec<&Request> = together.iter().map(|ready| &ready.plan.request).collect();
    let progress = run.progress.within.clone();
    let (sender, receiver) = mpsc::sync_channel::<(usize, Result<Evaluation>)>(WRITERS);
    let (receiver, run) = (Mutex::new(receiver), Mutex::new(run));
    let has_stopped = AtomicBool::new(false);
    let write = || {
        let mut ended = Ok(());
        while let Ok((place, evaluation)) = next(&receiver) {
            // What comes after a stop is taken in all the same: who sends it must not wait for ever.
            if has_stopped.load(Ordering::SeqCst) {
                continue;
            }
            let record = record(&together[place], evaluation);
            let added = run.lock().unwrap_or_else(PoisonError::into_inner).add(record);
            has_stopped.fetch_or(added.is_err(), Ordering::SeqCst);
            ended = ended.and(added);
        }
        ended
    };
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(write)).collect();
        let mut done = |place: usize, evaluation: Result<Evaluation>| match has_stopped.load(Ordering::SeqCst) {
            false if sender.send((place, evaluation)).is_ok() => Ok(()),
            _ => Err(SweepError::Interrupted.into()),
        };
        let evaluated = pipeline::evaluate_together(base, &requests, &mut |step| progress.step(step), &mut done);
        drop(sender);
        // Why a writer stopped comes first: it stopped the others.
        let joined =
            writers.into_iter().map(|writer| writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.collect::<Result<()>>().and(evaluated)
    })
}

fn next<T>(receiver: &Mutex<mpsc::Receiver<T>>) -> std::result::Result<T, mpsc::RecvError> {
    receiver.lock().unwrap_or_else(PoisonError::into_inner).recv()
}

/// Writes what is to be written of an evaluation, and tells how its job ended.
fn record(ready: &Ready, evaluation: Result<Evaluation>) -> Record {
    let Ready { task, plan, stamp } = ready;
    let (name, adapter, stamp) = (&task.job.name, &task.job.adapter, stamp.clone());
    let mut evaluation = match evaluation {
        Ok(evaluation) => evaluation,
        Err(error) => return Record::failed(name, adapter, &error, stamp),
    };
    // It was shared with others, and is another one when the batch goes on after a stop.
    evaluation.report.work = None;
    let page = page(task, &evaluation);
    let has_page = page.is_ok();
    let checked = page.and_then(|()| plan.check(&evaluation));
    let record = match checked.and_then(|()| plan.write(&evaluation, &plan.reserve()?)) {
        Ok(report) => Record { written: stamp::of_output(&task.output), ..Record::done(name, adapter, &report, stamp) },
        Err(error) => Record::failed(name, adapter, &error, stamp),
    };
    Record {
        found: Some(KeyFigures::of(&evaluation.report)),
        notes: notes(&plan.request, &evaluation),
        page: has_page.then(|| format!("{name}.html")),
        ..record
    }
}

fn page(task: &Task, evaluation: &Evaluation) -> Result<()> {
    let page = NewFile::beside(&task.page(), page::BEGINNING.as_bytes(), true)?;
    page.publish(page::page(&evaluation.report)?.as_bytes())
}
