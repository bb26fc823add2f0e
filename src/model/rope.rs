//! Rotary position embedding and its extensions to longer contexts.
//!
//! The formulas are those of transformers (`modeling_rope_utils.py`), computed in f64 and rounded once.

use std::f64::consts::PI;
use std::ops::Range;

use candle_core::{Device, Result, Tensor};

/// The rotary embedding of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    pub theta: f64,
    /// How many of a head's values are rotated, from the first on; the others stay as they are.
    pub dim: usize,
    pub scaling: RopeScaling,
    pub query_growth: Option<QueryGrowth>,
}

/// Queries that are multiplied by 1 + per_fold · ln(1 + ⌊(first + position) / context⌋), as in Llama 4: attention stays sharp over long contexts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueryGrowth {
    pub per_fold: f64,
    /// The context of pre-training, in tokens.
    pub context: f64,
    /// The number of the first position.
    pub first: usize,
}

impl QueryGrowth {
    fn at(self, position: usize) -> f32 {
        let folds = ((self.first + position) as f64 / self.context).floor();
        (1.0 + self.per_fold * (1.0 + folds).ln()) as f32
    }
}

/// How the frequencies are changed for contexts longer than those of pre-training.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    None,
    /// Only the first pairs of values are rotated, by frequencies that count all of them.
    Proportional {
        pairs: usize,
        factor: f64,
    },
    /// Nothing rotates, in layers whose queries grow without rotary embedding.
    Still,
    Linear {
        factor: f64,
    },
    /// NTK-aware: theta grows with the sequence once that is longer than `context`.
    Dynamic {
        factor: f64,
        context: f64,
    },
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_context: f64,
    },
    /// YaRN (arXiv 2309.00071).
    Yarn {
        factor: f64,
        original_context: f64,
        beta_fast: f64,
        beta_slow: f64,
        truncate: bool,
        attention_factor: Option<f64>,
        /// `mscale` and `mscale_all_dim`.
        mscale: Option<(f64, f64)>,
    },
    /// LongRoPE (arXiv 2402.13753): a divisor for each frequency, with a second set for sequences beyond the original context.
    LongRope {
        short: Vec<f64>,
        long: Vec<f64>,
        factor: f64,
        original_context: f64,
        attention_factor: Option<f64>,
        /// What cosines and sines are multiplied by in short and in long sequences, in the place of one factor.
        factors: Option<(f64, f64)>,
    },
}

/// The cosines and sines of tokens: two tensors of shape (tokens, dim / 2).
#[derive(Debug, Clone)]
pub struct RopeTable {
    pub cos: Tensor,
    pub sin: Tensor,
    /// What their queries are multiplied by, (tokens, 1, 1), where that is not 1 throughout.
    pub query_scales: Option<Tensor>,
}

impl RopeTable {
    /// The rows at the places of `index`.
    pub fn rows(&self, index: &Tensor) -> Result<Self> {
        let query_scales = self.query_scales.as_ref().map(|scales| scales.index_select(index, 0)).transpose()?;
        Ok(Self { cos: self.cos.index_select(index, 0)?, sin: self.sin.index_select(index, 0)?, query_scales })
    }
}

impl Rope {
    /// The table for ranges of positions, one after the other, each with the length of its sequence. `divisors` (GGUF's
    /// `rope_freqs`) divide the frequencies.
    pub fn table(
        &self,
        positions: impl Iterator<Item = (Range<usize>, usize)>,
        divisors: Option<&[f32]>,
        device: &Device,
    ) -> Result<RopeTable> {
        let (mut cos, mut sin, mut scales) = (Vec::new(), Vec::new(), Vec::new());
        for (positions, length) in positions {
            let factor = self.attention_factor(length as f64);
            let mut frequencies = self.inverse_frequencies(length as f64);
            if let Some(divisors) = divisors {
                frequencies.iter_mut().zip(divisors).for_each(|(frequency, &divisor)| *frequency /= f64::from(divisor));
            }
            for position in positions {
                scales.extend(self.query_growth.map(|growth| growth.at(position)));
                for &frequency in &frequencies {
                    // The angle is computed in f32, as in transformers: at large positions the rounding is part of the
                    // model.
                    let angle = f64::from(position as f32 * frequency as f32);
                    cos.push((angle.cos() * factor) as f32);
                    sin.push((angle.sin() * factor) as f32);
                }
            }
        }
        let shape = (cos.len() / (self.dim / 2), self.dim / 2);
        let grows = scales.iter().any(|&scale| scale != 1.0);
        let query_scales = grows.then(|| Tensor::from_vec(scales, (shape.0, 1, 1), device)).transpose()?;
        Ok(RopeTable {
            cos: Tensor::from_vec(cos, shape, device)?,
            sin: Tensor::from_vec(sin, shape, device)?,
            query_scales,
        })
    }

