//! Progress on stderr, where it is a terminal, and Ctrl-C, which stops the sweep between two steps so that every guard
//! on the way out can clean up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::measure::Progress;

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

/// Whether the user, or the system, wants this to end.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

#[derive(Clone)]
pub struct TerminalProgress {
    bar: ProgressBar,
}

impl TerminalProgress {
    pub fn new(quiet: bool) -> Self {
        catch_interrupts();
        Self { bar: styled(ProgressBar::with_draw_target(Some(0), target(quiet)), "{msg}") }
    }

    /// Shows a step. `false` after Ctrl-C.
    pub fn step(&self, step: Progress) -> bool {
        self.bar.set_length(step.total);
        self.bar.set_position(step.done);
        self.bar.set_message(format!("pass {} of {}, layer {:>2}", step.pass + 1, step.passes, step.layer));
        !interrupted()
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Progress over many adapters, and within those that are evaluated.
pub struct BatchProgress {
    bars: MultiProgress,
    whole: ProgressBar,
    pub within: TerminalProgress,
}

impl BatchProgress {
    pub fn new(quiet: bool, adapters: usize) -> Self {
        catch_interrupts();
        let bars = MultiProgress::with_draw_target(target(quiet));
        let whole = styled(bars.add(ProgressBar::new(adapters as u64)), "{pos} of {len} adapters");
        let within = TerminalProgress { bar: styled(bars.add(ProgressBar::new(0)), "{msg}") };
        Self { bars, whole, within }
    }

    /// One more is done; `say` writes what there is to say where the bars do not disturb it.
    pub fn done(&self, say: impl FnOnce()) {
        self.bars.suspend(say);
        self.whole.inc(1);
    }

    pub fn finish(&self) {
        self.within.finish();
        self.whole.finish_and_clear();
    }
}

fn target(quiet: bool) -> ProgressDrawTarget {
    if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() }
}

/// A bar behind what tells how far it is.
fn styled(bar: ProgressBar, beginning: &str) -> ProgressBar {
    if let Ok(style) = ProgressStyle::with_template(&format!("{beginning} {{bar:32}} {{percent:>3}} %, {{eta}} left")) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
