//! `lora-slim batch`: many adapters, without doing again what is done, and without losing anything when it is stopped.
//!
//! Flags become jobs (task.rs), jobs are sorted by what is left to do (worklist.rs), and the rest is slimmed (slim.rs), cut
//! (cut.rs) or estimated (price.rs). The record of each job goes to the results and to the user as soon as it ends (progress.rs).

mod cut;
mod price;
mod progress;
mod slim;
mod task;
mod worklist;

use std::collections::BTreeSet;
use std::path::Path;

use super::fetch::Finder;
use super::output::print;
use crate::batch::jobs::{self, FolderJobs, Job, LeftOut};
use crate::batch::partition::WHOLE;
use crate::batch::stamp::Hashes;
use crate::batch::{manifest, summary};
use crate::cli::BatchArgs;
use crate::error::Result;
use crate::files;
use crate::format::plural;
use crate::report::batch::Record;
use crate::report::text;
pub use progress::PrintedRecord;
use progress::{EndedBatch, RunningBatch};
use task::Task;
use worklist::{JobLog, Sources, Worklist};

pub fn run(args: BatchArgs, finder: Finder, quiet: bool) -> Result<bool> {
    let FolderJobs { jobs, left_out, .. } = find_jobs(&args)?;
    jobs::check_names(&jobs)?;
    jobs.iter().for_each(|job| task::declare_inputs(job, &args));
    files::check_folder(&args.output, &[])?;
    let partition = args.partition.unwrap_or(WHOLE);
    let mine: Vec<&Job> = jobs.iter().filter(|job| partition.has(&job.name)).collect();
    let left_out: Vec<Record> = left_out.iter().map(LeftOut::record).collect();
    let mine_left_out: Vec<&Record> = left_out.iter().filter(|record| partition.has(&record.name)).collect();
    if args.manifest.is_none() {
        // A mistake on the command line is the same for every job, and is reported once.
        jobs.first().map(|job| Task::read(job, &args, Finder::offline())).transpose()?;
    }
    if args.dry_run {
        let part = price::Part { jobs: &mine, left_out: &mine_left_out, partition };
        return price::dry_run(part, &args, finder, quiet);
    }
    let hashes = Hashes::default();
    let mut batch = RunningBatch::start(&args, partition, mine.len() + mine_left_out.len(), quiet)?;
    mine_left_out.iter().try_for_each(|&record| batch.add(record.clone()))?;
    let work = Worklist::new(&mine, &args, Sources { finder, hashes: &hashes }, &mut batch)?;
    slim::run(work.slims, &hashes, &mut batch)?;
    cut::run(work.cuts, &hashes, &mut batch)?;
    let names = jobs.iter().map(|job| job.name.as_str()).chain(left_out.iter().map(|record| record.name.as_str()));
    let names: BTreeSet<&str> = names.collect();
    let EndedBatch { results, outcomes, printed } = batch.finish(&names)?;
    let records = summary::write(&args.output, || results.of_all_parts(&names))?;
    warn_of_removed(&records);
    printed?;
    if !quiet && !args.json {
        print(&text::batch::end(mine.len(), outcomes.unchanged, &records, &args.output))?;
    }
    outcomes.check(mine.len() + mine_left_out.len(), results.path())
}

fn find_jobs(args: &BatchArgs) -> Result<FolderJobs> {
    let Some(folder) = &args.flags.input else {
        let jobs = manifest::read(args.manifest.as_deref().unwrap_or(Path::new("")))?;
        // The output of one job must not be the input of another.
        let adapters = jobs.iter().map(|job| Path::new(&job.adapter)).filter(|adapter| adapter.exists());
        files::check_folder(&args.output, &adapters.collect::<Vec<_>>())?;
        return Ok(FolderJobs { jobs, ..Default::default() });
    };
    files::check_folder(&args.output, &[folder])?;
    let found = jobs::below(folder)?;
    for remark in jobs::remarks(folder, &found.left_out) {
        tracing::warn!("{remark}");
    }
    if let Some(first) = found.nested.first() {
        tracing::warn!(
            "{} inside of others left out, first `{}`; a manifest can name them",
            plural(found.nested.len(), "adapter"),
            first.display()
        );
    }
    Ok(found)
}

fn warn_of_removed(records: &[Record]) {
    let removed: Vec<&str> =
        records.iter().filter(|record| record.removed).map(|record| record.name.as_str()).collect();
    if let Some(first) = removed.first() {
        tracing::warn!("{} without an adapter left as is, first `{first}`", plural(removed.len(), "result"));
    }
}
