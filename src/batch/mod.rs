//! The bookkeeping of a batch: its jobs, this process's share of them, the results so far, and the summary.
//!
//! Nothing here evaluates or writes adapters; `commands::batch` does, with the code of `slim` and `cut`. The output folder holds
//! everything that a run needs to continue after a kill: the adapters, complete or absent, and `results.jsonl`, with a line for
//! each.

pub mod jobs;
pub mod manifest;
pub mod options;
pub mod partition;
pub mod proof;
pub mod results;
pub mod stamp;
pub mod summary;
