//! Measuring: what a base model does on samples with an adapter in some of its layers.
//!
//! Streams of hidden states go through the layers side by side, so that each base weight is read once per pass for all of
//! them. There is one walk over the layers, and one memory budget; the curve, the logit lens, effects and generation are
//! four uses of them.
//!
//! All candidate boundaries share the *prefix stream*, the hidden states with the adapter on in every layer so far. At layer
//! `l` candidate `l` forks from it; the prefix goes on with the adapter, and all forked streams go on without:
//!
//! ```text
//! layer        0        1        2        3
//! prefix   ──A──┬────A──┬────A──┬────A──▶ b = L      A: with the adapter
//!          │    │       │       └────o──▶ b = 3      o: base model only
//!          │    │       └────o───────o──▶ b = 2
//!          │    └────o───────o───────o──▶ b = 1
//!          └o────────o───────o───────o──▶ b = 0
//! ```
//!
//! A curve from below mirrors this: its points share the stream of the base model, and each forks from it where its adapter
//! sets in.
//!
//! The whole curve costs L + L(L + 1)/2 layer passes, half of what L + 1 full forwards cost. On the CPU each stream has a
//! processor: what is too small to be divided within a stream, the element-wise work above all, keeps every processor busy
//! too.
//!
//! Several adapters of one base model go through together: they share each weight, and the stream of b = 0.

mod curve;
mod effects;
mod generation;
mod layers;
mod lens;
mod measurement;
mod memory;
mod prefix;
mod profile;
mod sensitivity;
mod side;
mod stream;
mod walk;

use candle_core::Device;

pub use curve::{Sweep, candidates, exhaustive_work, layer_passes, profiles, profiles_on, sweep};
pub use effects::effects;
pub use generation::{Completion, GenerateOptions, IsEnded, generate};
pub use lens::{Lens, Readout, logit_lens};
pub use measurement::{Curve, Measurement, Point, SampleScore, SampleSize, Work};
pub use profile::{Profile, Strength};
pub use sensitivity::{Sensitivity, sensitivities};
pub use side::DropSide;

/// Where to compute, and in how much memory.
#[derive(Debug, Clone)]
pub struct ComputeOptions {
    /// The bytes that streams, weights and intermediate values may take together.
    pub memory: u64,
    pub device: Device,
}

/// Called behind each layer. Returning `false` interrupts measuring, which is an error.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress) -> bool;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    Losses,
    Probabilities,
    Effects,
    Answers,
    Sensitivities,
}

impl Activity {
    /// As progress names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Losses => "measuring losses",
            Self::Probabilities => "reading probabilities",
            Self::Effects => "measuring effects",
            Self::Answers => "generating answers",
            Self::Sensitivities => "ranking modules",
        }
    }
}

/// How far measuring has come.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    pub activity: Activity,
    pub pass: usize,
    pub passes: usize,
    pub layer: usize,
    /// Token passes through layers, done and in all.
    pub done: u64,
    pub total: u64,
}
