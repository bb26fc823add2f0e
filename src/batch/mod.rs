//! Many adapters in one run: which ones there are, which of them are this process's, what is left to do, and what came of it.
//!
//! Nothing here evaluates or writes adapters; `commands::batch` does, with what `slim` and `cut` do for one. What a run needs to
//! go on after a kill lies in its output folder: the adapters, whole or not there, and `results.jsonl`, with a line for each.

pub mod jobs;
pub mod manifest;
pub mod partition;
pub mod results;
pub mod stamp;
pub mod summary;
