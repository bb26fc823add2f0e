//! The public interface: what a program, or a binding to another language, holds on to. Everything else may change.

use std::path::{Path, PathBuf};

use crate::choice::By;
use crate::choice::gates::{self, GATES};
use crate::choice::rules::{self, Rule};
use crate::choice::scale::Scaling;
use crate::error::{ChoiceError, Result};
use crate::export::Format;
use crate::files::{self, Staging};
use crate::measure::Progress;
use crate::metrics::Score;
use crate::pipeline::output::Target;
use crate::pipeline::request::{HeldOutSource, Minimize, Objective, Refinement, SampleOptions, Sizes};
use crate::pipeline::scorer::ScorerOptions;
use crate::pipeline::{self, Base, Evaluation, Request};
use crate::report::Report;
use crate::rewrite::steps::{STEPS, in_order};
use crate::samples::{Date, FieldNames, ScoredPart};
use crate::search::allocation::Ranks;

/// Validation samples: a file, and how it is read.
///
/// docs/samples.md lists the containers (JSON, CSV, Parquet …) and the forms (prompt/completion, messages …) that are read.
#[derive(Debug, Clone)]
pub struct Samples(SampleOptions);

impl Samples {
    /// The samples of a file, or of the folder of a data set. They are read when the adapter is evaluated.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::files([path])
    }

    /// The samples of several files, in this order.
    pub fn files(paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        let paths = paths.into_iter().map(Into::into).collect();
        Self(SampleOptions { paths, ..SampleOptions::default() })
    }

    /// Names the split to read of a data set that has several, for example `validation`.
    pub fn split(mut self, name: impl Into<String>) -> Self {
        self.0.read.split = Some(name.into());
        self
    }

    /// Runs prompts and completions through the model's chat template.
    pub fn chat(mut self, chat: bool) -> Self {
        self.0.encode.chat = chat;
        self
    }

    /// Scores this part of each sample. By default it is the completions, and the assistant's turns in conversations.
    pub fn scored(mut self, part: ScoredPart) -> Self {
        self.0.encode.scored = part;
        self
    }

    /// Replaces the model's chat template by the one in a Jinja file.
    pub fn chat_template(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.template.file = Some(path.into());
        self
    }

    /// Sets the day that a chat template gives for today. By default it is 2024-07-26.
    pub fn date(mut self, date: Date) -> Self {
        self.0.template.date = date;
        self
    }

    /// Names the fields that hold the prompt and the completion.
    pub fn fields(mut self, prompt: impl Into<String>, completion: impl Into<String>) -> Self {
        self.0.read.fields = FieldNames {
            prompt_field: Some(prompt.into()),
            completion_field: Some(completion.into()),
            ..self.0.read.fields
        };
        self
    }

    /// Takes the tokenizer from a folder or a tokenizer.json. By default it is the adapter's, else the base model's.
    pub fn tokenizer(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.tokenizer = Some(path.into());
        self
    }

    /// Uses only the first `count` samples.
    pub fn first(mut self, count: usize) -> Self {
        self.0.most = Some(count);
        self
    }

    /// Truncates samples that are longer than the model's context, which are an error otherwise.
    pub fn truncate(mut self, truncate: bool) -> Self {
        self.0.truncate = truncate;
        self
    }

    /// Scores the greedy answers of the whole adapter instead of those of the samples, which may be prompts alone.
    pub fn own_answers(mut self, own: bool) -> Self {
        (self.0.own_answers, self.0.read.prompts) = (own, own);
        self
    }

    /// Leaves out of what is scored the tokens that end answers.
    pub fn ignore_end(mut self, ignore: bool) -> Self {
        self.0.ignore_end = ignore;
        self
    }

    /// Holds out this share of the samples, between 0 and 1: they do not choose, but check what was chosen.
    pub fn hold_out(mut self, share: f64) -> Self {
        self.0.held_out = Some(HeldOutSource::Share(share));
        self
    }

    /// Checks what was chosen on the samples of another file.
    pub fn test_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.held_out = Some(HeldOutSource::File(path.into()));
        self
    }
}

