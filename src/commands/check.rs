//! `lora-slim check`: whether an adapter is whole, and which runtimes load it.

use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::Serialize;
use serde_json::Value;

use super::{print, print_json};
use crate::adapter::Adapter;
use crate::adapter::export::Format;
use crate::adapter::flaws::Flaw;
use crate::adapter::keys::MOST_LAYERS;
use crate::base::{self, BasePath};
use crate::cli::CheckArgs;
use crate::error::{BaseError, Error, Result};
use crate::files;
use crate::kernel::Arithmetic;
use crate::model::Model;
use crate::report::text::runtimes as text;
use crate::runtimes::facts::Subject;
use crate::runtimes::{self, Outcome, RUNTIMES, Runtime, Verdict};

/// What `--json` writes.
#[derive(Serialize)]
struct Checked {
    adapter: String,
    format: String,
    /// What is wrong with the adapter itself.
    flaws: Vec<FoundFlaw>,
    runtimes: Vec<Verdict>,
}

#[derive(Serialize)]
struct FoundFlaw {
    what: String,
    /// Whether it can only be a mistake.
    certain: bool,
}

pub fn run(args: CheckArgs) -> Result<bool> {
    let Some(name) = &args.adapter else {
        print(&text::list());
        return Ok(true);
    };
    let path = base::find(name, None)?;
    let asked: &[&'static Runtime] = if args.runtime.is_empty() { &RUNTIMES } else { &args.runtime };
    let format = format_of(&path);
    let (flaws, runtimes) = match format {
        Format::Peft => check_folder(&args, &path, asked)?,
        form => (Vec::new(), runtimes::check_form(form, asked)),
    };
    let is_whole = flaws.iter().all(Flaw::may_be_meant);
    let is_loaded = args.runtime.is_empty() || runtimes.iter().all(|runtime| runtime.verdict == Outcome::Loads);
    let flaws = flaws.iter().map(|flaw| FoundFlaw { what: flaw.to_string(), certain: !flaw.may_be_meant() });
    let checked = Checked { adapter: name.clone(), format: format.to_string(), flaws: flaws.collect(), runtimes };
    if args.json {
        print_json(&checked);
    } else {
        let flaws: Vec<(bool, &str)> = checked.flaws.iter().map(|flaw| (flaw.certain, flaw.what.as_str())).collect();
        print(&text::checked(format, &flaws, &checked.runtimes));
    }
    Ok(is_whole && is_loaded)
}

/// The form of what lies there, by the names that lora-slim and others give to the files.
fn format_of(path: &Path) -> Format {
    let has = |name: &str| path.join(name).is_file();
    if path.extension().is_some_and(|extension| extension == "gguf") || has("adapter.gguf") {
        Format::Gguf
    } else if has("adapters.safetensors") && !has("adapter_model.safetensors") {
        Format::Mlx
    } else {
        Format::Peft
    }
}

fn check_folder(args: &CheckArgs, path: &Path, asked: &[&'static Runtime]) -> Result<(Vec<Flaw>, Vec<Verdict>)> {
    let adapter = Adapter::open(path, args.stack.as_deref())?;
    let base = match &args.base {
        Some(name) => Some(BasePath::find(name, None)?),
        // The one that the adapter names, if it happens to be here.
        None => adapter.config.text("base_model_name_or_path").and_then(|name| BasePath::find(name, None).ok()),
    };
    let (mut known, mut flaws) = (base.as_ref().map(Known::of).transpose()?.unwrap_or_default(), Vec::new());
    if let (Some(base), true) = (&base, args.base.is_some()) {
        match Model::open(base, &Device::Cpu, Arithmetic::F32) {
            Ok((model, _)) => {
                known.layers = Some(model.config.layers);
                known.family.get_or_insert(model.config.family.model_types[0].into());
                flaws.extend(model.check_fits(&adapter).err().map(|error| Flaw::Base(error.to_string())));
            }
            // Its configuration still tells the layers.
            Err(Error::Base(
                BaseError::UnsupportedFamily { .. }
                | BaseError::UnsupportedFeature { .. }
                | BaseError::Quantised { .. },
            )) => {}
            Err(error) => return Err(error),
        }
    }
    flaws.extend(adapter.flaws(known.layers)?);
    let subject = Subject::new(&adapter, known.layers, known.family.as_deref());
    Ok((flaws, runtimes::check(&subject, asked)))
}

/// What the configuration of a base model tells, whatever its family.
#[derive(Default)]
struct Known {
    layers: Option<usize>,
    family: Option<String>,
}

impl Known {
    fn of(base: &BasePath) -> Result<Self> {
        let BasePath::Folder(folder) = base else { return Ok(Self::default()) };
        let path: PathBuf = folder.join("config.json");
        let config: Value = files::read_json(&path)?;
        let text = config.get("text_config").unwrap_or(&config);
        let layers = ["num_hidden_layers", "n_layer", "num_layers"].iter().find_map(|key| text.get(*key)?.as_u64());
        let family = config.get("model_type").and_then(Value::as_str).map(String::from);
        let layers = layers.map(|layers| layers as usize).filter(|&layers| layers <= MOST_LAYERS);
        Ok(Self { layers, family })
    }
}
