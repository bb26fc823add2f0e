//! The results of a run, as one value that is written as JSON, printed as text and shown as a page.
//!
//! The schema is versioned and documented in `docs/report.md` and `docs/schemas/`. Nothing in a report
//! depends on the clock: the same run gives the same bytes.

pub mod alternatives;
pub mod batch;
pub mod card;
pub mod changed;
pub mod compare;
mod inputs;
pub mod metrics;
pub mod minimized;
pub mod page;
pub mod slices;
mod steps;
pub mod subset;
pub mod text;
pub mod warnings;
pub mod window;

use schemars::JsonSchema;
use serde::Serialize;

pub use alternatives::{Alternative, ScaleChoice};
pub use changed::ChangedSample;
pub use inputs::{AdapterInput, BaseInput, InputFile, SamplesInput};
pub use metrics::TaskMetrics;
pub use minimized::Minimized;
pub use slices::Slice;
pub use steps::StepDone;
pub use subset::SubsetChoice;
pub use window::WindowChoice;

use crate::audit::runtimes::RuntimeVerdict;
use crate::audit::serving::SlotMemory;
pub use crate::choice::gates::Written;
use crate::choice::gates::{Figures, GateVerdict, Gates};
use crate::choice::held_out::{HeldOutVerdict, SampleSet};
use crate::choice::stability::Share;
use crate::choice::{AssessedBoundary, Benefit, Choice, ChoiceOptions, Criterion};
use crate::export::Format;
use crate::search::Dropped;
pub use warnings::Warning;

/// Raised when a field changes its meaning or is removed; new fields do not raise it.
pub const SCHEMA_VERSION: u32 = 2;

/// The report of `slim`, `scan` and `cut`. Parts that a command does not have are absent.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Report {
    #[schemars(extend("const" = SCHEMA_VERSION))]
    pub schema_version: u32,
    pub tool: Tool,
    pub adapter: AdapterInput,
    /// The command line that gives the same result, without the place of the output. Absent for results of the library, and of
    /// adapters that a batch judges together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<BaseInput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<SamplesInput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<ChoiceOptions>,
    /// What the inputs hold that was not used, or not as it is written, one sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// A module that the adapter changes, and that text does not pass through: it is kept, and no figure reflects it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmeasured: Option<String>,
    /// What the user should know before trusting the result, the gravest first.
    pub warnings: Vec<Warning>,
    /// Lowest boundary first; the last one is the whole adapter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<CurvePoint>,
    /// How likely the true tokens are behind 0, 1, … layers; with the rule `curve` and with `--probability`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub probability: Vec<ProbabilityPoint>,
    /// Boundaries that an adaptive search did not evaluate on all samples.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<Dropped>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work: Option<WorkDone>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<Choice>,
    /// Whether the adapter is better than the base model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub benefit: Option<Benefit>,
    /// How often each boundary of the curve would be chosen on other samples: on 1000 resamplings of these. Absent where the
    /// boundary was given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stability: Vec<Share>,
    /// What is left of the layers below the boundary; absent without `--search subset` and `--search blocks`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subset: Option<SubsetChoice>,
    /// What is left when the lowest layers are dropped, too; absent without `--search window`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowChoice>,
    /// The smallest adapter, and the sizes that were measured; absent without `--minimize`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimized: Option<Minimized>,
    /// The scale of what is kept; absent without `--scale`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<ScaleChoice>,
    /// What is written, first, and the alternatives to it; absent without `--scale` and `--controls`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<Alternative>,
    /// What is written on each slice of the samples; absent without `--slice-by`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<Slice>,
    /// The check of the choice on samples that had no part in it; absent if none were held out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out: Option<HeldOut>,
    /// The scores of generated answers; absent without `--metric`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<TaskMetrics>,
    /// The scores that chose, where `metrics` has those on held-out samples; absent without `--by` and a metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choosing_metrics: Option<TaskMetrics>,
    /// What is (or, after `scan`, would be) written; absent at boundary 0, which is never written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
    /// The cut, and each step after it; absent without `--rank`, `--dtype`, `--portable` and `--pad-zeros`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepDone>,
    /// The gates and whether they passed; absent without gates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<GateVerdict>,
    /// What runtimes do with the adapter that was written; absent if none was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runtimes: Vec<RuntimeVerdict>,
    /// What servers with buffers allocate for the output; absent where it is not known for its base model, or for a GGUF file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub serving: Vec<SlotMemory>,
    /// The layers that the adapter has, lowest first; after `slim` and `scan`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerShare>,
    /// The samples that the chosen boundary makes worse most, the worst first, then those that it makes better, the
    /// best last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<ChangedSample>,
}

