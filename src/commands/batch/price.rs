//! `--dry-run`: what a batch will do, and what it will take.

use std::collections::BTreeMap;
use std::time::Duration;

use super::progress::Outcomes;
use super::slim::{self, BaseGroup, MOST_TOGETHER};
use super::worklist::{JobLog, Sources, Worklist};
use crate::batch::jobs::Job;
use crate::batch::partition::Partition;
use crate::batch::results;
use crate::batch::stamp::Hashes;
use crate::cli::progress;
use crate::cli::{BatchArgs, CutArgs};
use crate::commands::fetch::Finder;
use crate::commands::output::{print, remark};
use crate::error::{BatchError, Error, Result};
use crate::format::{bytes, duration, plural};
use crate::hub;
use crate::pipeline::{self, Base, Estimate, Request};
use crate::printable::OneLine;
use crate::report::batch::Record;
use crate::report::text;

/// The part of a batch that one machine takes.
pub struct Part<'a> {
    pub jobs: &'a [&'a Job],
    /// The places that are no jobs, and say why.
    pub left_out: &'a [&'a Record],
    pub partition: Partition,
}

pub fn dry_run(part: Part, args: &BatchArgs, finder: Finder, quiet: bool) -> Result<bool> {
    let Part { jobs, left_out, partition } = part;
    progress::catch_interrupts();
    let hashes = Hashes::default();
    let mut log =
        DryRun { records: results::read(&args.output, partition)?, outcomes: Outcomes::default(), json: args.json };
    left_out.iter().for_each(|record| log.outcomes.add(record));
    let work = Worklist::new(jobs, args, Sources { finder, hashes: &hashes }, &mut log)?;
    let mut cuts = 0;
    for (task, args) in &work.cuts {
        match check_cut(args) {
            Ok(()) => cuts += 1,
            Err(error) => log.add(task.failed(&error, String::new()))?,
        }
    }
    let (mut time, mut slims) = (Duration::ZERO, 0);
    for group in slim::groups(work.slims, &hashes, &mut log)? {
        let (price, adapters) = price_of(&group, &mut log)?;
        (time, slims) = (time + price.time, slims + adapters);
        if !quiet && adapters > 0 {
            log.say(&line(&group, adapters, &price))?;
        }
    }
    log.say(&format!(
        "{}: {} unchanged, {slims} to slim, {cuts} to cut; about {} for the sweeps on this machine\n",
        plural(jobs.len(), "adapter"),
        log.outcomes.unchanged,
        duration(time)
    ))?;
    match log.outcomes.worst {
        Some(kind) => {
            Err(BatchError::CannotBeDone { failed: log.outcomes.not_done, jobs: jobs.len() + left_out.len(), kind }
                .into())
        }
        None => Ok(true),
    }
}

/// A batch that prints the jobs that cannot be done, and writes nothing.
struct DryRun {
    records: BTreeMap<String, Record>,
    outcomes: Outcomes,
    /// Whether standard output is for JSON, of which a dry run has none.
    json: bool,
}

impl DryRun {
    fn say(&self, text: &str) -> Result<()> {
        if self.json {
            remark(text, false);
            return Ok(());
        }
        print(text)
    }
}

impl JobLog for DryRun {
    fn earlier(&self, name: &str) -> Option<&Record> {
        self.records.get(name)
    }

    fn keep(&mut self, record: Record) -> Result<()> {
        self.outcomes.unchanged += 1;
        self.outcomes.add(&record);
        Ok(())
    }

    fn add(&mut self, record: Record) -> Result<()> {
        self.outcomes.add(&record);
        self.say(&text::batch::line(&record))
    }
}

fn check_cut(args: &CutArgs) -> Result<()> {
    pipeline::open_adapter(&hub::find(&args.adapter, None)?, args.stack.as_deref(), args.base.as_deref()).map(drop)
}

/// What a group takes, and how many of its adapters can be evaluated.
fn price_of(group: &BaseGroup, log: &mut impl JobLog) -> Result<(Estimate, usize)> {
    let base = match Base::open_for(group.base.clone(), &group.slims[0].plan.request) {
        Ok(base) => base,
        Err(error) => {
            group.slims.iter().try_for_each(|slim| log.add(slim.task.failed(&error, slim.stamp.clone())))?;
            return Ok((Estimate::default(), 0));
        }
    };
    let (mut total, mut adapters) = (Estimate::default(), group.slims.len());
    for together in group.slims.chunks(MOST_TOGETHER) {
        let requests: Vec<&Request> = together.iter().map(|slim| &slim.plan.request).collect();
        let failed = &mut |place: usize, error: Error| {
            adapters -= 1;
            log.add(together[place].task.failed(&error, together[place].stamp.clone()))
        };
        total += pipeline::estimate(&base, &requests, &mut |_| !progress::interrupted(), failed)?;
    }
    Ok((total, adapters))
}

fn line(group: &BaseGroup, adapters: usize, price: &Estimate) -> String {
    format!(
        "{}: {}, at most {} × {} of weights, {}, about {}\n",
        OneLine(group.base.path().display()),
        plural(adapters, "adapter"),
        price.work.passes,
        bytes(price.bytes),
        plural(price.work.layer_tokens as usize, "layer token"),
        duration(price.time)
    )
}
