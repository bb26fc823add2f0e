//! What can go wrong, in the words the user reads.
//!
//! One enum per stage. Every message is one sentence that names the path or the value at fault; what to do
//! about it is the [`hint`](Error::hint), shown on a line of its own. [`Error::kind`] decides the exit code, so
//! that a pipeline can tell an input that will never work from a disk that may work in a minute.

mod hint;

use std::io;
use std::path::{Path, PathBuf};

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Any failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    #[error(transparent)]
    Base(#[from] BaseError),
    #[error(transparent)]
    Sample(#[from] SampleError),
    #[error(transparent)]
    Sweep(#[from] SweepError),
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    #[error(transparent)]
    Metric(#[from] MetricError),
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Gate(#[from] GateError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Page(#[from] PageError),
}

/// What a failure means for whoever started the program; see [`Kind::exit_code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command line asks for something that cannot be done.
    Usage,
    /// An input is wrong and will stay wrong.
    BadInput,
    /// Reading or writing failed; the same command may work later.
    Io,
    /// Everything worked, and the answer is no.
    No,
    /// Everything worked, and a gate that the user set did not hold.
    FailedGate,
    /// A bug in this program.
    Internal,
    /// Stopped by Ctrl-C or a termination signal.
    Interrupted,
}

impl Kind {
    /// All of them, from what can be lived with to what has to be looked at first.
    pub const BY_SEVERITY: [Kind; 7] =
        [Kind::No, Kind::FailedGate, Kind::Usage, Kind::BadInput, Kind::Io, Kind::Internal, Kind::Interrupted];

    pub fn severity(self) -> usize {
        Self::BY_SEVERITY.iter().position(|&kind| kind == self).unwrap_or(0)
    }

    pub fn of_exit_code(code: u8) -> Option<Kind> {
        Self::BY_SEVERITY.into_iter().find(|kind| kind.exit_code() == code)
    }

    /// Whether nothing went wrong, but the answer is no.
    pub fn is_refusal(self) -> bool {
        matches!(self, Kind::No | Kind::FailedGate)
    }

    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Usage => 2,
            Kind::BadInput => 3,
            Kind::Io => 4,
            Kind::No => 5,
            Kind::FailedGate => 6,
            Kind::Internal => 70,
            Kind::Interrupted => 130,
        }
    }
}

/// A template of the report page does not fit the report.
#[derive(Debug, thiserror::Error)]
#[error("the report page cannot be rendered: {0}")]
pub struct PageError(pub minijinja::Error);

/// Reading and writing files.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("`{}` will be a folder, with {file} in it", path.display())]
    OutputIsFolder { path: PathBuf, file: &'static str },
    #[error("cannot read `{}`: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write `{}`: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("`{}` is not valid JSON: {source}", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("`{}` is a Git LFS pointer, not the file itself", path.display())]
    LfsPointer { path: PathBuf },
    #[error("`{}` exists already", path.display())]
    OutputExists { path: PathBuf },
    #[error("`{}` was changed while it was read", path.display())]
    Changed { path: PathBuf },
    #[error("`{}` is larger than the {most} bytes that are read of such a file", path.display())]
    TooLarge { path: PathBuf, most: u64 },
    #[error("another run is writing `{}`", path.display())]
    Busy { path: PathBuf },
    #[error("`{}` exists and is not an adapter folder", path.display())]
    OutputNotAnAdapter { path: PathBuf },
    #[error("output `{}` and input `{}` overlap", output.display(), input.display())]
    OutputOverlapsInput { output: PathBuf, input: PathBuf },
    #[error("the outputs `{}` and `{}` overlap", one.display(), other.display())]
    OutputsOverlap { one: PathBuf, other: PathBuf },
    #[error("`{}` exists already", path.display())]
    ReportExists { path: PathBuf },
    #[error("`{}` exists and is not a report of lora-slim", path.display())]
    NotAReport { path: PathBuf },
}

impl FileError {
    pub fn read(path: &Path) -> impl FnOnce(io::Error) -> FileError + '_ {
        move |source| FileError::Read { path: path.into(), source }
    }

    pub fn write(path: &Path) -> impl FnOnce(io::Error) -> FileError + '_ {
        move |source| FileError::Write { path: path.into(), source }
    }
}

