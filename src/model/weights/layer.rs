//! The weights of one layer, but for its experts.

use candle_core::{Result as TensorResult, Tensor};

use super::Weights;
use crate::error::Result;
use crate::model::ModelConfig;
use crate::model::activation::Xielu;
use crate::model::family::{FILTER_PARTS, LinearLayout, MixerKind, Role};
use crate::model::linear::{Linear, Norm};
use crate::tensors::Dtype;

/// The weights of one layer by role.
#[derive(Debug, Clone, Copy)]
pub struct LayerWeights<'a> {
    pub weights: &'a Weights,
    pub config: &'a ModelConfig,
    pub index: usize,
}

impl LayerWeights<'_> {
    /// Whether text skips the layer.
    pub fn is_skipped(&self) -> bool {
        self.config.skipped.contains(&self.index)
    }

    /// The roles that the layer has; none if text skips it.
    pub fn roles(&self) -> Vec<Role> {
        if self.is_skipped() {
            return Vec::new();
        }
        let sparse = self.config.is_sparse(self.index);
        let has_shared = self.config.experts.as_ref().is_some_and(|experts| experts.shared_intermediate_size > 0);
        let is_mixer_alone =
            self.config.family.layers_are_single_blocks && self.config.mixers[self.index] != MixerKind::Absent;
        let is_here = |role: &Role| {
            role.needs_experts()
                .is_none_or(|needed| needed == sparse || !needed && self.config.family.mlp_is_beside_experts)
                && role.mixer().is_none_or(|mixer| self.config.mixers[self.index].has(mixer))
                && self.config.has(*role, self.index)
                && (!is_mixer_alone || role.needs_experts().is_none())
                && (has_shared || !role.is_of_shared_expert())
                && (!self.config.family.optional.contains(role) || self.has_optional(*role))
        };
        self.config.family.roles().filter(is_here).collect()
    }

    /// Whether this model has a norm that only some of its family have.
    fn has_optional(&self, role: Role) -> bool {
        match (role, self.config.has_head_norms) {
            (Role::MlpNorm, _) => self.config.has_mlp_norm,
            (Role::MambaNorm, _) => self.config.mamba().is_some_and(|mamba| mamba.has_norm),
            (_, Some(has)) => has,
            (_, None) => self.norm_names(role).is_some(),
        }
    }

    /// The weight and the bias, if there is one, of a linear role.
    pub fn linear(&self, role: Role) -> Result<Linear> {
        let (store, backend) = (&self.weights.store, &self.weights.backend);
        let read = |name: &str| match backend.takes_bf16() {
            true => Ok(store.load_narrow(name, None)?.to_device(&backend.device)?),
            false => store.load(name, &backend.device),
        };
        let weight = match self.split(role) {
            Some(split) => self.joined(split, read)?,
            None => read(&self.name(role, "weight"))?,
        };
        let weight = if self.linears_are_transposed() { weight.t()? } else { weight };
        let weight = if weight.rank() == 1 { weight.unsqueeze(0)? } else { weight };
        let bias = self.bias(role)?;
        let bias = bias.map(|bias| self.in_model_order(bias, role)).transpose()?;
        Ok(Linear::new(self.in_model_order(weight, role)?, bias, backend.arithmetic)?)
    }

    /// The norm of a role.
    pub fn norm(&self, role: Role) -> Result<Norm> {
        let norms = self.config.family.norms_of(role);
        if !norms.have_weights() {
            return self.weights.norm("", None, self.config, norms);
        }
        let names = self.norm_names(role).unwrap_or_default();
        if let [name] = names.as_slice() {
            let norm = self.weights.norm(name, self.bias_name(role), self.config, norms)?;
            let (weight, eps) = (self.by_group(norm.weight, role)?, self.config.norm_eps_of(role));
            return Ok(Norm { weight, eps, ..norm });
        }
        let rows = names.iter().map(|name| self.weights.store.load(name, self.weights.device()));
        let weight = Tensor::stack(&rows.collect::<Result<Vec<_>>>()?, 0)?;
        Ok(Norm { weight, bias: None, norms: self.config.family.norms, eps: self.config.norm_eps })
    }

    /// The weights of a norm over the values of each group of heads: (groups, size).
    fn by_group(&self, weight: Tensor, role: Role) -> TensorResult<Tensor> {
        match self.config.mamba().filter(|_| role == Role::MambaNorm) {
            Some(mamba) => weight.reshape((mamba.sizes.groups, ())),
            None => Ok(weight),
        }
    }

    /// The bias of a role's module, if it has one.
    pub fn bias(&self, role: Role) -> Result<Option<Tensor>> {
        self.bias_name(role).map(|name| self.weights.store.load(&name, self.weights.device())).transpose()
    }

    /// The attention sinks, (heads), if the layer has them.
    pub fn sinks(&self) -> Result<Option<Tensor>> {
        if !self.roles().contains(&Role::Sinks) {
            return Ok(None);
        }
        self.parameter(Role::Sinks).map(Some)
    }

    /// The activation of an MLP with numbers of its own.
    pub fn xielu(&self) -> Result<Option<Xielu>> {
        if let Some(numbers) = self.config.activations.get(self.index) {
            return Ok(Some(Xielu::new(*numbers)));
        }
        let roles = [Role::XieluSquares, Role::XieluExponentials, Role::XieluSlope, Role::XieluEnd];
        if !self.roles().contains(&roles[0]) {
            return Ok(None);
        }
        let mut numbers = [0.0; 4];
        for (number, role) in numbers.iter_mut().zip(roles) {
            *number = self.parameter(role)?.sum_all()?.to_scalar::<f32>()?;
        }
        Ok(Some(Xielu::new(numbers)))
    }

    /// What a router adds to the scores by which it chooses, (experts), if the layer has it.
    pub fn router_bias(&self) -> Result<Option<Vec<f32>>> {
        if !self.roles().contains(&Role::RouterBias) {
            return Ok(None);
        }
        Ok(Some(self.weights.store.load_finite(&self.name(Role::RouterBias, "weight"))?))
    }

    /// The numbers of a role that is neither a linear map nor a norm, in the shape of the configuration or of the file.
    pub fn parameter(&self, role: Role) -> Result<Tensor> {
        let load = |name: &String| self.weights.store.load(name, self.weights.device());
        if let Some(parts) = self.parts(role) {
            return Ok(Tensor::cat(&parts.iter().map(load).collect::<Result<Vec<_>>>()?, 0)?);
        }
        let stored = load(&self.name(role, "weight"))?;
        if !self.weights.is_gguf() {
            return Ok(stored);
        }
        Ok(self.in_model_order(stored.reshape(self.config.shape_of(role, self.index))?, role)?)
    }

    /// What the states of a mixer decay by: files have it, or ln of what it is without its sign.
    pub fn rates(&self, role: Role) -> Result<Tensor> {
        let stored = self.parameter(role)?;
        Ok(if self.weights.is_gguf() { stored } else { stored.exp()?.neg()? })
    }

    /// The tensors that the numbers of a role lie in one after the other, if they are several.
    pub(super) fn parts(&self, role: Role) -> Option<[String; 3]> {
        let has = |name: &String| self.weights.store.has(name);
        let parts = || FILTER_PARTS.map(|part| format!("{}{part}.weight", self.weights.layer_prefix(self.index)));
        let is_whole = role != Role::Convolution || has(&self.name(role, "weight"));
        Some(parts()).filter(|parts| !is_whole && parts.iter().all(has))
    }

    /// The bias of such a role, if it has one.
    pub fn parameter_bias(&self, role: Role) -> Result<Option<Tensor>> {
        self.bias_name(role).map(|name| self.weights.store.load(&name, self.weights.device())).transpose()
    }

    /// Asks the operating system to begin reading the layer, but for its experts.
    pub fn prefetch(&self) {
        let names = self.roles().into_iter().flat_map(|role| self.weight_names(role));
        names.for_each(|name| self.weights.store.prefetch(&name));
    }

    /// Whether all linear weights are stored in bf16.
    pub fn is_bf16(&self) -> bool {
        let is_bf16 = |name: &str| self.weights.store.get(name).is_none_or(|entry| entry.dtype() == Some(Dtype::BF16));
        let linears = self.roles().into_iter().filter(|role| role.is_linear());
        linears.into_iter().all(|role| self.weight_names(role).iter().all(|name| is_bf16(name)))
    }

    /// The name of a role's module: one that the files have, else its first.
    fn module(&self, role: Role) -> String {
        let prefix = self.weights.layer_prefix(self.index);
        let part = if role.is_nameless() { "" } else { ".weight" };
        let exists = |module: &&str| self.weights.store.has(&format!("{prefix}{module}{part}"));
        let family = self.config.family;
        let modules: Vec<&str> = match self.weights.is_gguf() {
            true => family.gguf_modules(role).collect(),
            false => family.modules(role).collect(),
        };
        let module = modules.iter().copied().find(exists).or(modules.first().copied()).unwrap_or_default();
        prefix.clone() + module
    }

    pub(super) fn name(&self, role: Role, part: &str) -> String {
        let module = self.module(role);
        if role.is_nameless() && part == "weight" { module } else { format!("{module}.{part}") }
    }

    /// The name of the bias of a role's module, if it has one.
    pub(super) fn bias_name(&self, role: Role) -> Option<String> {
        let has_bias = self.config.biased.as_ref().is_none_or(|roles| roles.contains(&role));
        let name = self.name(role, "bias");
        (has_bias && self.weights.store.has(&name)).then_some(name)
    }

    /// The tensors of a norm: one, or one for each head; `None` if the files have none.
    pub(super) fn norm_names(&self, role: Role) -> Option<Vec<String>> {
        let name = self.name(role, "weight");
        if self.weights.store.has(&name) {
            return Some(vec![name]);
        }
        let of_head = |head: usize| self.name(role, &format!("norms.{head}.weight"));
        self.weights.store.get(&of_head(0))?;
        Some((0..self.heads_of(role)).map(of_head).collect())
    }

    /// The heads over which a norm of queries or of keys goes.
    pub(super) fn heads_of(&self, role: Role) -> usize {
        match role {
            Role::QueryNorm => self.config.heads,
            _ => self.config.by_layer.heads[self.index].kv_heads,
        }
    }

    pub(super) fn linears_are_transposed(&self) -> bool {
        self.config.family.linear_layout == LinearLayout::InputsByOutputs && !self.weights.is_gguf()
    }
}
