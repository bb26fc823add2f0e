//! The roles that weights play in a decoder layer.

/// The kinds of mixers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MixerKind {
    Attention,
    DeltaNet,
    ShortConvolution,
    Mamba,
    /// Both in one layer, side by side.
    AttentionAndMamba,
    /// Nothing: the layer is an MLP or a mixture of experts alone.
    Absent,
    /// Attention whose keys and values come from a short vector.
    Latent,
}

impl MixerKind {
    /// What `layer_types` calls a layer with the mixer; attention has several names.
    pub fn layer_type(self) -> Option<&'static str> {
        match self {
            MixerKind::Attention | MixerKind::Latent | MixerKind::AttentionAndMamba | MixerKind::Absent => None,
            MixerKind::DeltaNet | MixerKind::Mamba => Some("linear_attention"),
            MixerKind::ShortConvolution => Some("conv"),
        }
    }

    /// Whether a layer with this mixer has what belongs to another one.
    pub fn has(self, other: Self) -> bool {
        self == other || self == Self::AttentionAndMamba && matches!(other, Self::Attention | Self::Mamba)
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
    /// Gates what attention reads, in a matrix of its own.
    AttentionGate,
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
    /// [`Role::DeltaInput`] in three matrices.
    DeltaQuery,
    DeltaKey,
    DeltaValue,
    /// [`Role::DeltaInput`] with [`Role::DeltaGate`], and [`Role::DeltaWrite`] with [`Role::DeltaDecay`], key head by key head.
    DeltaInputGate,
    DeltaWriteDecay,
    /// Filters over the last tokens, before the heads.
    Convolution,
    /// What is added to the decays, and ln of what they are multiplied by.
    DeltaBias,
    DeltaRate,
    /// On what is read.
    DeltaNorm,
    DeltaOut,
    /// Of a short convolution: its input with the gates before and behind it, its filters, and what leaves it.
    ShortInput,
    ShortConvolution,
    ShortOut,
    /// Of Mamba-2: gates, inputs, keys, queries and steps in one matrix.
    MambaInput,
    /// Filters over the last tokens, before the heads.
    MambaConvolution,
    /// What is added to the steps, ln of the rates of decay, and how much of the input goes past the memory.
    MambaBias,
    MambaRate,
    MambaSkip,
    /// On what is read, by groups of heads.
    MambaNorm,
    MambaOut,
    /// On what attention adds.
    AttentionPostNorm,
    /// Before the MLP.
    MlpNorm,
    /// On what attention adds, or before the MLP of a layer with another mixer.
    MiddleNorm,
    Gate,
    Up,
    /// [`Role::Gate`] above [`Role::Up`] in one matrix.
    GateUp,
    Down,
    /// Of xIELU: ln(e^a − 1) of the factor of squares, and of that of exponentials less the slope; the slope at 0, and where
    /// exponentials end.
    XieluSquares,
    XieluExponentials,
    XieluSlope,
    XieluEnd,
    /// On what the MLP adds.
    MlpPostNorm,
    /// Of the input that a layer has of its own: the map that is gated by it, the map back, and a norm on what is added.
    LayerInputGate,
    LayerInputOut,
    LayerInputNorm,
    /// What all that leaves a layer is multiplied by.
    LayerScale,
    /// Of a short map beside attention: into the short vector, back from it, and a norm on what it adds.
    LaurelDown,
    LaurelUp,
    LaurelNorm,
    /// Of several hidden states for each token: what their coefficients are made of and its norm, those by which states are predicted
    /// and corrected, and what the first is multiplied by before the layer's own input gates it.
    AltUpRouter,
    AltUpRouterNorm,
    AltUpPrediction,
    AltUpCorrection,
    AltUpScale,
    /// Scores the experts for a token.
    Router,
    /// Added to the scores by which experts are chosen, and not to their weights.
    RouterBias,
    /// To the short vectors that some experts take, and back from their sum.
    ExpertsInput,
    ExpertsOutput,
    /// Of experts that a token goes to beside the MLP: what the router's inputs and the experts' outputs are multiplied by, and norms on
    /// what the MLP adds, on what goes into the experts, and on what they add.
    RouterScale,
    ExpertScale,
    DensePostNorm,
    ExpertsNorm,
    ExpertsPostNorm,
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
        let is_usual = matches!(
            self,
            AttentionNorm
                | QueryNorm
                | KeyNorm
                | DeltaNorm
                | MambaNorm
                | AttentionPostNorm
                | MlpNorm
                | MiddleNorm
                | MlpPostNorm
                | LayerInputNorm
                | LaurelNorm
                | AltUpRouterNorm
                | DensePostNorm
                | ExpertsNorm
                | ExpertsPostNorm
        );
        is_usual || self.is_latent_norm()
    }

    /// Whether the role is that of a norm of a short vector in latent attention.
    pub fn is_latent_norm(self) -> bool {
        matches!(self, Role::LatentQueryNorm | Role::LatentNorm)
    }

    /// Whether the role is that of numbers that are neither a linear map nor a norm.
    pub fn is_parameter(self) -> bool {
        self.is_nameless() || matches!(self, Role::Convolution | Role::MambaConvolution | Role::ShortConvolution)
    }

    /// Whether the name of the role is that of a parameter, not of a module.
    pub fn is_nameless(self) -> bool {
        use Role::*;
        let is_own = matches!(
            self,
            Sinks
                | DeltaBias
                | DeltaRate
                | MambaBias
                | MambaRate
                | MambaSkip
                | LayerScale
                | AltUpScale
                | RouterBias
                | RouterScale
                | ExpertScale
        );
        is_own || self.is_of_activation()
    }

    /// Whether the role is that of a number of the activation.
    pub fn is_of_activation(self) -> bool {
        matches!(self, Role::XieluSquares | Role::XieluExponentials | Role::XieluSlope | Role::XieluEnd)
    }

    /// The mixer that the role is part of.
    pub fn mixer(self) -> Option<MixerKind> {
        use Role::*;
        match self {
            Query | Key | Value | QueryKeyValue | QueryNorm | KeyNorm | Sinks | AttentionOut | AttentionGate => {
                Some(MixerKind::Attention)
            }
            DeltaInput | DeltaQuery | DeltaKey | DeltaValue | DeltaGate | DeltaWrite | DeltaDecay | DeltaInputGate
            | DeltaWriteDecay | Convolution | DeltaBias | DeltaRate | DeltaNorm | DeltaOut => Some(MixerKind::DeltaNet),
            ShortInput | ShortConvolution | ShortOut => Some(MixerKind::ShortConvolution),
            MambaInput | MambaConvolution | MambaBias | MambaRate | MambaSkip | MambaNorm | MambaOut => {
                Some(MixerKind::Mamba)
            }
            LatentQuery | LatentQueryDown | LatentQueryNorm | LatentQueryUp | LatentDown | LatentNorm | LatentUp
            | LatentOut => Some(MixerKind::Latent),
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
            Router | RouterBias | ExpertsInput | ExpertsOutput | RouterScale | ExpertScale | DensePostNorm
            | ExpertsNorm | ExpertsPostNorm => Some(true),
            role if role.is_of_shared_expert() => Some(true),
            _ => None,
        }
    }
}
