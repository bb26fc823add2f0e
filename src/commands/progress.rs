//! Progress on stderr, where it is a terminal, and Ctrl-C, which stops the sweep between two steps so that every guard
//! on the way out can clean up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::sweep::Step;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C and termination signals a request to stop. A second one ends the process at once.
pub fn catch_interrupts() {
    let caught = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(crate::Kind::Interrupted.exit_code()));
        }
    });
    if let Err(error) = caught {
        tracing::debug!("signals are not caught: {error}");
    }
}

pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub fn new(quiet: bool) -> Self {
        catch_interrupts();
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) = ProgressStyle::with_template("{msg} {bar:32} {percent:>3} %, {eta} left") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// Shows a step. `false` after Ctrl-C.
    pub fn step(&mut self, step: Step) -> bool {
        self.bar.set_length(step.total);
        self.bar.set_position(step.done);
        self.bar.set_message(format!("pass {} of {}, layer {:>2}", step.pass + 1, step.passes, step.layer));
        !INTERRUPTED.load(Ordering::SeqCst)
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
