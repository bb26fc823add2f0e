//! What the user can do about an error: a line of its own below it.

use super::{
    AdapterError, BaseError, BatchError, ChoiceError, ConfigError, Error, FileError, GateError, MetricError,
    SampleError, SweepError, TensorError,
};

impl Error {
    /// What the user can do about it, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::File(FileError::OutputExists { .. }) => {
                "choose another output folder, or replace this one with `--force`".into()
            }
            Error::File(FileError::Changed { .. }) => "run it again when nobody writes to it".into(),
            Error::File(FileError::Busy { .. }) => "wait until it is done, or choose another output".into(),
            Error::File(FileError::OutputNotAnAdapter { .. }) => {
                "`--force` replaces only adapter folders; choose another output folder".into()
            }
            Error::File(FileError::OutputOverlapsInput { .. }) => {
                "inputs are never changed; choose an output folder beside them".into()
            }
            Error::File(FileError::OutputsOverlap { .. }) => {
                "the adapter folder holds the adapter alone; choose a report file beside it".into()
            }
            Error::File(FileError::ReportExists { .. }) => {
                "choose another report file, or replace this one with `--force`".into()
            }
            Error::File(FileError::NotAReport { .. }) => {
                "`--force` replaces only reports that lora-slim wrote; choose another report file".into()
            }
            Error::File(FileError::LfsPointer { .. }) => "run `git lfs pull` in that repository".into(),
            Error::Tensor(TensorError::Truncated { .. }) => "the file is incomplete; download or copy it again".into(),
            Error::Adapter(AdapterError::NotAnAdapter { .. }) => {
                "give the folder that PEFT's `save_pretrained` wrote".into()
            }
            Error::Adapter(AdapterError::NotPeft { known, .. }) => {
                format!("convert it to PEFT's format first; known are {known}")
            }
            Error::Tensor(TensorError::Pickle { .. }) => {
                "load it where you trust it and save it with PEFT's `save_pretrained`, which writes safetensors".into()
            }
            Error::Adapter(AdapterError::SamePart { .. }) => {
                "save one adapter a folder (PEFT: `save_pretrained(OUT, selected_adapters=[NAME])`)".into()
            }
            Error::Adapter(AdapterError::SeveralStacks { .. }) => "name the one to cut with `--stack`".into(),
            Error::Adapter(AdapterError::CannotReduce { .. }) => {
                "leave `--rank` out; `--dtype` makes adapters of any kind smaller".into()
            }
            Error::Adapter(AdapterError::NotPortable { .. }) => {
                "leave `--portable` out; `lora-slim check` says which runtimes load it as it is".into()
            }
            Error::Adapter(AdapterError::NotInFormat { .. }) => {
                "leave `--format` out and write a PEFT folder; where ranks differ, or for AdaLoRA, add `--portable`"
                    .into()
            }
            Error::Adapter(AdapterError::Heads { .. }) => "name the base model that the adapter was trained on".into(),
            Error::Base(BaseError::NoGgufFamily { .. }) => {
                "leave `--format gguf` out, and try llama.cpp's own convert_lora_to_gguf.py".into()
            }
            Error::File(FileError::OutputIsFolder { .. }) => "leave the ending out".into(),
            Error::Adapter(AdapterError::CannotPad { .. }) => {
                "leave `--pad-zeros` out; runtimes that need it (LoRAX, TGI, S-LoRA) know plain LoRA only".into()
            }
            Error::Adapter(AdapterError::Overflow { .. }) => "`--dtype bf16` has the range of f32".into(),
            Error::Adapter(AdapterError::CannotEvaluate { .. }) => {
                "`lora-slim cut --boundary N` works without evaluating".into()
            }
            Error::Adapter(AdapterError::ChangesBase { .. }) => {
                "save it as plain LoRA where it was trained (PEFT: `save_pretrained(OUT, \
                 path_initial_model_for_weight_conversion=INITIAL)`); `lora-slim cut --boundary N` works as it is"
                    .into()
            }
            Error::Adapter(AdapterError::Unmet { remedy, .. }) => match remedy {
                Some(remedy) => format!("what helps: {remedy}"),
                None => "nothing that lora-slim writes helps; leave it out of `--for`".into(),
            },
            Error::Base(BaseError::Unnamed { .. }) => "name the base model with `--base`".into(),
            Error::Base(BaseError::NotFound { name, .. }) if name.contains('/') && !name.starts_with(['/', '.']) => {
                format!("download it first (`hf download {name}`), or point `--base` at a local folder or GGUF file")
            }
            Error::Base(BaseError::NotFound { .. }) => {
                "check the path; an adapter is a folder, a base model a folder or a GGUF file".into()
            }
            Error::Base(BaseError::NoRevision { name, revision }) => {
                format!("download it (`hf download {name} --revision {revision}`), or point `--base` at a local folder")
            }
            Error::Base(BaseError::UnsupportedFamily { supported, .. }) => {
                format!("supported are {supported}; `lora-slim cut --boundary N` works for any family")
            }
            Error::Base(BaseError::Quantised { .. }) => {
                "point `--base` at the full-precision model, or at a GGUF file of it".into()
            }
            Error::Base(BaseError::UnsupportedFeature { .. }) => {
                "`lora-slim cut --boundary N` works without evaluating".into()
            }
            Error::Base(
                BaseError::NoSuchModule { .. } | BaseError::ModuleShape { .. } | BaseError::TooFewLayers { .. },
            ) => "is this the model that the adapter was trained on?".into(),
            Error::Sample(SampleError::UnknownForm { .. }) => {
                "name the fields with `--prompt-field` and `--completion-field`".into()
            }
            Error::Sample(SampleError::TooLong { .. }) => {
                "shorten the sample, or cut all such with `--truncate`".into()
            }
            Error::Sample(SampleError::NoTokenizer { .. }) => {
                "give a tokenizer.json with `--tokenizer`, or samples with `input_ids` and `labels`".into()
            }
            Error::Sample(SampleError::NoChatTemplate { .. }) => {
                "give a tokenizer folder that has one with `--tokenizer`, or samples with prompt and completion".into()
            }
            Error::Sweep(SweepError::Memory { needed, .. }) => format!("pass `--memory {needed}`, or shorter samples"),
            Error::Sweep(SweepError::NotFinite { .. } | SweepError::NotFiniteBehind { .. }) => {
                "check the base model's weights and the sample".into()
            }
            Error::Sweep(SweepError::UnknownDevice { .. }) => {
                "known are `cpu`, `cuda`, `metal`, and by their number `cuda:N` and `metal:N`".into()
            }
            Error::Sweep(SweepError::DeviceNotBuilt { feature, .. }) => {
                format!("use `--device cpu`, or build it with `--features {feature}` (docs/devices.md)")
            }
            Error::Sweep(SweepError::DeviceUnavailable { .. }) => {
                "check that the device and its driver work and that its number is right, or use `--device cpu`".into()
            }
            Error::Sweep(SweepError::Bf16OnDevice { .. } | SweepError::NoBf16) => {
                "use `--precision f32`, or leave it out".into()
            }
            Error::Sweep(SweepError::Compute(_)) => "this is a bug in lora-slim; please report it".into(),
            Error::Metric(MetricError::NoTokenizer { .. }) => "give a tokenizer.json with `--tokenizer`".into(),
            Error::Metric(MetricError::NoPrompt { .. }) => {
                "give samples with a prompt and a completion, or leave `--metric` out".into()
            }
            Error::Metric(MetricError::Memory { needed, .. }) => {
                format!("pass `--memory {needed}`, or a smaller `--max-new-tokens`")
            }
            Error::Choice(ChoiceError::AdapterDoesNotHelp { .. }) => {
                "check that the samples fit the adapter's task and format (`--chat`?); `--boundary N` overrides".into()
            }
            Error::Batch(BatchError::NothingToDo) => {
                "give `--samples FILE`, or `--boundary N`, or what else `lora-slim cut --help` knows".into()
            }
            Error::Batch(BatchError::NoAdapters { .. }) => {
                "an adapter is a folder with an adapter_config.json; hidden folders are not looked at".into()
            }
            Error::Batch(BatchError::Manifest { .. }) => {
                "a line is a JSON object with adapter and, if wanted, base, samples, output and options".into()
            }
            Error::Batch(BatchError::Busy { .. }) => "wait for it, or choose another output folder".into(),
            Error::Batch(BatchError::NameTaken { .. }) => {
                "rename it, or give each job its own place with a manifest and `output`".into()
            }
            Error::Batch(BatchError::Options { .. }) => {
                "with samples they are those of `lora-slim slim`, without those of `lora-slim cut`".into()
            }
            Error::Batch(BatchError::Name { .. }) => "rename it".into(),
            Error::Config(ConfigError::UnknownKey { nearest: Some(nearest), .. }) => {
                format!("did you mean `{nearest}`?")
            }
            Error::Gate(GateError::Failed { .. }) => "nothing was written; the gate is yours to loosen".into(),
            Error::Choice(ChoiceError::NotAShare { .. }) => "write it as a number or in percent: `0.8`, `80%`".into(),
            Error::Choice(ChoiceError::NothingHeldOut { .. }) => {
                "give more samples, or others of their own with `--test FILE`".into()
            }
            Error::Choice(ChoiceError::OneStandardErrorWithoutBest { .. }) => {
                "add `--choose best`; `smallest` has `--margin` and `--confidence`".into()
            }
            _ => return None,
        };
        Some(hint)
    }
}