/// Finds the boundary of an adapter, and then writes the smaller adapter: a builder with the defaults of the program `lora-slim`.
///
/// ```no_run
/// use lora_slim::{Samples, Slim};
///
/// let slimmed = Slim::new("my-adapter", Samples::file("val.jsonl").chat(true)).evaluate()?;
/// println!("boundary {}", slimmed.boundary());
/// slimmed.write("my-adapter-slim")?;
/// # Ok::<(), lora_slim::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Slim {
    request: Request,
    #[cfg(feature = "hub")]
    fetch: bool,
}

impl Slim {
    /// Slims an adapter, a PEFT folder or its name on the Hugging Face Hub, by these samples.
    pub fn new(adapter: impl Into<String>, samples: Samples) -> Self {
        let request = Request::new(adapter, PathBuf::new());
        Self {
            request: Request { samples: samples.0, ..request },
            #[cfg(feature = "hub")]
            fetch: false,
        }
    }

    /// Names the base model: a folder, a GGUF file, or a name on the Hugging Face Hub. By default it is the one that the adapter
    /// names.
    pub fn base(mut self, name: impl Into<String>) -> Self {
        self.request.base = Some(name.into());
        self
    }

    /// Fetches the adapter and the base model from the Hugging Face Hub into its cache if they are not on this machine, with the settings
    /// of the environment (`HF_TOKEN`, `HF_ENDPOINT`, `HF_HOME` …), unless it says `HF_HUB_OFFLINE`. By default, and in
    /// [`evaluate_on`](Self::evaluate_on), no connection is opened.
    #[cfg(feature = "hub")]
    pub fn fetch(mut self, fetch: bool) -> Self {
        self.fetch = fetch;
        self
    }

    /// Names the layers of the text decoder, where the adapter reaches several stacks of layers and neither it nor the base model
    /// tells which: `model.text_model.layers`.
    pub fn stack(mut self, name: impl Into<String>) -> Self {
        self.request.stack = Some(name.into());
        self
    }

    /// Chooses by another rule of [`rules`](crate::rules). The default is [`SMALLEST`](crate::rules::SMALLEST).
    pub fn rule(mut self, rule: &'static dyn Rule) -> Self {
        self.request.choice.rule = rule;
        self
    }

    /// Keeps the layers below `boundary`; the losses tell what that costs.
    pub fn boundary(mut self, boundary: usize) -> Self {
        (self.request.choice.rule, self.request.choice.boundary) = (rules::BOUNDARY, Some(boundary));
        self
    }

    /// Sets the share of the adapter's gain over the base model that `SMALLEST` may give up. The default is 0.02.
    pub fn margin(mut self, share: f64) -> Self {
        self.request.choice.margin = share;
        self
    }

    /// Judges by the loss alone, without the guard that keeps the probability of the true tokens.
    pub fn loss_only(mut self) -> Self {
        self.request.choice.guard = None;
        self
    }

    /// Judges boundaries by another measure, by its name in `--by`: `"accuracy"`, or a score of generated answers such as `"rouge-l"`.
    /// Fails where there is no such measure.
    pub fn by(mut self, name: &str) -> Result<Self> {
        let by = By::named(name);
        let wrong = || ChoiceError::Setting { name: name.into(), reason: names(By::all().map(By::name)) };
        let by = by.ok_or_else(wrong)?;
        self.request.choice = self.request.choice.judged(by);
        if let By::Answers(score) = by {
            let scores = &mut self.request.scoring.get_or_insert_default().scores;
            scores.retain(|&other| other != score);
            scores.insert(0, score);
        }
        Ok(self)
    }

