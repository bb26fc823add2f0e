//! The adapters of a batch that are evaluated: those of one base model and the same flags together.

use std::ffi::OsString;

use super::Run;
use super::task::Task;
use crate::base::BasePath;
use crate::batch::stamp::{self, Hashes};
use crate::cli::SlimArgs;
use crate::commands::evaluate::notes;
use crate::commands::slim::Plan;
use crate::error::{Error, Result};
use crate::files::NewFile;
use crate::pipeline::{self, Base, Evaluation, Request};
use crate::report::batch::{Found, Record};
use crate::report::html;

/// How many adapters are open at the same time.
pub const MOST_TOGETHER: usize = 32;

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
        for together in self.ready.chunks(MOST_TOGETHER) {
            let requests: Vec<&Request> = together.iter().map(|ready| &ready.plan.request).collect();
            let progress = run.progress.within.clone();
            let done = &mut |place: usize, evaluation: Result<Evaluation>| run.conclude(&together[place], evaluation);
            pipeline::evaluate_together(&base, &requests, &mut |step| progress.step(step), done)?;
        }
        Ok(())
    }
}

impl Run<'_> {
    fn conclude(&mut self, ready: &Ready, evaluation: Result<Evaluation>) -> Result<()> {
        let Ready { task, plan, stamp } = ready;
        let mut evaluation = match evaluation {
            Ok(evaluation) => evaluation,
            Err(error) => return self.fail(task, &error),
        };
        // It was shared with others, and is another one when the batch goes on after a stop.
        evaluation.report.work = None;
        let (name, adapter, stamp) = (&task.job.name, &task.job.adapter, stamp.clone());
        let page = page(task, &evaluation);
        let has_page = page.is_ok();
        let checked = page.and_then(|()| plan.check(&evaluation));
        let record = match checked.and_then(|()| plan.write(&evaluation, &plan.reserve()?)) {
            Ok(report) => {
                Record { written: stamp::of_output(&task.output), ..Record::done(name, adapter, &report, stamp) }
            }
            Err(error) => Record::failed(name, adapter, &error, stamp),
        };
        self.add(Record {
            found: Some(Found::of(&evaluation.report)),
            notes: notes(&plan.request, &evaluation),
            page: has_page.then(|| format!("{name}.html")),
            ..record
        })
    }
}

fn page(task: &Task, evaluation: &Evaluation) -> Result<()> {
    let page = NewFile::beside(&task.page(), html::BEGINNING.as_bytes(), true)?;
    page.publish(html::page(&evaluation.report).as_bytes())
}
