//! How the memory that generation may take is shared out: weights, and how many samples are answered together.

use std::ops::Range;

use super::GenerateOptions;
use crate::error::{MetricError, Result};
use crate::model::AdaptedModel;

const F32: u64 = size_of::<f32>() as u64;

pub struct Budget {
    /// Whether all weights stay in memory. Otherwise they are read anew for every token.
    pub keeps_weights: bool,
    /// What is left for samples.
    spare: u64,
    /// Per token and boundary: keys and values of all layers.
    cached: u64,
    /// Per token of a prompt and boundary: hidden states, and values inside a layer.
    inner: u64,
    boundaries: u64,
    max_new_tokens: u64,
    /// The longest sequence that the model takes.
    context: u64,
    memory: u64,
}

impl Budget {
    pub fn new(ends: &AdaptedModel, boundaries: usize, options: &GenerateOptions) -> Result<Self> {
        let config = &ends.model().config;
        let (hidden, layers) = (config.hidden_size, config.layers as u64);
        let head = (ends.head_size()? * hidden) as u64 * F32;
        let all = layers * ends.model().kept_layer_bytes() + head + ends.adapter().bytes_below(usize::MAX);
        // While a layer is widened its stored form is there too.
        let one = 2 * ends.model().layer_bytes();
        // Half is enough for the samples, which come batch by batch; the weights do not.
        let keeps_weights = all + one <= options.memory / 2;
        let weights = if keeps_weights { all + one } else { one };
        let inner = 4 * config.intermediate_size + 10 * hidden + 4 * config.query_size();
        Ok(Self {
            keeps_weights,
            spare: options.memory.saturating_sub(weights),
            cached: 2 * (config.kv_size() as u64) * layers * F32,
            inner: inner as u64 * F32,
            boundaries: boundaries as u64,
            max_new_tokens: options.max_new_tokens as u64,
            context: ends.model().longest_sequence() as u64,
            memory: options.memory,
        })
    }

    /// Divides prompts of these lengths into runs that are answered together.
    pub fn batches(&self, lengths: &[usize]) -> Result<Vec<Range<usize>>> {
        let mut batches: Vec<Range<usize>> = Vec::new();
        let mut size = 0;
        for (place, &length) in lengths.iter().enumerate() {
            let needed = self.needed(length as u64);
            if needed > self.spare {
                let needed = self.memory.saturating_add(needed - self.spare);
                return Err(MetricError::Memory { needed, budget: self.memory }.into());
            }
            size += needed;
            match batches.last_mut() {
                Some(batch) if size <= self.spare => batch.end += 1,
                _ => {
                    batches.push(place..place + 1);
                    size = needed;
                }
            }
        }
        Ok(batches)
    }

    fn needed(&self, prompt: u64) -> u64 {
        let tokens = (prompt + self.max_new_tokens).min(self.context).max(prompt);
        self.boundaries * (tokens * self.cached + prompt * self.inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(spare: u64) -> Budget {
        let (boundaries, max_new_tokens, context) = (2, 10, 14);
        Budget { keeps_weights: true, spare, cached: 3, inner: 5, boundaries, max_new_tokens, context, memory: 1000 }
    }

    #[test]
    fn batches_are_as_large_as_memory_allows() {
        // Each of them needs 2 · ((4 + 10) · 3 + 4 · 5) = 124 bytes.
        assert_eq!(budget(400).batches(&[4; 7]).unwrap(), [0..3, 3..6, 6..7]);
        // A prompt of 6 comes to 2 · (14 · 3 + 6 · 5): the context is full then.
        assert_eq!(budget(144).batches(&[6]).unwrap().len(), 1);
        assert!(budget(143).batches(&[6]).is_err());
        assert_eq!(budget(124).batches(&[4, 4]).unwrap(), [0..1, 1..2]);
        assert!(budget(100).batches(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_prompt_that_does_not_fit_says_what_it_needs() {
        let error = budget(100).batches(&[4]).unwrap_err();
        assert!(error.to_string().contains("1024 bytes"), "{error}");
    }
}