/// Weight files: safetensors and GGUF.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    #[error("`{}` is not a valid safetensors file: {source}", path.display())]
    Safetensors { path: PathBuf, source: safetensors::SafeTensorError },
    #[error("`{}` is not a valid GGUF file: {reason}", path.display())]
    Gguf { path: PathBuf, reason: String },
    #[error("`{}` is not a file of tensors that can be read without running code: {reason}", path.display())]
    Pickle { path: PathBuf, reason: String },
    #[error("`{}` holds {actual} bytes of tensors where its header promises {expected}", path.display())]
    Truncated { path: PathBuf, expected: u64, actual: u64 },
    #[error("`{}` lists the shard `{shard}`, which is not a plain file name", path.display())]
    ShardName { path: PathBuf, shard: String },
    #[error("tensor `{name}` is in more than one shard of `{}`", path.display())]
    DuplicateTensor { path: PathBuf, name: String },
    #[error("`{}` has no tensor `{name}`", path.display())]
    Missing { path: PathBuf, name: String },
    #[error("tensor `{name}` in `{}` has shape {actual:?} where {expected:?} is needed", path.display())]
    Shape { path: PathBuf, name: String, expected: Vec<usize>, actual: Vec<usize> },
    #[error("tensor `{name}` in `{}` has type {dtype}, which is not read", path.display())]
    Dtype { path: PathBuf, name: String, dtype: String },
    #[error("tensor `{name}` in `{}` holds NaN or infinite values", path.display())]
    NotFinite { path: PathBuf, name: String },
}

/// The adapter folder.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    #[error("`{}` is not a PEFT adapter folder: it has no {missing}", path.display())]
    NotAnAdapter { path: PathBuf, missing: &'static str },
    #[error("`{}` is not an adapter of a known method of PEFT: {found}", path.display())]
    NotPeft { path: PathBuf, found: String, known: String },
    #[error("`{key}` in `{}` should be {expected}", path.display())]
    ConfigValue { path: PathBuf, key: &'static str, expected: &'static str },
    #[error("`{}` holds no LoRA tensors", path.display())]
    Empty { path: PathBuf },
    #[error("module `{module}` in `{}` has {present} without {absent}", path.display())]
    HalfAPair { path: PathBuf, module: String, present: &'static str, absent: &'static str },
    #[error("the tensors `{one}` and `{other}` of `{}` are the same factor of one module", path.display())]
    SamePart { path: PathBuf, one: String, other: String },
    #[error("module `{module}` in `{}` has rank {actual} in its tensors but {expected} in adapter_config.json", path.display())]
    Rank { path: PathBuf, module: String, expected: usize, actual: usize },
    #[error("tensor `{tensor}` in `{}` does not fit the other factors of module `{module}`", path.display())]
    Factors { path: PathBuf, module: String, tensor: String },
    #[error("a tensor of `{}` says that it belongs to layer {layer}, which no model has", path.display())]
    LayerNumber { path: PathBuf, layer: usize },
    #[error("no tensor of `{}` belongs to a numbered layer", path.display())]
    NoLayers { path: PathBuf },
    #[error("`{}` adapts several layer stacks: {}", path.display(), stacks.join(", "))]
    SeveralStacks { path: PathBuf, stacks: Vec<String> },
    #[error("`{}` has no layer stack `{stack}`; it has {}", path.display(), stacks.join(", "))]
    UnknownStack { path: PathBuf, stack: String, stacks: Vec<String> },
    #[error("`{}` uses {feature}, which `slim` and `scan` cannot evaluate", path.display())]
    CannotEvaluate { path: PathBuf, feature: String },
    #[error("`{}` was trained with {init}, which changes the base weights too, so that it does not fit the base model on disk", path.display())]
    ChangesBase { path: PathBuf, init: String },
    #[error("`{}` uses {feature}, which cannot be cut", path.display())]
    CannotCut { path: PathBuf, feature: String },
    #[error("`{}` uses {feature}, whose rank cannot be reduced", path.display())]
    CannotReduce { path: PathBuf, feature: String },
    #[error("`{}` uses {feature}, which plain LoRA with one rank and one alpha cannot express", path.display())]
    NotPortable { path: PathBuf, feature: String },
    #[error("`{}` uses {feature}, which the format {format} cannot hold", path.display())]
    NotInFormat { path: PathBuf, feature: String, format: String },
    #[error("the rows of module `{module}` in `{}` are not those of the heads that `{}` has", path.display(), base.display())]
    Heads { path: PathBuf, module: String, base: PathBuf },
    #[error("`{}` uses {feature}, which zeros cannot fill up", path.display())]
    CannotPad { path: PathBuf, feature: String },
    #[error("module `{module}` in `{}` has no singular value decomposition that converges", path.display())]
    Decomposition { path: PathBuf, module: String },
    #[error("tensor `{tensor}` in `{}` has values that {dtype} cannot hold", path.display())]
    Overflow { path: PathBuf, tensor: String, dtype: String },
    #[error("layer {layer} is beyond the {layers} layers of `{}`", path.display())]
    LayerOutOfRange { path: PathBuf, layer: usize, layers: usize },
    #[error("nothing of `{}` would be left: an empty adapter is never written", path.display())]
    NothingLeft { path: PathBuf },
    #[error("{runtime} {outcome} what is written of `{}`: {what}", path.display())]
    Unmet { path: PathBuf, runtime: &'static str, outcome: &'static str, what: String, remedy: Option<String> },
}