impl Report {
    /// A report that describes the adapter and nothing else.
    pub fn of(adapter: AdapterInput) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            tool: Tool::THIS,
            adapter,
            command: None,
            base: None,
            samples: None,
            options: None,
            remarks: Vec::new(),
            unmeasured: None,
            warnings: Vec::new(),
            curve: Vec::new(),
            probability: Vec::new(),
            dropped: Vec::new(),
            work: None,
            chosen: None,
            benefit: None,
            stability: Vec::new(),
            subset: None,
            window: None,
            minimized: None,
            scale: None,
            alternatives: Vec::new(),
            slices: Vec::new(),
            held_out: None,
            metrics: None,
            choosing_metrics: None,
            output: None,
            steps: Vec::new(),
            gates: Vec::new(),
            runtimes: Vec::new(),
            serving: Vec::new(),
            layers: Vec::new(),
            changed: Vec::new(),
        }
    }

    /// The figures of what is written: after all steps, with its scale, and without the parts that a further search
    /// dropped. They are from held-out samples if there are any. Everything that speaks of the loss of the output takes it from
    /// here.
    pub fn written(&self) -> Option<Written> {
        let last_step = self.steps.last();
        if let Some(held_out) = &self.held_out {
            let after_steps = last_step.and_then(|step| step.held_out);
            let (chosen, whole) = (held_out.verdict.chosen.assessment, held_out.verdict.whole.assessment);
            return Some(Written { on: SampleSet::HeldOut, assessment: after_steps.unwrap_or(chosen), whole });
        }
        let after_steps = last_step.and_then(|step| step.losses);
        let scaled = self.scale.as_ref().map(|scale| scale.assessment);
        let subset = self.subset.as_ref().map(|subset| subset.assessment);
        let window = self.window.as_ref().map(|window| window.assessment);
        let chosen = self.chosen.as_ref().map(|choice| choice.chosen.assessment);
        let minimized = self.minimized.as_ref().map(|minimized| minimized.assessment);
        let assessment = after_steps.or(minimized).or(scaled).or(subset).or(window).or(chosen)?;
        let whole = self.curve.last()?.assessed.assessment;
        Some(Written { on: SampleSet::Choosing, assessment, whole })
    }

    /// The figure of a boundary by the measure of the choice, for people.
    fn figure(&self, point: &CurvePoint) -> String {
        let measure = self.options.as_ref().map_or(Criterion::Loss, |options| options.measure);
        point.assessed.assessment.figure_text(measure)
    }

    /// As [`written`](Self::written), on the samples that choose.
    pub fn written_on_choosing(&self) -> Option<Written> {
        Self { held_out: None, ..self.clone() }.written()
    }

    /// The report with the verdicts of `gates`.
    pub fn judged_by(self, gates: &Gates) -> Self {
        let figures = Figures {
            bytes: self.output.as_ref().map(|output| (output.bytes_before, output.bytes_after)),
            measured: self.written(),
            samples: self.samples.as_ref().map(|samples| samples.draws),
        };
        Self { gates: gates.judge(&figures), ..self }
    }

    /// The report with its warnings, once all else in it is known.
    pub fn warned(self) -> Self {
        Self { warnings: warnings::of(&self), ..self }
    }

    /// The format of what is written.
    pub fn format(&self) -> Format {
        self.output.as_ref().and_then(|output| output.format).unwrap_or_default()
    }

    /// Whether the adapter is kept unchanged.
    pub fn changes_nothing(&self) -> bool {
        let same_bytes = self.output.as_ref().is_some_and(|output| output.bytes_after == output.bytes_before);
        same_bytes && self.scale.as_ref().is_none_or(|scale| scale.scale == 1.0)
    }

    /// The report for an adapter's folder, without quotes of samples: such folders are published, and samples may be private.
    pub fn without_texts(&self) -> Self {
        let mut report = self.clone();
        for sample in &mut report.changed {
            (sample.prompt, sample.answer) = (None, None);
        }
        for metrics in [&mut report.metrics, &mut report.choosing_metrics].into_iter().flatten() {
            metrics.examples.clear();
        }
        report
    }
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Tool {
    pub name: &'static str,
    pub version: &'static str,
}

