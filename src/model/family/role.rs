//! The roles that weights play in a decoder layer.

/// A role that a weight plays in a decoder layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Before attention; in a parallel block without [`Role::MlpNorm`], before the MLP too.
    AttentionNorm,
    Query,
    Key,
    Value,
    /// All three in one matrix.
    QueryKeyValue,
    QueryNorm,
    KeyNorm,
    /// One more score for each head that no value belongs to.
    Sinks,
    AttentionOut,
    /// On what attention adds.
    AttentionPostNorm,
    /// Before the MLP.
    MlpNorm,
    Gate,
    Up,
    /// [`Role::Gate`] above [`Role::Up`] in one matrix.
    GateUp,
    Down,
    /// On what the MLP adds.
    MlpPostNorm,
    /// Scores the experts for a token.
    Router,
    SharedGate,
    SharedUp,
    SharedDown,
    /// How much of the shared expert a token gets.
    SharedSwitch,
}

impl Role {
    /// Whether the role is that of a linear module, which is what LoRA adapts.
    pub fn is_linear(self) -> bool {
        !self.is_norm() && self != Role::Sinks
    }

    pub fn is_norm(self) -> bool {
        use Role::*;
        matches!(self, AttentionNorm | QueryNorm | KeyNorm | AttentionPostNorm | MlpNorm | MlpPostNorm)
    }

    /// Whether the role is one inside the mixer.
    pub fn is_of_mixer(self) -> bool {
        use Role::*;
        matches!(self, Query | Key | Value | QueryKeyValue | QueryNorm | KeyNorm | Sinks | AttentionOut)
    }

    /// Whether the role is one of the attention block, norms included; all others are in the MLP.
    pub fn is_of_attention(self) -> bool {
        self.is_of_mixer() || matches!(self, Role::AttentionNorm | Role::AttentionPostNorm)
    }

    /// Whether the role is one of the expert that every token goes to.
    pub fn is_of_shared_expert(self) -> bool {
        use Role::*;
        matches!(self, SharedGate | SharedUp | SharedDown | SharedSwitch)
    }

    /// Whether only layers with experts have the role (`true`) or only those without (`false`); `None` where all do.
    pub fn needs_experts(self) -> Option<bool> {
        use Role::*;
        match self {
            Gate | Up | GateUp | Down => Some(false),
            Router => Some(true),
            role if role.is_of_shared_expert() => Some(true),
            _ => None,
        }
    }
}
