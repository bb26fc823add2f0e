//! `--dry-run`: what a batch will take.

use std::time::Duration;

use super::slim::{self, Group, MOST_TOGETHER};
use super::task::{Command, Task};
use super::{Counts, is_done};
use crate::batch::jobs::Job;
use crate::batch::partition::Partition;
use crate::batch::results;
use crate::batch::stamp::Hashes;
use crate::cli::BatchArgs;
use crate::commands::{print, progress};
use crate::error::{BatchError, Error, Result};
use crate::pipeline::{self, Base, Price, Request};
use crate::report::batch::Record;
use crate::report::text;

pub fn dry_run(jobs: &[&Job], args: &BatchArgs, partition: Partition, quiet: bool) -> Result<bool> {
    progress::catch_interrupts();
    let records = results::read(&args.output, partition)?;
    let hashes = Hashes::default();
    let mut counts = Counts::default();
    let mut fail = |name: &str, adapter: &str, error: &Error| {
        let record = Record::failed(name, adapter, error, String::new());
        print(&text::batch::line(&record));
        counts.add(&record);
    };
    let (mut slims, mut cuts, mut unchanged) = (Vec::new(), 0, 0);
    for job in jobs {
        match Task::read(job, args) {
            Err(error) => fail(&job.name, &job.adapter, &error),
            Ok((task, _)) if records.get(&job.name).is_some_and(|record| is_done(record, &task, &hashes)) => {
                unchanged += 1;
            }
            Ok((task, Command::Slim(args))) => slims.push((task, args)),
            Ok((_, Command::Cut(_))) => cuts += 1,
        }
    }
    let mut failed = |task: &Task, error: &Error| {
        fail(&task.job.name, &task.job.adapter, error);
        Ok(())
    };
    let groups = slim::groups(slims, &mut failed)?;
    let (mut time, mut evaluated) = (Duration::ZERO, 0);
    for group in &groups {
        let price = price_of(group, &mut failed)?;
        (time, evaluated) = (time + price.time, evaluated + group.ready.len());
        if !quiet {
            print(&line(group, &price));
        }
    }
    print(&format!(
        "{} adapters: {unchanged} unchanged, {evaluated} to slim, {cuts} to cut; about {} here\n",
        jobs.len(),
        text::duration(time)
    ));
    match counts.worst {
        Some(kind) => Err(BatchError::CannotBeDone { failed: counts.not_done, jobs: jobs.len(), kind }.into()),
        None => Ok(true),
    }
}

fn price_of(group: &Group, failed: &mut dyn FnMut(&Task, &Error) -> Result<()>) -> Result<Price> {
    let base = match Base::open(group.base.clone(), &group.ready[0].plan.request) {
        Ok(base) => base,
        Err(error) => {
            group.ready.iter().try_for_each(|ready| failed(&ready.task, &error))?;
            return Ok(Price::default());
        }
    };
    let mut all = Price::default();
    for together in group.ready.chunks(MOST_TOGETHER) {
        let requests: Vec<&Request> = together.iter().map(|ready| &ready.plan.request).collect();
        let wrong = &mut |place: usize, error: Error| failed(&together[place].task, &error);
        let price = pipeline::price(&base, &requests, &mut |_| !progress::interrupted(), wrong)?;
        all.work.passes += price.work.passes;
        all.work.layer_tokens += price.work.layer_tokens;
        all.bytes += price.bytes;
        all.time += price.time;
    }
    Ok(all)
}

fn line(group: &Group, price: &Price) -> String {
    format!(
        "{}: {} adapters, at most {} passes over {} of weights, {} layer tokens, about {}\n",
        group.base.path().display(),
        group.ready.len(),
        price.work.passes,
        text::bytes(price.bytes),
        price.work.layer_tokens,
        text::duration(price.time)
    )
}
