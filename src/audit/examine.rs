//! What is wrong with an adapter and what runtimes make of it: the one source of the verdicts of `check`, `inspect`, `cut` and
//! `slim`.

use candle_core::Device;

use super::flaws::{Flaw, Misfit};
use super::runtimes::base_facts::BaseFacts;
use super::runtimes::facts::AdapterFacts;
use super::runtimes::{Runtime, RuntimeVerdict, verdict};
use crate::adapter::Adapter;
use crate::error::{BaseError, Error, Result};
use crate::hub::BasePath;
use crate::kernel::Arithmetic;
use crate::model::Model;
use crate::rewrite::steps::PlannedChanges;

/// What was found in a PEFT folder.
#[derive(Debug, Clone)]
pub struct Examination {
    pub flaws: Vec<Flaw>,
    pub runtimes: Vec<RuntimeVerdict>,
}

/// A base model, as far as it is known.
#[derive(Debug, Default)]
pub struct KnownBase {
    pub facts: BaseFacts,
    /// Absent where it cannot be run, or was not opened.
    model: Option<Model>,
}

impl KnownBase {
    /// Opens a base model for comparisons. Where it cannot be run, its configuration still gives the layers.
    pub fn open(base: &BasePath) -> Result<Self> {
        let mut facts = BaseFacts::of(base)?;
        match Model::open(base, &Device::Cpu, Arithmetic::F32) {
            Ok((model, _)) => {
                facts.layers = Some(model.config.layers);
                facts.family.get_or_insert(model.config.family.model_types[0].into());
                Ok(Self { facts, model: Some(model) })
            }
            Err(Error::Base(
                BaseError::UnsupportedFamily { .. }
                | BaseError::UnsupportedFeature { .. }
                | BaseError::Quantised { .. },
            )) => Ok(Self { facts, model: None }),
            Err(error) => Err(error),
        }
    }

    /// Where an adapter does not fit.
    pub fn misfits(&self, adapter: &Adapter) -> Vec<Flaw> {
        let error = self.model.as_ref().and_then(|model| model.check_fits(adapter).err());
        error.iter().map(misfit).collect()
    }
}

impl From<BaseFacts> for KnownBase {
    fn from(facts: BaseFacts) -> Self {
        Self { facts, model: None }
    }
}

fn misfit(error: &Error) -> Flaw {
    let misfit = match error {
        Error::Base(BaseError::TooFewLayers { .. } | BaseError::NoSuchModule { .. }) => Misfit::Absent,
        _ => Misfit::Sizes,
    };
    Flaw::DoesNotFit { what: error.to_string(), misfit }
}

/// Examines a PEFT folder for some runtimes. Reads all of its tensors.
pub fn examine(adapter: &Adapter, base: &KnownBase, runtimes: &[&'static Runtime]) -> Result<Examination> {
    let mut flaws = base.misfits(adapter);
    flaws.extend(adapter.flaws(base.facts.layers)?);
    let facts = AdapterFacts::new(adapter, &base.facts, PlannedChanges::default(), flaws);
    let runtimes = runtimes.iter().map(|runtime| verdict::of(runtime, &facts)).collect();
    Ok(Examination { flaws: facts.into_flaws(), runtimes })
}
