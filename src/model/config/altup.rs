//! The sizes of alternating updates and of the map beside attention, which come together.

use super::fields::ConfigFields;
use crate::error::Result;
use crate::model::family::Role;

/// The sizes of a model whose tokens have several hidden states each (AltUp), and whose layers have a short map beside attention
/// (LAuReL).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AltUpSizes {
    /// The hidden states of a token. The first goes through the blocks of a layer.
    pub states: usize,
    pub laurel_rank: usize,
    /// Whether the state that is gated by the layer's own input is scaled before.
    pub is_scaled: bool,
}

impl AltUpSizes {
    /// As [`ModelConfig::shape_of`](super::ModelConfig::shape_of), of the roles that belong here.
    pub fn shape_of(&self, role: Role, hidden: usize) -> Option<Vec<usize>> {
        Some(match role {
            Role::AltUpRouter => vec![self.states, hidden],
            Role::AltUpPrediction => vec![self.states * self.states, self.states],
            Role::AltUpCorrection => vec![self.states, self.states],
            Role::AltUpRouterNorm | Role::AltUpScale | Role::LaurelNorm => vec![hidden],
            Role::LaurelDown => vec![self.laurel_rank, hidden],
            Role::LaurelUp => vec![hidden, self.laurel_rank],
            _ => return None,
        })
    }
}

/// The most hidden states that a token may have.
const MOST_STATES: usize = 64;

impl ConfigFields<'_> {
    pub fn altup(&self) -> Result<Option<AltUpSizes>> {
        let Some(states) = self.optional_size("altup_num_inputs")? else { return Ok(None) };
        if !(2..=MOST_STATES).contains(&states) {
            return Err(self.problem("altup_num_inputs", "is not between 2 and 64").into());
        }
        if self.per_layer()?.is_none() {
            return Err(self
                .problem("hidden_size_per_layer_input", "is missing or 0, and AltUp layers need it")
                .into());
        }
        if self.optional_count("altup_active_idx")? != Some(0) {
            return Err(self.unsupported("blocks on another state than the first (`altup_active_idx`)".into()).into());
        }
        let is_scaled = self.flag("altup_correct_scale") == Some(true);
        Ok(Some(AltUpSizes { states, laurel_rank: self.size("laurel_rank")?, is_scaled }))
    }
}