/// The base model: finding it and reading its configuration.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    #[error("the adapter `{}` does not name its base model", adapter.display())]
    Unnamed { adapter: PathBuf },
    #[error("`{name}` is neither a local path nor in the Hugging Face cache `{}`", cache.display())]
    NotFound { name: String, cache: PathBuf },
    #[error("`{name}` is in the Hugging Face cache but without the revision `{revision}`")]
    NoRevision { name: String, revision: String },
    #[error("`{}` has the architecture `{architecture}`, whose names in GGUF are not known", path.display())]
    NoGgufFamily { path: PathBuf, architecture: String },
    #[error("the table of GGUF names cannot be read: {source}")]
    FamilyTable { source: serde_json::Error },
    #[error("`{}` is not a base model: {reason}", path.display())]
    NotAModel { path: PathBuf, reason: String },
    #[error("`{}` has the model type `{model_type}`, which is not supported yet", path.display())]
    UnsupportedFamily { path: PathBuf, model_type: String, supported: String },
    #[error("`{}` is quantised ({method}), so that its weights cannot be read as numbers", path.display())]
    Quantised { path: PathBuf, method: String },
    #[error("`{}` uses {feature}, which is not supported yet", path.display())]
    UnsupportedFeature { path: PathBuf, feature: String },
    #[error("`{key}` in the configuration of `{}` {problem}", path.display())]
    Config { path: PathBuf, key: String, problem: &'static str },
    #[error("adapter module `{module}` does not exist in the base model `{}`", base.display())]
    NoSuchModule { base: PathBuf, module: String },
    #[error(
        "adapter module `{module}` maps {adapter_in} to {adapter_out} values, but in the base model `{}` it maps {base_in} to {base_out}",
        base.display()
    )]
    ModuleShape {
        base: PathBuf,
        module: String,
        adapter_in: usize,
        adapter_out: usize,
        base_in: usize,
        base_out: usize,
    },
    #[error("the adapter reaches layer {layer}, but the base model `{}` has {layers} layers", base.display())]
    TooFewLayers { base: PathBuf, layer: usize, layers: usize },
}

/// The samples and their tokens.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    #[error("`{}` holds no samples", path.display())]
    Empty { path: PathBuf },
    #[error("{}:{line}: {problem}", path.display())]
    Malformed { path: PathBuf, line: usize, problem: String },
    #[error("{}:{line}: no form of sample is known with the fields {fields}", path.display())]
    UnknownForm { path: PathBuf, line: usize, fields: String },
    #[error("{}:{line}: no answer token is left to score", path.display())]
    NoAnswer { path: PathBuf, line: usize },
    #[error("{}:{line}: the sample has {tokens} tokens, the model's context {context}", path.display())]
    TooLong { path: PathBuf, line: usize, tokens: usize, context: usize },
    #[error("{}:{line}: token id {id} is outside the model's vocabulary of {vocabulary}", path.display())]
    TokenOutOfVocabulary { path: PathBuf, line: usize, id: u32, vocabulary: usize },
    #[error("no tokenizer was found for `{}`", path.display())]
    NoTokenizer { path: PathBuf },
    #[error("cannot use the tokenizer `{}`: {reason}", path.display())]
    Tokenizer { path: PathBuf, reason: String },
    #[error("`{}` has no chat template", path.display())]
    NoChatTemplate { path: PathBuf },
    #[error("{}:{line}: the chat template failed: {reason}", path.display())]
    ChatTemplate { path: PathBuf, line: usize, reason: String },
}

