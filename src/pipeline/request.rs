//! The request for an evaluation: typed values with defaults.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use candle_core::Device;

use super::minimize::fleet::Common;
use super::scorer::ScorerOptions;
use crate::choice::ChoiceOptions;
use crate::choice::gates::Gates;
use crate::choice::scale::Scaling;
use crate::choice::subset::Grain;
use crate::kernel::Arithmetic;
use crate::measure::ComputeOptions;
use crate::metrics::Score;
use crate::rewrite::steps::SharedStep;
use crate::samples::read::ReadOptions;
use crate::samples::{EncodeOptions, TemplateOptions};
use crate::search::SearchOptions;
use crate::search::allocation::Ranks;

/// The default memory of an evaluation. A fixed number rather than a share of the machine's, so that the same request takes the
/// same passes everywhere.
pub const DEFAULT_MEMORY: u64 = 4 << 30;

/// Everything that an evaluation needs to know.
#[derive(Debug, Clone)]
pub struct Request {
    /// A folder, or a name in the Hugging Face cache.
    pub adapter: String,
    /// The command line that gives the same result, if there is one.
    pub command: Option<String>,
    /// A folder, a GGUF file or a name; `None` for the one that the adapter names.
    pub base: Option<String>,
    /// The decoder's layers, where the adapter reaches several stacks.
    pub stack: Option<String>,
    pub samples: SampleOptions,
    pub choice: ChoiceOptions,
    /// Adaptive with these options, or exhaustive.
    pub search: Option<SearchOptions>,
    /// Whether parts below the boundary may be dropped, too.
    pub refinement: Option<Refinement>,
    /// Whether what is kept is scaled, too.
    pub scaling: Option<Scaling>,
    /// Whether other layers are measured for comparison.
    pub controls: bool,
    /// Whether the probability curve is measured even if it does not choose.
    pub probability: bool,
    /// How generated answers are scored, if at all.
    pub scoring: Option<Scoring>,
    pub gates: Gates,
    /// The steps after the cut.
    pub steps: Vec<SharedStep>,
    pub arithmetic: Arithmetic,
    pub compute: ComputeOptions,
}

/// What may be dropped when a boundary is chosen.
#[derive(Debug, Clone, PartialEq)]
pub enum Refinement {
    /// The lowest layers: what is kept is a window.
    Window,
    /// Any parts.
    Subset(Grain),
    /// Any ranks of any modules, for the smallest adapter.
    Minimize(Minimize),
}

/// What is minimised, and which ranks may come of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Minimize {
    pub objective: Objective,
    pub ranks: Ranks,
    pub sizes: Sizes,
}

/// Which sizes of the ladder are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizes {
    /// Those that the search needs.
    Needed,
    /// Also some far from the smallest that holds, to show what each size costs.
    All,
}

/// What is minimised.
#[derive(Debug, Clone, PartialEq)]
pub enum Objective {
    /// The bytes, as long as the samples show that the result is as good as the whole adapter.
    Bytes,
    /// The loss, within so many bytes of tensors.
    Loss { max_bytes: u64 },
    /// The buffers of a runtime that serves several adapters: what is kept was chosen for all of them.
    Common(Arc<Common>),
}

impl Objective {
    /// The value of `--minimize`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Loss { .. } => "loss",
            Self::Common(_) => "common",
        }
    }
}

/// Where samples come from, and how they become tokens.
#[derive(Debug, Clone, Default)]
pub struct SampleOptions {
    /// Files, folders of data sets, or `-` for standard input.
    pub paths: Vec<PathBuf>,
    /// Samples that check the choice and have no part in it.
    pub held_out: Option<HeldOutSource>,
    pub read: ReadOptions,
    pub encode: EncodeOptions,
    pub tokenizer: Option<PathBuf>,
    /// What replaces the model's chat template, and the day that it gives.
    pub template: TemplateOptions,
    /// Whether the whole adapter's greedy answers take the place of those of the samples.
    pub own_answers: bool,
    /// Whether the tokens that end answers are left out of what is scored.
    pub ignore_end: bool,
    /// Only the first samples, this many.
    pub most: Option<usize>,
    /// Whether samples that are longer than the context are truncated; otherwise they are kept, or refused where positions are learned.
    pub truncate: bool,
    /// Whether the report may quote samples.
    pub quote: bool,
}

/// Where held-out samples come from.
#[derive(Debug, Clone, PartialEq)]
pub enum HeldOutSource {
    /// This share of the samples, drawn at random.
    Share(f64),
    /// A file of their own, or the folder of a data set.
    File(PathBuf),
}

/// How generated answers are scored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scoring {
    /// At least one, each once.
    pub scores: Vec<Score>,
    /// The most tokens of an answer; `None` for [`DEFAULT_MAX_NEW_TOKENS`](Self::DEFAULT_MAX_NEW_TOKENS) or, where answers choose,
    /// half as many again as the longest reference has.
    pub max_new_tokens: Option<usize>,
    /// Boundaries to be scored whatever their losses are.
    pub at: BTreeSet<usize>,
    /// Whether the report has the answers.
    pub keep_texts: bool,
    /// Texts that end an answer, beside the model's own tokens.
    pub stop: Vec<String>,
    /// The program that gives [`Score::Scorer`].
    pub scorer: Option<ScorerOptions>,
}

impl Scoring {
    /// About a paragraph, enough for most answers. A model that does not end its answers generates all of them.
    pub const DEFAULT_MAX_NEW_TOKENS: usize = 128;
}

impl Request {
    /// The request with the error that is left to one search. Where parts are dropped after the boundary is chosen, both searches
    /// may err, so each has half of the error: together they are wrong no more often than one alone may be.
    pub fn by_stage(&self) -> Self {
        let mut one = self.clone();
        // What is minimised is the whole adapter, which no search has chosen.
        let is_second = matches!(self.refinement, Some(Refinement::Window | Refinement::Subset(_)));
        if is_second {
            one.choice.confidence = 1.0 - (1.0 - self.choice.confidence) / 2.0;
            one.search = self.search.map(|search| SearchOptions { error: search.error / 2.0, ..search });
        }
        one
    }

    /// Whether answers are generated and scored.
    pub fn scores_answers(&self) -> bool {
        self.scoring.as_ref().is_some_and(|scoring| !scoring.scores.is_empty())
    }

    /// A request with the default rule, an adaptive search, and the arithmetic that is fastest on this processor.
    pub fn new(adapter: impl Into<String>, samples: impl Into<PathBuf>) -> Self {
        Self {
            adapter: adapter.into(),
            command: None,
            base: None,
            stack: None,
            samples: SampleOptions { paths: vec![samples.into()], ..SampleOptions::default() },
            choice: ChoiceOptions::default(),
            search: Some(SearchOptions::default()),
            refinement: None,
            scaling: None,
            controls: false,
            probability: false,
            scoring: None,
            gates: Gates::default(),
            steps: Vec::new(),
            arithmetic: Arithmetic::auto(),
            compute: ComputeOptions { memory: DEFAULT_MEMORY, device: Device::Cpu },
        }
    }
}
