//! Why an adapter changes nothing of what the base model makes of text.

use super::names::Part;
use super::targets::MovedModule;
use super::{Adapter, Method, Module};
use crate::error::Result;
use crate::format::first_names;

/// The cause why nothing that an adapter adds reaches the output. Weights that replace the base model's may still do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoEffect {
    #[error(
        "`{key}` is 0, so that the adapter changes nothing in the modules that it wraps: put the value there that it was trained \
         with"
    )]
    ZeroAlpha { key: &'static str },
    #[error(
        "`alpha_pattern` gives every module an alpha of 0, so that the adapter changes nothing in them: put the values there that it \
         was trained with"
    )]
    ZeroAlphas,
    #[error(
        "a factor of every module is all zeros (`{module}` and the others), so that the adapter changes nothing in them: it was \
         saved before training, or without the weights that were trained"
    )]
    ZeroFactors { module: String },
    #[error(
        "all of its modules lie in `{stack}`, through which text does not pass: on text, the adapter changes nothing"
    )]
    OutsideOfText { stack: String },
}

/// Words in the names of stacks that images or sound pass through, and text does not.
const OTHER_SENSES: [&str; 5] = ["vision", "visual", "image", "audio", "speech"];

impl Adapter {
    /// Finds the cause why the adapter changes nothing, if it does not. Reads values up to the first module that changes something.
    pub(super) fn find_no_effect(&self) -> Result<Option<NoEffect>> {
        let Some(first) = self.modules().values().next() else { return Ok(None) };
        let is_elsewhere = |module: &Module| OTHER_SENSES.iter().any(|sense| module.name.contains(sense));
        if self.modules().values().all(is_elsewhere) {
            return Ok(Some(NoEffect::OutsideOfText { stack: self.stack.clone() }));
        }
        if let Some(key) = self.config.method.alpha_key()
            && self.modules().values().all(|module| module.scaling(&self.config) == 0.0 && !module.has(Part::Magnitude))
        {
            let is_in_pattern = self.config.alpha != Some(0.0);
            return Ok(Some(if is_in_pattern { NoEffect::ZeroAlphas } else { NoEffect::ZeroAlpha { key } }));
        }
        match self.idle_modules()?.len() {
            idle if idle == self.modules().len() => Ok(Some(NoEffect::ZeroFactors { module: first.name.clone() })),
            _ => Ok(None),
        }
    }

    /// What to say of modules in which the adapter changes nothing, where it does in others.
    pub(super) fn idle_remark(&self) -> Result<Option<String>> {
        let (mut idle, all) = (self.idle_modules()?, self.modules().len());
        // AdaLoRA prunes modules to rank 0.
        let is_pruned = |name: &&str| self.weights.get(name).is_some_and(|entry| entry.shape.contains(&0));
        idle.retain(|module| {
            let module = &self.modules()[*module];
            !module.parts().filter_map(|part| module.tensor(part)).any(|name| is_pruned(&name))
        });
        Ok((!idle.is_empty() && idle.len() < all).then(|| {
            let names = first_names(&idle, 2);
            format!("the adapter changes nothing in {} of its {all} modules, where a factor is all zeros or alpha is 0: {names}", idle.len())
        }))
    }

    /// The modules without which PEFT computes the same to the last digit: the adapter adds zeros to their outputs.
    pub fn zero_modules(&self) -> Result<Vec<&Module>> {
        let config = &self.config;
        let is_sum = config.method.is_low_rank() || matches!(config.method, Method::LoHa | Method::LoKr);
        // These change the base weights of each module that is wrapped, or more than its outputs.
        let does_more =
            config.flag("use_dora") || config.changes_base().is_some() || config.variants().next().is_some();
        if !is_sum || does_more {
            return Ok(Vec::new());
        }
        // PEFT puts the modules of experts together, so that none can be missing.
        let is_alone = |module: &&Module| module.parameter.is_none() && MovedModule::parse(&module.name).is_none();
        // Zero times infinity is not zero.
        let is_finite =
            |module: &&Module| module.tensors.values().all(|name| self.weights.is_finite(name).unwrap_or(false));
        let idle = self.idle_modules()?.into_iter().map(|name| &self.modules()[name]);
        Ok(idle.filter(is_alone).filter(is_finite).collect())
    }

    /// The modules in which the adapter changes nothing.
    fn idle_modules(&self) -> Result<Vec<&str>> {
        let mut idle = Vec::new();
        for module in self.modules().values() {
            let has_zero_alpha = module.scaling(&self.config) == 0.0 && !module.has(Part::Magnitude);
            if has_zero_alpha && self.config.method.alpha_key().is_some() || self.has_zero_factor(module)? {
                idle.push(module.name.as_str());
            }
        }
        Ok(idle)
    }

    /// Whether a factor of the change of a module is all zeros, so that the change is zero.
    fn has_zero_factor(&self, module: &Module) -> Result<bool> {
        // A zero is no change to IA3, BOFT's scales and HRA's reflections only in combination with others.
        let is_product = !matches!(self.config.method, Method::Ia3 | Method::Boft | Method::Hra);
        if !is_product || module.has(Part::Magnitude) || module.has(Part::LoraBias) {
            return Ok(false);
        }
        for part in module.parts() {
            let Some(name) = module.tensor(part) else { continue };
            if self.is_zero(name)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_zero(&self, name: &str) -> Result<bool> {
        // The bytes of zeros differ in their signs alone. Other values may have such bytes, too.
        let may_be_zero = self.weights.bytes(name)?.iter().all(|byte| byte & 0x7f == 0);
        let is_zero = || self.weights.load_finite(name).is_ok_and(|values| values.iter().all(|&value| value == 0.0));
        Ok(may_be_zero && is_zero())
    }
}