/// The forward passes.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    #[error("the sweep needs at least {needed} bytes of memory, the budget is {budget}")]
    Memory { needed: u64, budget: u64 },
    #[error("the loss at boundary {boundary} is not a finite number (sample {sample})")]
    NotFinite { boundary: usize, sample: usize },
    #[error("the loss behind {layers} layers is not a finite number (sample {sample})")]
    NotFiniteBehind { layers: usize, sample: usize },
    #[error("`{name}` is not the name of a device")]
    UnknownDevice { name: String },
    #[error("this lora-slim was built without support for the device `{device}`")]
    DeviceNotBuilt { device: String, feature: &'static str },
    #[error("cannot open the device `{device}`: {reason}")]
    DeviceUnavailable { device: String, reason: String },
    #[error("bf16 products are computed by processors only, not by the device `{device}`")]
    Bf16OnDevice { device: String },
    #[error("this processor has no bf16 unit that can be used")]
    NoBf16,
    #[error("the adapters of one sweep have different base models, or there are none")]
    NoCommonBase,
    #[error("interrupted")]
    Interrupted,
    #[error("a tensor operation failed: {}", .0.to_string().lines().next().unwrap_or_default())]
    Compute(#[from] candle_core::Error),
}

/// Choosing the boundary.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    #[error("the adapter does not help on these samples: boundary 0, the base model alone, is chosen by `{rule}`")]
    AdapterDoesNotHelp { rule: &'static str },
    #[error("boundary {boundary} is not between 1 and {layers}, the number of layers")]
    OutOfRange { boundary: usize, layers: usize },
    #[error("boundary {boundary} keeps no layer: the lowest of the adapter is layer {lowest}")]
    KeepsNothing { boundary: usize, lowest: usize },
    #[error("`{flag} {given}` is not a share from {least} to below 1")]
    NotAShare { flag: &'static str, given: String, least: f64 },
    #[error("`--one-standard-error` does not go with the rule `{rule}`")]
    OneStandardErrorWithoutBest { rule: &'static str },
    #[error("`--holdout {share}` of {samples} samples leaves none to choose by, or none to check with")]
    NothingHeldOut { share: f64, samples: usize },
    #[error("no boundary fits {limit}: the smallest adapter that keeps a layer has {smallest}")]
    LimitTooSmall { limit: String, smallest: String },
}

/// Generating answers and scoring them.
#[derive(Debug, thiserror::Error)]
pub enum MetricError {
    #[error("metrics compare texts, and no tokenizer was found for `{}`", path.display())]
    NoTokenizer { path: PathBuf },
    #[error("{}:{line}: there is no prompt to answer: all of the sample is scored, up to its last answer", path.display())]
    NoPrompt { path: PathBuf, line: usize },
    #[error("generating an answer needs at least {needed} bytes of memory, the budget is {budget}")]
    Memory { needed: u64, budget: u64 },
}

/// Many adapters at once.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error("`{}` has no adapters", path.display())]
    NoAdapters { path: PathBuf },
    #[error("{}:{line}: {reason}", path.display())]
    Manifest { path: PathBuf, line: usize, reason: String },
    #[error("there is no place for the output `{name}`, which {taken_by}")]
    NameTaken { name: String, taken_by: String },
    #[error("the path `{}` is not Unicode, so that no result could name it", path.display())]
    Name { path: PathBuf },
    #[error("`{given}` is no part of a batch: {reason}")]
    Partition { given: String, reason: String },
    #[error("the options of `{name}` do not work: {reason}")]
    Options { name: String, reason: String },
    #[error("there is nothing to do: no samples to choose by, and no boundary to cut at")]
    NothingToDo,
    #[error("another run writes to `{}`", path.display())]
    Busy { path: PathBuf },
    #[error("{failed} of {jobs} adapters are not done; `{}` says why", results.display())]
    NotAllDone { failed: usize, jobs: usize, results: PathBuf, kind: Kind },
    #[error("{failed} of {jobs} adapters cannot be done as they are")]
    CannotBeDone { failed: usize, jobs: usize, kind: Kind },
}

/// What the user wants to hold of the result.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    #[error("{} failed: {}", if failed.len() == 1 { "a gate" } else { "gates" }, failed.join("; "))]
    Failed { failed: Vec<String> },
}

/// The config file, which is a part of the command line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("`{}` is not valid TOML: {reason}", path.display())]
    Toml { path: PathBuf, reason: String },
    #[error("`{key}` in `{}` is not a flag of {of}", path.display())]
    UnknownKey { path: PathBuf, key: String, of: String, nearest: Option<String> },
    #[error("`{key}` in `{}` should be {expected}", path.display())]
    Value { path: PathBuf, key: String, expected: &'static str },
    #[error("`--{flag}` cannot be written as TOML: its value is not UTF-8")]
    NotUtf8 { flag: String },
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        SweepError::Compute(error).into()
    }
}

