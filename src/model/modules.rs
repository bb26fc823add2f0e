//! The modules of one part of a layer, linear maps and norms, with what an adapter changes of them.

use std::collections::BTreeMap;

use candle_core::{Result as TensorResult, Tensor};

use super::family::{LinearLayout, Role};
use super::linear::{Linear, Norm};
use super::weights::{LayerWeights, norm_factor};
use crate::adapter::LayerAdapter;
use crate::error::Result;

/// Modules in memory, by role.
#[derive(Clone)]
pub struct Modules {
    norms: BTreeMap<Role, Norm>,
    linears: BTreeMap<Role, Linear>,
}

impl Modules {
    /// Reads those of a layer's modules whose roles are `wanted`.
    pub fn load(weights: LayerWeights, wanted: impl Fn(Role) -> bool) -> Result<Self> {
        let (mut norms, mut linears) = (BTreeMap::new(), BTreeMap::new());
        for role in weights.roles().into_iter().filter(|role| wanted(*role)) {
            if role.is_norm() {
                norms.insert(role, weights.norm(role)?);
            } else if role.is_linear() {
                linears.insert(role, weights.linear(role)?);
            }
        }
        Ok(Self { norms, linears })
    }

    /// The same modules with an adapter on. The base weights are shared, not copied.
    pub fn adapted(&self, adapter: &LayerAdapter, weights: LayerWeights) -> Result<Self> {
        let (mut adapted, family) = (self.clone(), weights.config.family);
        for (name, tensor) in &adapter.saved {
            let Some((module, part)) = name.rsplit_once('.') else { continue };
            let Some(role) = family.role_of(module) else { continue };
            let is_bias = part == "bias";
            if let Some(norm) = adapted.norms.get_mut(&role) {
                match is_bias {
                    true => norm.bias = Some(tensor.clone()),
                    false => {
                        let weight = norm_factor(tensor.clone(), family.norms_of(role))?;
                        // The weights of a norm by group are saved in one row.
                        let is_by_group = role == Role::MambaNorm;
                        norm.weight = if is_by_group { weight.reshape(norm.weight.shape())? } else { weight };
                    }
                }
            }
            if let Some(linear) = adapted.linears.get_mut(&role) {
                if is_bias {
                    linear.bias = Some(tensor.clone());
                    continue;
                }
                let weight = match family.linear_layout {
                    LinearLayout::OutputsByInputs => tensor.clone(),
                    LinearLayout::InputsByOutputs => tensor.t()?.contiguous()?,
                };
                *linear = linear.with_weight(weight, weights.weights.backend.arithmetic)?;
            }
        }
        for (module, delta) in &adapter.deltas {
            if let Some(role) = family.role_of(module)
                && let Some(linear) = adapted.linears.get_mut(&role)
            {
                *linear = linear.adapted(delta)?;
            }
        }
        Ok(adapted)
    }

    pub fn has(&self, role: Role) -> bool {
        self.norms.contains_key(&role) || self.linears.contains_key(&role)
    }

    /// The linear map of a role that the layer has: (rows, inputs) → (rows, outputs).
    pub fn linear(&self, role: Role, x: &Tensor) -> TensorResult<Tensor> {
        self.linears[&role].forward(x)
    }

    /// The norm of a role, or x if the layer has none.
    pub fn norm(&self, role: Role, x: &Tensor) -> TensorResult<Tensor> {
        match self.norms.get(&role) {
            Some(norm) => norm.forward(x),
            None => Ok(x.clone()),
        }
    }
}
