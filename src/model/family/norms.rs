//! How values are normalised, and which of queries and keys.

/// How values are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norms {
    /// Divided by their root mean square.
    Rms,
    /// As [`Norms::Rms`], and multiplied by 1 + weight. GGUF files have the 1 added.
    RmsPlusOne,
    /// As [`Norms::Rms`], without weights.
    RmsWithoutWeights,
    /// LayerNorm: the mean is subtracted first.
    Layer,
    /// As [`Norms::Layer`], and multiplied by 1 + weight.
    LayerPlusOne,
    /// As [`Norms::Layer`], without weights.
    LayerWithoutWeights,
}

impl Norms {
    /// Whether the mean is subtracted.
    pub fn centre(self) -> bool {
        matches!(self, Norms::Layer | Norms::LayerPlusOne | Norms::LayerWithoutWeights)
    }

    pub fn have_weights(self) -> bool {
        !matches!(self, Norms::RmsWithoutWeights | Norms::LayerWithoutWeights)
    }
}

/// Over which values queries and keys are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadNorms {
    EachHead,
    /// As [`HeadNorms::EachHead`], after the rotary embedding.
    EachRotatedHead,
    /// As [`HeadNorms::EachRotatedHead`] without weights, in layers with rotary embedding; `use_qk_norm` switches it off.
    RotatedWithoutWeights,
    AllHeadsTogether,
}
