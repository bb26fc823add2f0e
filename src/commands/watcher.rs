//! Who looks on while a command runs for another program.

use crate::measure::Progress;

/// Who is told how far a call has come, and may stop it. The thread that runs the call calls it.
pub trait Watcher {
    /// Called behind each layer.
    fn measures(&self, progress: Progress);
    /// Called while files arrive from the hub: the bytes that are there, and those that are needed so far.
    fn fetches(&self, done: u64, total: u64);
    /// Whether to stop.
    fn is_stopped(&self) -> bool;
}
