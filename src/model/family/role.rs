//! The roles that weights play in a decoder layer.

/// The kinds of mixers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MixerKind {
    Attention,
    DeltaNet,
    /// Attention whose keys and values come from a short vector.
    Latent,
}

impl MixerKind {
    /// What `layer_types` calls a layer with the mixer; attention has several names.
    pub fn layer_type(self) -> Option<&'static str> {
        match self {
            MixerKind::Attention | MixerKind::Latent => None,
            MixerKind::DeltaNet => Some("linear_attention"),
        }
    }
}

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
    /// Of latent attention: queries in one matrix, or through a short vector and its norm.
    LatentQuery,
    LatentQueryDown,
    LatentQueryNorm,
    LatentQueryUp,
    /// What keys and values are made of, beside the rotated part of the keys.
    LatentDown,
    LatentNorm,
    /// Keys without positions, and values.
    LatentUp,
    LatentOut,
    /// Of a gated delta net: queries, keys and values in one matrix, the gate of what is read, what is written, and how fast memory
    /// decays.
    DeltaInput,
    DeltaGate,
    DeltaWrite,
    DeltaDecay,
    /// Filters over the last tokens, before the heads.
    Convolution,
    /// What is added to the decays, and ln of what they are multiplied by.
    DeltaBias,
    DeltaRate,
    /// On what is read.
    DeltaNorm,
    DeltaOut,
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
    /// Added to the scores by which experts are chosen, and not to their weights.
    RouterBias,
    SharedGate,
    SharedUp,
    SharedDown,
    /// How much of the shared expert a token gets.
    SharedSwitch,
}

impl Role {
    /// Whether the role is that of a linear module, which is what LoRA adapts.
    pub fn is_linear(self) -> bool {
        !self.is_norm() && !self.is_parameter()
    }

    pub fn is_norm(self) -> bool {
        use Role::*;
        self.is_latent_norm()
            || matches!(
                self,
                AttentionNorm | QueryNorm | KeyNorm | DeltaNorm | AttentionPostNorm | MlpNorm | MlpPostNorm
            )
    }

    /// Whether the role is that of a norm of a short vector in latent attention.
    pub fn is_latent_norm(self) -> bool {
        matches!(self, Role::LatentQueryNorm | Role::LatentNorm)
    }

    /// Whether the role is that of numbers that are neither a linear map nor a norm.
    pub fn is_parameter(self) -> bool {
        self.is_nameless() || self == Role::Convolution
    }

    /// Whether the role is that of a parameter of the layer itself, not of a module.
    pub fn is_nameless(self) -> bool {
        matches!(self, Role::Sinks | Role::DeltaBias | Role::DeltaRate | Role::RouterBias)
    }

    /// The mixer that the role is part of.
    pub fn mixer(self) -> Option<MixerKind> {
        use Role::*;
        match self {
            Query | Key | Value | QueryKeyValue | QueryNorm | KeyNorm | Sinks | AttentionOut => {
                Some(MixerKind::Attention)
            }
            LatentQuery | LatentQueryDown | LatentQueryNorm | LatentQueryUp | LatentDown | LatentNorm | LatentUp
            | LatentOut => Some(MixerKind::Latent),
            DeltaInput | DeltaGate | DeltaWrite | DeltaDecay | Convolution | DeltaBias | DeltaRate | DeltaNorm
            | DeltaOut => Some(MixerKind::DeltaNet),
            _ => None,
        }
    }

    /// Whether the role is one inside the mixer.
    pub fn is_of_mixer(self) -> bool {
        self.mixer().is_some()
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
            Router | RouterBias => Some(true),
            role if role.is_of_shared_expert() => Some(true),
            _ => None,
        }
    }
}