    /// Scores answers by a program, a command line of the shell, whose score is `"scorer"`. It reads a JSON object a line, with
    /// `prompt`, `reference`, `answer` and `line`, and writes a number a line, the higher the better.
    pub fn scorer(mut self, command: impl Into<String>) -> Self {
        let options = ScorerOptions { command: command.into(), limit: ScorerOptions::DEFAULT_LIMIT };
        let scoring = self.request.scoring.get_or_insert_default();
        scoring.scorer = Some(options);
        if !scoring.scores.contains(&Score::Scorer) {
            scoring.scores.push(Score::Scorer);
        }
        self
    }

    /// Ends generated answers at a text, as they are served.
    pub fn stop(mut self, text: impl Into<String>) -> Self {
        self.request.scoring.get_or_insert_default().stop.push(text.into());
        self
    }

    /// Sets the most tokens of a generated answer. The default is 128 or, with [`by`](Self::by), half as many again as the longest
    /// reference has.
    pub fn max_new_tokens(mut self, count: usize) -> Self {
        self.request.scoring.get_or_insert_default().max_new_tokens = Some(count);
        self
    }

    /// Sets the one-sided confidence of every upper bound, from 0.5 to below 1. The default is 0.95.
    pub fn confidence(mut self, confidence: f64) -> Self {
        self.request.choice.confidence = confidence;
        self
    }

    /// Keeps at most `count` layers.
    pub fn max_layers(mut self, count: usize) -> Self {
        self.request.choice.limits.max_layers = Some(count);
        self
    }

    /// Keeps at most `bytes` bytes of tensors.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.request.choice.limits.max_bytes = Some(bytes);
        self
    }

    /// Looks for the fewest bytes that are surely as good as the whole adapter, instead of a boundary: drops any modules, and reduces
    /// the rank of each to what the samples need.
    pub fn minimize_bytes(self) -> Self {
        self.minimize(Objective::Bytes)
    }

    /// Looks for the lowest loss within so many bytes of tensors, as [`minimize_bytes`](Self::minimize_bytes) does for the fewest bytes.
    pub fn minimize_loss(self, max_bytes: u64) -> Self {
        self.minimize(Objective::Loss { max_bytes })
    }

    fn minimize(mut self, objective: Objective) -> Self {
        self.request.choice.rule = rules::WHOLE;
        self.request.refinement =
            Some(Refinement::Minimize(Minimize { objective, ranks: Ranks::ByModule, sizes: Sizes::Needed }));
        self
    }

    /// Gives all modules that are minimised one rank, for runtimes that know no other.
    pub fn same_rank(mut self) -> Self {
        if let Some(Refinement::Minimize(minimize)) = &mut self.request.refinement {
            minimize.ranks = Ranks::Same;
        }
        self
    }

    /// Evaluates every boundary on every sample, for the whole curve. By default a search drops boundaries as soon as the samples
    /// rule them out. Where something is minimised, it measures all sizes.
    pub fn exhaustive(mut self) -> Self {
        match &mut self.request.refinement {
            Some(Refinement::Minimize(minimize)) => minimize.sizes = Sizes::All,
            _ => self.request.search = None,
        }
        self
    }

    /// Also tunes the scale of what is kept.
    pub fn tune_scale(mut self) -> Self {
        self.request.scaling = Some(Scaling::Tune);
        self
    }

    /// Adds a step after the cut, by the name and the value of its flag: `("rank", Some("8"))`, `("dtype", Some("bf16"))`,
    /// `("portable", None)`. Fails where there is no such step, or it does not take the value.
    pub fn step(mut self, name: &str, value: Option<&str>) -> Result<Self> {
        let wrong = |reason: String| ChoiceError::Setting { name: name.into(), reason };
        let flag = STEPS.iter().find(|flag| flag.name == name);
        let flag = flag.ok_or_else(|| wrong(names(STEPS.iter().map(|flag| flag.name))))?;
        self.request.steps.push((flag.parse)(value).map_err(wrong)?);
        self.request.steps = in_order(self.request.steps);
        Ok(self)
    }

    /// Adds a gate, by the name and the value of its flag: `("require-saving", "20%")`. Where a gate fails, nothing is written. Fails
    /// where there is no such gate, or it does not take the value.
    pub fn gate(mut self, name: &str, value: &str) -> Result<Self> {
        let wrong = |reason: String| ChoiceError::Setting { name: name.into(), reason };
        let gate = GATES.into_iter().find(|gate| gate.name() == name);
        let gate = gate.ok_or_else(|| wrong(names(GATES.iter().map(|gate| gate.name()))))?;
        self.request.gates.0.push((gate, gate.parse(value).map_err(wrong)?));
        Ok(self)
    }

    /// Sets the bytes of memory that the evaluation may take. The default is 4 GiB.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.request.compute.memory = bytes;
        self
    }

    /// Opens the base model and evaluates the adapter on it.
    ///
    /// # Errors
    /// An adapter, base model or sample that cannot be read or evaluated, and whatever keeps them from fitting together.
    pub fn evaluate(&self) -> Result<Slimmed> {
        self.evaluate_with(&mut |_| true)
    }

    /// As [`evaluate`](Self::evaluate), with `on_progress` told of each step. It stops the evaluation by returning `false`.
    pub fn evaluate_with(&self, on_progress: &mut dyn FnMut(Progress) -> bool) -> Result<Slimmed> {
        #[cfg(feature = "hub")]
        if self.fetch {
            pipeline::fetch::fetch_all(&self.request)?;
        }
        pipeline::evaluate(&self.request, on_progress).map(Slimmed)
    }

    /// As [`evaluate`](Self::evaluate), on a base model that is open already.
    pub fn evaluate_on(&self, base: &Base) -> Result<Slimmed> {
        pipeline::evaluate_on(base, &self.request, &mut |_| true).map(Slimmed)
    }
}