    /// The angle by which each pair of values is rotated from one position to the next: `dim / 2` numbers.
    fn inverse_frequencies(&self, length: f64) -> Vec<f64> {
        let dim = self.dim as f64;
        let powers = |theta: f64| (0..self.dim / 2).map(move |i| theta.powf(-2.0 * i as f64 / dim));
        match &self.scaling {
            RopeScaling::None => powers(self.theta).collect(),
            RopeScaling::Proportional { pairs, factor } => powers(self.theta)
                .enumerate()
                .map(|(pair, frequency)| if pair < *pairs { frequency / factor } else { 0.0 })
                .collect(),
            RopeScaling::Still => vec![0.0; self.dim / 2],
            RopeScaling::Linear { factor } => powers(self.theta).map(|frequency| frequency / factor).collect(),
            RopeScaling::Dynamic { factor, context } => {
                let stretch = factor * length.max(*context) / context - (factor - 1.0);
                powers(self.theta * stretch.powf(dim / (dim - 2.0))).collect()
            }
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => powers(self.theta)
                .map(|frequency| {
                    let turns = original_context * frequency / (2.0 * PI);
                    // 0 for waves longer than the original context, 1 for short ones.
                    let seen = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                    (1.0 - seen) * frequency / factor + seen * frequency
                })
                .collect(),
            RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, truncate, .. } => {
                let turns_at =
                    |turns: f64| dim * (original_context / (turns * 2.0 * PI)).ln() / (2.0 * self.theta.ln());
                let (mut low, mut high) = (turns_at(*beta_fast), turns_at(*beta_slow));
                if *truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                let (low, mut high) = (low.max(0.0), high.min(dim - 1.0));
                if low == high {
                    high += 0.001;
                }
                let stretched = |i: usize| ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                powers(self.theta)
                    .enumerate()
                    .map(|(i, frequency)| stretched(i) * frequency / factor + (1.0 - stretched(i)) * frequency)
                    .collect()
            }
            RopeScaling::LongRope { short, long, original_context, .. } => {
                let divisors = if length > *original_context { long } else { short };
                powers(self.theta).zip(divisors).map(|(frequency, divisor)| frequency / divisor).collect()
            }
        }
    }

    /// YaRN and LongRoPE scale the cosines and sines and thereby the attention scores.
    fn attention_factor(&self, length: f64) -> f64 {
        match self.scaling {
            RopeScaling::Yarn { factor, attention_factor, mscale, .. } => {
                let scale = |mscale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 };
                attention_factor.unwrap_or_else(|| match mscale {
                    Some((mscale, all)) if mscale != 0.0 && all != 0.0 => scale(mscale) / scale(all),
                    _ => scale(1.0),
                })
            }
            RopeScaling::LongRope { factors: Some((short, long)), original_context, .. } => {
                if length > original_context { long } else { short }
            }
            RopeScaling::LongRope { factor, original_context, attention_factor, .. } => {
                attention_factor.unwrap_or_else(|| {
                    if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original_context.ln()).sqrt() }
                })
            }
            _ => 1.0,
        }
    }

    /// Whether the angles of a position depend on the length of its sequence.
    pub fn depends_on_length(&self) -> bool {
        matches!(self.scaling, RopeScaling::Dynamic { .. } | RopeScaling::LongRope { .. })
    }

    /// The length of a sequence beyond which all angles change, those of its first positions too.
    pub fn changes_beyond(&self) -> Option<usize> {
        match self.scaling {
            RopeScaling::LongRope { original_context, .. } => Some(original_context as usize),
            _ => None,
        }
    }

    /// The longest sequence for a configured context: only dynamic scaling allows a longer one.
    pub fn longest(&self, context: usize) -> usize {
        match self.scaling {
            RopeScaling::Dynamic { factor, .. } => (context as f64 * factor.max(1.0)) as usize,
            _ => context,
        }
    }
}
