//! Whether an adapter fits a model: every module that it has in a layer must be there in the same size.

use super::Model;
use super::family::{LinearLayout, Role};
use crate::adapter::names::Part;
use crate::adapter::{Adapter, Module};
use crate::error::{BaseError, Result};

impl Model {
    /// Checks that the model has every module that the adapter has in a layer, in the same size.
    pub fn check_fits(&self, adapter: &Adapter) -> Result<()> {
        for module in adapter.modules().values() {
            let Some(layer) = module.layer.filter(|_| !self.is_beside_decoder(&adapter.stack)) else { continue };
            if layer >= self.config.layers {
                return Err(
                    BaseError::TooFewLayers { base: self.path.clone(), layer, layers: self.config.layers }.into()
                );
            }
            if self.config.skipped.contains(&layer) {
                continue;
            }
            let inside = adapter.inside_layer(module.configured_name(), layer);
            if self.reads_instead(layer, inside) {
                continue;
            }
            let shape = self.module_shape(layer, inside);
            let shape = shape.ok_or_else(|| self.not_wrapped(adapter, module, inside))?;
            self.check_module(adapter, module, shape)?;
        }
        for tensor in adapter.tensors().filter(|tensor| matches!(tensor.key.part, Part::Saved | Part::BaseCopy)) {
            let module = &tensor.key.module;
            let in_decoder =
                |layer: &usize| !self.config.skipped.contains(layer) && !self.is_beside_decoder(&adapter.stack);
            let Some(layer) = adapter.layer_of(module).filter(in_decoder) else { continue };
            let inside = adapter.inside_layer(module, layer);
            if self.reads_instead(layer, inside.trim_end_matches(".weight")) {
                continue;
            }
            let has_weight = |role: &Role| !role.is_norm() || self.config.family.norms_of(*role).have_weights();
            let is_here = |role: &Role| self.layer_weights(layer).roles().contains(role) && has_weight(role);
            let role = self.config.family.role_of(inside).filter(is_here);
            // Mixers and routers have parameters that are no modules, under whatever module is saved.
            let whole = format!("{inside}.{}", tensor.name.rsplit('.').next().unwrap_or_default());
            let parameter = self.config.family.role_of(&whole).filter(is_here).or(role);
            let is_parameter = parameter.is_some_and(Role::is_parameter);
            if is_parameter || role.is_none() && self.lies_beside_parameters(inside) {
                let feature = format!("saved numbers that are no linear map and no norm, `{}`", tensor.name);
                return Err(BaseError::UnsupportedFeature { path: adapter.path.clone(), feature }.into());
            }
            let role = role.filter(|_| tensor.name.ends_with(".weight") || tensor.name.ends_with(".bias"));
            let mut shape = self.config.shape_of(role.ok_or_else(|| self.no_such_module(tensor.name))?, layer);
            if tensor.name.ends_with(".bias") {
                shape.truncate(1);
            } else if self.config.family.linear_layout == LinearLayout::InputsByOutputs {
                shape.reverse();
            }
            // A norm of each head has one row of weights for all, or one for each.
            let stored = &adapter.weights.entry(tensor.name)?.shape;
            if role.is_some_and(Role::is_norm) && stored.len() == 2 && stored[1..] == shape[..] {
                continue;
            }
            adapter.weights.entry_of_shape(tensor.name, &shape)?;
        }
        Ok(())
    }

    /// Whether a layer reads what a module, by its name inside the layer, would compute: keys of another layer, or keys in the place of
    /// values. Some trainers wrap the module all the same; PEFT drops it.
    pub(super) fn reads_instead(&self, layer: usize, inside: &str) -> bool {
        let role = self.config.family.role_of(inside);
        role.is_some_and(|role| role.is_of_mixer() && !self.config.has(role, layer))
    }

    /// Whether a module, by its name inside a layer, lies in a mixer that has parameters which are no modules.
    fn lies_beside_parameters(&self, inside: &str) -> bool {
        let family = self.config.family;
        let parameters = family.roles().filter(|role| role.is_parameter() && role.is_of_mixer());
        let mut mixers = parameters.flat_map(|role| family.modules(role)).filter_map(|name| name.split('.').next());
        mixers.any(|mixer| inside.split('.').next() == Some(mixer))
    }

    /// Checks the tensors of one module of the adapter against the sizes (inputs, outputs) of the model's module.
    pub(super) fn check_module(
        &self,
        adapter: &Adapter,
        module: &Module,
        (base_in, base_out): (usize, usize),
    ) -> Result<()> {
        if let Some((adapter_in, adapter_out)) = adapter.module_shape(module)
            && (adapter_in, adapter_out) != (base_in, base_out)
        {
            let (base, module) = (self.path.clone(), module.name.clone());
            return Err(BaseError::ModuleShape { base, module, adapter_in, adapter_out, base_in, base_out }.into());
        }
        for name in [Part::LoraBias, Part::Magnitude].into_iter().filter_map(|part| module.tensor(part)) {
            adapter.weights.entry_of_shape(name, &[base_out])?;
        }
        if let (Some(parameter), Some(a)) = (&module.parameter, module.tensor(Part::LoraA)) {
            let experts = self.config.experts.as_ref().map_or(0, |experts| experts.count);
            let folded = experts * adapter.config.rank_of(parameter);
            adapter.weights.entry_of_shape(a, &[folded, base_in])?;
            if let Some(b) = module.tensor(Part::LoraB) {
                adapter.weights.entry_of_shape(b, &[base_out, folded])?;
            }
        }
        Ok(())
    }

    /// The error of a module, by its name inside a layer, that is no linear map here.
    fn not_wrapped(&self, adapter: &Adapter, module: &Module, inside: &str) -> BaseError {
        let name = module.configured_name();
        match self.config.family.role_of(inside).filter(|_| module.parameter.is_some()) {
            Some(_) => {
                let feature = format!("LoRA on the parameter `{name}`");
                BaseError::UnsupportedFeature { path: adapter.path.clone(), feature }
            }
            None => self.no_such_module(name),
        }
    }

    fn no_such_module(&self, module: &str) -> BaseError {
        BaseError::NoSuchModule { base: self.path.clone(), module: module.into() }
    }

    /// Whether a layer has a module that an adapter can wrap, by its name inside the layer. Text skips some layers, of which nothing
    /// is known.
    pub(super) fn layer_has(&self, layer: usize, name: &str) -> bool {
        let exists = || self.config.skipped.contains(&layer) || self.module_shape(layer, name).is_some();
        layer < self.config.layers && exists()
    }

    /// The sizes (inputs, outputs) of a linear module by its name inside a layer, or of each expert's matrix in a parameter
    /// of all experts.
    fn module_shape(&self, layer: usize, name: &str) -> Option<(usize, usize)> {
        if let Some(shape) = self.config.expert_shape(name) {
            return Some(shape);
        }
        let role = self.config.family.role_of(name)?;
        if !role.is_linear() || !self.layer_weights(layer).roles().contains(&role) {
            return None;
        }
        let [outputs, inputs] = self.config.shape_of(role, layer)[..] else { return None };
        Some((inputs, outputs))
    }
}