/// The names that there are, for an error.
fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    format!("there is no such name; known are {}", names.collect::<Vec<_>>().join(", "))
}

/// An adapter, evaluated: the boundary that was chosen, why, and what it costs.
pub struct Slimmed(Evaluation);

impl Slimmed {
    /// The boundary: the adapter is kept in the layers below it. At 0 the adapter does not help, and there is nothing to write.
    pub fn boundary(&self) -> usize {
        self.0.choice.boundary()
    }

    /// Everything that was measured and decided, as `slim_report.json` has it.
    pub fn report(&self) -> &Report {
        &self.0.report
    }

    /// What the user should know before trusting the result, one sentence each. `report().warnings` has their codes and figures, too.
    pub fn notes(&self) -> Vec<String> {
        self.0.report.warnings.iter().map(|warning| warning.sentence.clone()).collect()
    }

    /// Writes the smaller adapter as a PEFT folder, whole or not at all, and returns its report.
    ///
    /// # Errors
    /// A gate that failed, an adapter that does not help, an `output` that exists or lies in an input, and failures of writing.
    pub fn write(&self, output: impl AsRef<Path>) -> Result<Report> {
        let (evaluation, output) = (&self.0, output.as_ref());
        evaluation.check()?;
        let adapter = evaluation.adapter.path.as_path();
        files::check_output(output, &[adapter, evaluation.base.path()], false)?;
        let staging = Staging::reserve(output, &[adapter], false)?;
        let exporter = Format::Peft.exporter(|| Ok(evaluation.base.clone()), evaluation.changes())?;
        let base = evaluation.known_base()?;
        pipeline::output::write_evaluation(
            evaluation,
            &Target { staging: &staging, exporter: &*exporter, base, runtimes: &[], has_card: true },
        )
    }

    /// Fails where a gate did.
    pub fn check_gates(&self) -> Result<()> {
        gates::check(&self.0.report.gates)
    }
}
