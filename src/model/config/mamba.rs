//! The numbers of a Mamba-2 mixer.

use serde_json::Value;

use super::fields::ConfigFields;
use crate::error::Result;
use crate::kernel::state_space::SpaceSizes;
use crate::model::activation::{Activation, Gating};
use crate::model::family::Role;

/// What a Mamba-2 mixer computes with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MambaConfig {
    pub sizes: SpaceSizes,
    /// The least and the largest step.
    pub limits: [f64; 2],
    /// Whether what is read is normalised, and whether that comes behind the gate.
    pub has_norm: bool,
    pub gate_first: bool,
    /// What the input, and what the mixer adds, are multiplied by.
    pub input_scale: f64,
    pub output_scale: f64,
    /// As these, the parts of the input projection: gate, inputs, keys, queries and steps.
    pub scales_of_parts: [f64; 5],
}

impl MambaConfig {
    /// The sizes of the parts of the input projection.
    fn parts(&self) -> [usize; 5] {
        let SpaceSizes { groups, state_size, heads, .. } = self.sizes;
        [self.sizes.values(), self.sizes.values(), groups * state_size, groups * state_size, heads]
    }

    /// What each output of the input projection is multiplied by, unless that is 1 for all.
    pub fn part_scales(&self) -> Option<Vec<f32>> {
        let scales = self.scales_of_parts.iter().zip(self.parts());
        let all = scales.flat_map(|(scale, size)| std::iter::repeat_n(*scale as f32, size)).collect();
        (self.scales_of_parts != [1.0; 5]).then_some(all)
    }

    /// As [`MixerSizes::shape_of`](super::MixerSizes::shape_of).
    pub fn shape_of(&self, role: Role, hidden: usize) -> Option<Vec<usize>> {
        let sizes = self.sizes;
        Some(match role {
            Role::MambaInput => vec![self.parts().iter().sum(), hidden],
            Role::MambaConvolution => vec![sizes.channels(), 1, sizes.taps],
            Role::MambaBias | Role::MambaRate | Role::MambaSkip => vec![sizes.heads],
            Role::MambaNorm => vec![sizes.values()],
            Role::MambaOut => vec![hidden, sizes.values()],
            _ => return None,
        })
    }

    /// The values that a token takes inside the mixer: the input projection and its parts, their convolution, and the copy that goes
    /// there and back.
    pub fn inner_values(&self) -> usize {
        2 * self.parts().iter().sum::<usize>() + 5 * self.sizes.channels()
    }

    pub fn is_sound(&self, largest: usize) -> bool {
        let SpaceSizes { heads, head_size, state_size, groups, taps } = self.sizes;
        [heads, head_size, state_size, groups, taps].iter().all(|size| (1..=largest).contains(size))
            && heads.is_multiple_of(groups)
    }
}

impl ConfigFields<'_> {
    pub fn mamba(&self) -> Result<MambaConfig> {
        let activation = match self.text("mamba_hidden_act") {
            Some(name) => Activation::named(name).map(Gating::By),
            // A family that does not have this key takes the MLP's activation.
            None if !self.family.reads("mamba_hidden_act") => Some(self.gating()?),
            None => Some(Gating::By(Activation::Silu)),
        };
        if activation != Some(Gating::By(Activation::Silu)) {
            return Err(self.unsupported("another activation than SiLU in a Mamba layer".into()).into());
        }
        let number = |key: &str| self.float(key).unwrap_or(1.0);
        let has_norm = self.flag("mamba_rms_norm").unwrap_or(!self.family.reads("mamba_rms_norm"));
        Ok(MambaConfig {
            sizes: self.space_sizes()?,
            limits: self.step_limits()?,
            has_norm,
            gate_first: self.flag("mamba_norm_before_gate") != Some(true),
            input_scale: number("ssm_in_multiplier"),
            output_scale: number("ssm_out_multiplier"),
            scales_of_parts: self.numbers("ssm_multipliers")?.unwrap_or([1.0; 5]),
        })
    }

    fn space_sizes(&self) -> Result<SpaceSizes> {
        let heads = self.size("mamba_n_heads")?;
        let values = match (self.optional_size("mamba_d_ssm")?, self.optional_size("mamba_expand")?) {
            (Some(values), _) => Some(values),
            (None, Some(expand)) => Some(expand.saturating_mul(self.size("hidden_size")?)),
            (None, None) => None,
        };
        let head_size = match (self.text("mamba_d_head"), values) {
            (Some("auto"), Some(values)) => values / heads,
            _ => self.optional_size("mamba_d_head")?.or(values.map(|values| values / heads)).unwrap_or(0),
        };
        if values.is_some_and(|values| head_size.checked_mul(heads) != Some(values)) {
            return Err(self
                .problem("mamba_d_head", "does not give all heads of `mamba_n_heads` the mixer's size")
                .into());
        }
        Ok(SpaceSizes {
            heads,
            head_size,
            state_size: self.size("mamba_d_state")?,
            groups: self.size("mamba_n_groups")?,
            taps: self.size("mamba_d_conv")?,
        })
    }

    /// The least and the largest step.
    fn step_limits(&self) -> Result<[f64; 2]> {
        if let Some(least) = self.float("time_step_min") {
            return Ok([least, f64::INFINITY]);
        }
        let Some(given) = self.get("time_step_limit") else { return Ok([0.0, f64::INFINITY]) };
        let wrong = || self.problem("time_step_limit", "is not a pair of numbers, the smaller one first");
        let limits: Option<Vec<f64>> = given.as_array().ok_or_else(wrong)?.iter().map(limit).collect();
        match limits.as_deref() {
            Some(&[least, largest]) if least <= largest => Ok([least, largest]),
            _ => Err(wrong().into()),
        }
    }

    /// A list of as many numbers.
    pub fn numbers<const N: usize>(&self, key: &str) -> Result<Option<[f64; N]>> {
        let Some(given) = self.get(key).filter(|value| !value.is_null()) else { return Ok(None) };
        let numbers: Option<Vec<f64>> =
            given.as_array().and_then(|list| list.iter().map(Value::as_f64).collect::<Option<_>>());
        match numbers.and_then(|numbers| numbers.try_into().ok()) {
            Some(numbers) => Ok(Some(numbers)),
            None => Err(self.problem(key, "is not a list of as many numbers as the model takes").into()),
        }
    }
}

/// A number, which transformers writes as an object where it is infinite; Python's own word for that is read as null.
fn limit(value: &Value) -> Option<f64> {
    match value {
        Value::Null => Some(f64::INFINITY),
        Value::Object(tagged) if tagged.len() == 1 => {
            (tagged.get("__float__")?.as_str()? == "Infinity").then_some(f64::INFINITY)
        }
        number => number.as_f64(),
    }
}
