//! Progress on stderr if it is a terminal, and Ctrl-C, which stops a sweep between two steps so that temporary files are removed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::format::plural;
use crate::measure::Progress;
use crate::samples::tokenizer;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Turns Ctrl-C and termination signals into a request to stop. A second one ends the process at once.
pub fn catch_interrupts() {
    let caught = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(crate::Kind::Interrupted.exit_code()));
        }
        // One long text may take it minutes.
        tokenizer::interrupt();
    });
    if let Err(error) = caught {
        tracing::debug!("cannot catch signals: {error}");
    }
}

/// Whether the user or the system has asked the process to stop.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Progress of a sweep.
#[derive(Clone)]
pub struct TerminalProgress {
    bar: ProgressBar,
}

impl TerminalProgress {
    /// Starts the bar, and catches signals.
    pub fn new(quiet: bool) -> Self {
        catch_interrupts();
        Self { bar: styled(ProgressBar::with_draw_target(Some(0), target(quiet)), "{msg}") }
    }

    /// Shows a step. Returns `false` after Ctrl-C.
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

/// Progress of files that arrive.
#[cfg(feature = "hub")]
pub struct ByteProgress {
    bar: ProgressBar,
}

#[cfg(feature = "hub")]
impl ByteProgress {
    /// Starts the bar, and catches signals.
    pub fn new(quiet: bool) -> Self {
        catch_interrupts();
        Self { bar: styled(ProgressBar::with_draw_target(Some(0), target(quiet)), "{bytes} of {total_bytes}") }
    }

    pub fn needs(&self, bytes: u64) {
        self.bar.inc_length(bytes);
    }

    pub fn moves(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    pub fn moves_back(&self, bytes: u64) {
        self.bar.dec(bytes);
    }
}

#[cfg(feature = "hub")]
impl Drop for ByteProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Progress over the adapters of a batch, and within the sweep that is running.
pub struct BatchProgress {
    bars: MultiProgress,
    whole: ProgressBar,
    pub within: TerminalProgress,
}

impl BatchProgress {
    pub fn new(quiet: bool, adapters: usize) -> Self {
        catch_interrupts();
        let bars = MultiProgress::with_draw_target(target(quiet));
        let whole =
            styled(bars.add(ProgressBar::new(adapters as u64)), &format!("{{pos}} of {}", plural(adapters, "adapter")));
        let within = TerminalProgress { bar: styled(bars.add(ProgressBar::new(0)), "{msg}") };
        Self { bars, whole, within }
    }

    /// Counts one more adapter. `print` runs while the bars are hidden, and its result is returned.
    pub fn done<T>(&self, print: impl FnOnce() -> T) -> T {
        let printed = self.bars.suspend(print);
        self.whole.inc(1);
        printed
    }

    pub fn finish(&self) {
        self.within.finish();
        self.whole.finish_and_clear();
    }
}

fn target(quiet: bool) -> ProgressDrawTarget {
    if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() }
}

/// A bar after a text.
fn styled(bar: ProgressBar, beginning: &str) -> ProgressBar {
    if let Ok(style) = ProgressStyle::with_template(&format!("{beginning} {{bar:32}} {{percent:>3}} %, {{eta}} left")) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