impl Tool {
    pub const THIS: Tool = Tool { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") };
}

/// The check of the choice on held-out samples.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct HeldOut {
    pub samples: SamplesInput,
    /// The share of `--samples` that was held out; absent where they are a file of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// The samples that were left out because they are also among those that choose, and those that nearly are.
    pub left_out: LeftOut,
    #[serde(flatten)]
    pub verdict: HeldOutVerdict,
}

/// Held-out samples that do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LeftOut {
    pub copies: usize,
    pub near_duplicates: usize,
}

/// One boundary of the curve, compared with the whole adapter.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CurvePoint {
    #[serde(flatten)]
    pub assessed: AssessedBoundary,
    /// The bytes of the tensors that are kept.
    pub bytes: u64,
    /// The negative log-likelihood of each sample's answer tokens, summed, in nats.
    pub per_sample: Vec<f64>,
    /// The probabilities of each sample's answer tokens, summed.
    pub per_sample_probability: Vec<f64>,
    /// How many answer tokens of each sample are correct.
    pub per_sample_correct: Vec<usize>,
    /// As `per_sample`, of the tokens that end an answer alone.
    pub per_sample_end_loss: Vec<f64>,
    /// How many of the tokens that end an answer are correct, by sample.
    pub per_sample_end_correct: Vec<usize>,
}

impl CurvePoint {
    pub fn boundary(&self) -> usize {
        self.assessed.boundary
    }

    pub fn loss(&self) -> f64 {
        self.assessed.assessment.loss
    }
}

/// The hidden states behind a number of layers, read through the final norm and the head.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ProbabilityPoint {
    /// How many layers lie before; 0 is the embedding.
    pub layers: usize,
    /// The base model.
    pub base: Likelihood,
    /// With the whole adapter.
    pub adapted: Likelihood,
}

/// How likely answer tokens are, given all true tokens before them.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Likelihood {
    /// The mean over all answer tokens.
    pub probability: f64,
    /// Nats per answer token.
    pub loss: f64,
    /// The probabilities of each sample's answer tokens, summed.
    pub per_sample: Vec<f64>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WorkDone {
    /// How often the base weights were read.
    pub passes: usize,
    /// Tokens times layers that went through the decoder.
    pub layer_tokens: u64,
    /// What evaluating every boundary on every sample would have taken.
    pub exhaustive_layer_tokens: u64,
    /// As `layer_tokens`, of the search that went on after the boundary; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refining_layer_tokens: Option<u64>,
    /// The probability, at most, that this would have led to another choice; absent if it was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_probability: Option<f64>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Output {
    pub kept_layers: Vec<usize>,
    /// Where the base model has an encoder and a decoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stacks: Option<CutStack>,
    pub tensors_before: usize,
    pub tensors_after: usize,
    /// The bytes of tensors, without headers.
    pub bytes_before: u64,
    pub bytes_after: u64,
    /// Absent for a PEFT folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
}

/// Which of two stacks was cut.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CutStack {
    /// The stack that `kept_layers` are of.
    pub cut: String,
    /// The other one, of which everything is kept.
    pub whole: String,
}

/// The adapter's part in one layer.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LayerShare {
    pub layer: usize,
    /// The bytes of its tensors.
    pub bytes: u64,
    /// ‖ΔW‖: the Frobenius norm of what the adapter adds to the layer's weights; null where it has no plain factors.
    pub norm: Option<f64>,
    /// Whether the layer lies below the chosen boundary.
    pub kept: bool,
}