impl Error {
    /// The same of `adapter`, where the error names what a step made of it, which is gone when the user reads this.
    pub fn about(mut self, adapter: &Path) -> Self {
        use AdapterError as E;
        if let Error::Adapter(
            E::CannotReduce { path, .. }
            | E::NotPortable { path, .. }
            | E::CannotPad { path, .. }
            | E::NotInFormat { path, .. }
            | E::Heads { path, .. }
            | E::Decomposition { path, .. }
            | E::Overflow { path, .. }
            | E::Unmet { path, .. },
        )
        | Error::Tensor(TensorError::NotFinite { path, .. }) = &mut self
        {
            *path = adapter.into();
        }
        self
    }

    /// What kind of failure this is, which decides the exit code.
    pub fn kind(&self) -> Kind {
        use io::ErrorKind as E;
        match self {
            Error::File(FileError::Read { source, .. }) => match source.kind() {
                E::NotFound | E::IsADirectory | E::NotADirectory | E::InvalidData | E::InvalidInput => Kind::BadInput,
                _ => Kind::Io,
            },
            // A name that is too long, or has characters that the file system refuses.
            Error::File(FileError::Write { source, .. }) if source.kind() == E::InvalidFilename => Kind::Usage,
            Error::File(FileError::Write { .. } | FileError::Busy { .. } | FileError::Changed { .. }) => Kind::Io,
            Error::File(FileError::Json { .. } | FileError::LfsPointer { .. } | FileError::TooLarge { .. }) => {
                Kind::BadInput
            }
            Error::File(_) => Kind::Usage,
            Error::Batch(BatchError::NotAllDone { kind, .. } | BatchError::CannotBeDone { kind, .. }) => *kind,
            Error::Batch(BatchError::Busy { .. }) => Kind::Io,
            Error::Batch(BatchError::NoAdapters { .. } | BatchError::Manifest { .. } | BatchError::Name { .. }) => {
                Kind::BadInput
            }
            Error::Batch(_) => Kind::Usage,
            Error::Choice(ChoiceError::AdapterDoesNotHelp { .. }) => Kind::No,
            Error::Gate(_) => Kind::FailedGate,
            Error::Config(_) => Kind::Usage,
            Error::Page(_) => Kind::Internal,
            Error::Choice(_) => Kind::Usage,
            Error::Adapter(AdapterError::LayerOutOfRange { .. } | AdapterError::UnknownStack { .. }) => Kind::Usage,
            Error::Sweep(SweepError::Interrupted) => Kind::Interrupted,
            Error::Base(BaseError::FamilyTable { .. }) => Kind::Internal,
            Error::Sweep(SweepError::Compute(_) | SweepError::NoCommonBase) => Kind::Internal,
            Error::Sweep(SweepError::DeviceUnavailable { .. }) => Kind::Io,
            Error::Sweep(
                SweepError::Memory { .. }
                | SweepError::UnknownDevice { .. }
                | SweepError::DeviceNotBuilt { .. }
                | SweepError::Bf16OnDevice { .. }
                | SweepError::NoBf16,
            ) => Kind::Usage,
            Error::Metric(MetricError::Memory { .. }) => Kind::Usage,
            Error::Metric(_) => Kind::BadInput,
            Error::Tensor(_) | Error::Adapter(_) | Error::Base(_) | Error::Sample(_) | Error::Sweep(_) => {
                Kind::BadInput
            }
        }
    }
}
