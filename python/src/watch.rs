//! What the thread of a call and the one that waits for it tell each other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use lora_slim::samples::tokenizer;
use lora_slim::{Progress, Watcher};

/// How far a call has come: the stage, what is done of how much, and the place in words.
pub type Step = (&'static str, u64, u64, String);

/// The newest step, and whether to stop.
#[derive(Default)]
pub struct SharedWatcher {
    latest: Mutex<Option<Step>>,
    is_stopped: AtomicBool,
    has_interrupted: AtomicBool,
}

impl SharedWatcher {
    /// The newest step that was not taken yet.
    pub fn latest(&self) -> Option<Step> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Stops the call behind its layer and, with `tokenizers`, those at their texts: one long text may take minutes.
    pub fn stop(&self, tokenizers: bool) {
        self.is_stopped.store(true, Ordering::SeqCst);
        if tokenizers {
            self.has_interrupted.store(true, Ordering::SeqCst);
            tokenizer::interrupt();
        }
    }

    /// Called when the call has ended.
    pub fn end(&self) {
        if self.has_interrupted.load(Ordering::SeqCst) {
            tokenizer::resume();
        }
    }

    fn tell(&self, step: Step) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(step);
    }
}

impl Watcher for SharedWatcher {
    fn measures(&self, progress: Progress) {
        let place = format!("pass {} of {}, layer {}", progress.pass + 1, progress.passes, progress.layer);
        self.tell(("measure", progress.done, progress.total, place));
    }

    fn fetches(&self, done: u64, total: u64) {
        self.tell(("fetch", done, total, String::new()));
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::SeqCst)
    }
}
