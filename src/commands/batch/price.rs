//! `--dry-run`: what a batch will take.

use std::time::Duration;

use super::slim::{self, Group, MOST_TOGETHER};
use super::task::{Command, Task};
use super::{Counts, is_done};
use crate::adapter::Adapter;
use crate::batch::jobs::Job;
use crate::batch::partition::Partition;
use crate::batch::results;
use crate::batch::stamp::Hashes;
use crate::cli::BatchArgs;
use crate::cli::progress;
use crate::commands::print;
use crate::error::{BatchError, Error, Result, SweepError};
use crate::format;
use crate::hub;
use crate::pipeline::{self, Base, Estimate, Request};
use crate::report::batch::Record;
use crate::report::text;

pub fn dry_run(jobs: &[&Job], args: &BatchArgs, partition: Partition, quiet: bool) -> Result<bool> {
    progress::catch_interrupts();
    let records = results::read(&args.output, partition)?;
    let hashes = Hashes::default();
    let mut counts = Counts::default();
    let (mut slims, mut cuts, mut unchanged) = (Vec::new(), 0, 0);
    for job in jobs {
        if progress::interrupted() {
            return Err(SweepError::Interrupted.into());
        }
        let read = Task::read(job, args);
        match (read, records.get(&job.name)) {
            (Err(error), _) => counts.refuse(job, &error),
            (Ok((task, _)), Some(record)) if is_done(record, &task, &hashes) => {
                unchanged += 1;
                counts.add(record);
            }
            (Ok((task, Command::Slim(args))), _) => slims.push((task, args)),
            (Ok((_, Command::Cut(args))), _) => {
                let path = hub::find(&args.adapter, None);
                match path.and_then(|path| Adapter::open(&path, args.stack.as_deref())) {
                    Ok(_) => cuts += 1,
                    Err(error) => counts.refuse(job, &error),
                }
            }
        }
    }
    let mut failed = |task: &Task, error: &Error| {
        counts.refuse(task.job, error);
        Ok(())
    };
    let groups = slim::groups(slims, &hashes, &mut failed)?;
    let (mut time, mut evaluated) = (Duration::ZERO, 0);
    for group in &groups {
        let (price, adapters) = price_of(group, &mut failed)?;
        (time, evaluated) = (time + price.time, evaluated + adapters);
        if !quiet && adapters > 0 {
            print(&line(group, adapters, &price));
        }
    }
    print(&format!(
        "{} adapters: {unchanged} unchanged, {evaluated} to slim, {cuts} to cut; about {} for the sweeps here\n",
        jobs.len(),
        format::duration(time)
    ));
    match counts.worst {
        Some(kind) => Err(BatchError::CannotBeDone { failed: counts.not_done, jobs: jobs.len(), kind }.into()),
        None => Ok(true),
    }
}

impl Counts {
    fn refuse(&mut self, job: &Job, error: &Error) {
        let record = Record::failed(&job.name, &job.adapter, error, String::new());
        print(&text::batch::line(&record));
        self.add(&record);
    }
}

/// What a group takes, and how many of its adapters can be evaluated.
fn price_of(group: &Group, failed: &mut dyn FnMut(&Task, &Error) -> Result<()>) -> Result<(Estimate, usize)> {
    let base = match Base::open(group.base.clone(), &group.ready[0].plan.request) {
        Ok(base) => base,
        Err(error) => {
            group.ready.iter().try_for_each(|ready| failed(&ready.task, &error))?;
            return Ok((Estimate::default(), 0));
        }
    };
    let (mut all, mut adapters) = (Estimate::default(), group.ready.len());
    for together in group.ready.chunks(MOST_TOGETHER) {
        let requests: Vec<&Request> = together.iter().map(|ready| &ready.plan.request).collect();
        let wrong = &mut |place: usize, error: Error| {
            adapters -= 1;
            failed(&together[place].task, &error)
        };
        let price = pipeline::estimate(&base, &requests, &mut |_| !progress::interrupted(), wrong)?;
        all.work.passes += price.work.passes;
        all.work.layer_tokens += price.work.layer_tokens;
        all.bytes += price.bytes;
        all.time += price.time;
    }
    Ok((all, adapters))
}

fn line(group: &Group, adapters: usize, price: &Estimate) -> String {
    format!(
        "{}: {adapters} adapters, at most {} passes over {} of weights, {} layer tokens, about {}\n",
        group.base.path().display(),
        price.work.passes,
        format::bytes(price.bytes),
        price.work.layer_tokens,
        format::duration(price.time)
    )
}
