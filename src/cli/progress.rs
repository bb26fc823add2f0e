//! Progress on stderr if it is a terminal, and Ctrl-C, which stops a sweep between two steps so that temporary files are removed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::log_format::is_json;
use crate::format::plural;
use crate::measure::{Activity, Progress};
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

/// The target of events that say how far a command has come. Only a log in JSON has them.
pub const TARGET: &str = "lora_slim::progress";

/// The least time between two such events.
const PAUSE: Duration = Duration::from_secs(1);

/// Progress of sweeps. A bar belongs to one activity and never moves back; where an activity begins anew, and nothing knows how
/// often it will, the time that it has taken stands in its place.
#[derive(Clone)]
pub struct TerminalProgress {
    bar: ProgressBar,
    shown: Arc<Mutex<ShownProgress>>,
}

/// What the bar has shown.
#[derive(Default)]
struct ShownProgress {
    activity: Option<Activity>,
    /// How often the activity has begun.
    rounds: usize,
    last: u64,
    /// The largest share so far.
    share: f64,
    told: Option<Instant>,
}

/// How often a bar is drawn anew.
const TICK: Duration = Duration::from_millis(200);

/// The steps of a bar.
const STEPS: u64 = 1000;

impl TerminalProgress {
    /// Starts the bar, and catches signals.
    pub fn new(quiet: bool) -> Self {
        catch_interrupts();
        let progress = Self::on(ProgressBar::with_draw_target(Some(STEPS), target(quiet)));
        if let Ok(mut lone) = LONE.lock() {
            *lone = Some(progress.bar.clone());
        }
        progress
    }

    /// A bar that appears with the first step.
    fn on(bar: ProgressBar) -> Self {
        set_style(&bar, BAR);
        Self { bar, shown: Arc::default() }
    }

    /// Forgets what was shown: another adapter follows.
    pub fn begin_anew(&self) {
        if let Ok(mut seen) = self.shown.lock() {
            *seen = ShownProgress { told: seen.told, ..ShownProgress::default() };
        }
    }

    /// Shows a step. Returns `false` after Ctrl-C.
    pub fn step(&self, step: Progress) -> bool {
        if let Ok(mut seen) = self.shown.lock() {
            self.show(step, &mut seen);
        }
        !interrupted()
    }

    fn show(&self, step: Progress, seen: &mut ShownProgress) {
        if seen.activity != Some(step.activity) {
            *seen =
                ShownProgress { activity: Some(step.activity), rounds: 1, told: seen.told, ..ShownProgress::default() };
            // A bar is drawn with each change: it should have its text first.
            self.bar.set_message(step.activity.name());
            self.bar.reset();
            set_style(&self.bar, BAR);
            tracing::info!("{}", step.activity.name());
            self.bar.enable_steady_tick(TICK);
        } else if step.done <= seen.last {
            seen.rounds += 1;
            set_style(&self.bar, TIME);
        }
        seen.last = step.done;
        seen.share = seen.share.max(step.done as f64 / step.total.max(1) as f64).min(1.0);
        self.bar.set_length(STEPS);
        self.bar.set_position((seen.share * STEPS as f64) as u64);
        let name = step.activity.name();
        self.bar.set_message(match (seen.rounds, step.passes) {
            (1, 1) => format!("{name}, layer {:>2}", step.layer),
            (1, passes) => format!("{name}, pass {} of {passes}, layer {:>2}", step.pass + 1, step.layer),
            (round, _) => format!("{name}, round {round}, layer {:>2}", step.layer),
        });
        if seen.told.is_none_or(|told| told.elapsed() >= PAUSE) {
            seen.told = Some(Instant::now());
            let (pass, passes, layer) = (step.pass as u64 + 1, step.passes as u64, step.layer as u64);
            let (done, total, activity) = (step.done, step.total, name);
            tracing::info!(target: TARGET, activity, pass, passes, layer, done, total, "{name}");
        }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
        if let Ok(mut lone) = LONE.lock() {
            *lone = None;
        }
    }
}

/// The bar that lines on standard error have to go round. Those of a batch have their own way.
static LONE: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Writes while no bar is in the way.
pub fn beside_bar<T>(write: impl FnOnce() -> T) -> T {
    match LONE.try_lock().ok().and_then(|lone| lone.clone()) {
        Some(bar) => bar.suspend(write),
        None => write(),
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

    /// What has to come again is needed once more: the bar does not move back.
    pub fn moves_back(&self, bytes: u64) {
        self.bar.inc_length(bytes);
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
        let within = TerminalProgress::on(bars.add(ProgressBar::new(STEPS)));
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
    if quiet || is_json() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() }
}

/// What follows the text of a bar.
const BAR: &str = "{bar:20} {percent:>3} %, {eta} left";
/// What follows it where nobody knows the end.
const TIME: &str = "{spinner} {elapsed}";

/// A bar after a text.
fn styled(bar: ProgressBar, beginning: &str) -> ProgressBar {
    set_style_after(&bar, beginning, BAR);
    bar.enable_steady_tick(TICK);
    bar
}

fn set_style(bar: &ProgressBar, end: &str) {
    set_style_after(bar, "{msg}", end);
}

fn set_style_after(bar: &ProgressBar, beginning: &str, end: &str) {
    if let Ok(style) = ProgressStyle::with_template(&format!("{beginning} {end}")) {
        bar.set_style(style);
    }
}
