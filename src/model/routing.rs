//! Routers other than the softmax over the scores of all experts.

use candle_core::{Result, Tensor};
use candle_nn::ops::sigmoid;

use super::ModelConfig;
use super::config::ExpertSizes;
use super::family::ExpertWeights;
use crate::kernel::gradient::softmax;

/// The experts' tokens, and the weight of the expert for each of them.
pub type Choices = Vec<(Vec<u32>, Vec<f32>)>;

/// The weights of experts from their scores, (tokens, experts): 0 for those that a token does not go to. `None` for families with the
/// usual router.
pub fn shares(config: &ModelConfig, sizes: &ExpertSizes, scores: &Tensor) -> Result<Option<Tensor>> {
    match config.family.experts.map(|names| names.weights) {
        Some(ExpertWeights::OfNearScores) => of_near_scores(scores, sizes.nearness as f32).map(Some),
        Some(ExpertWeights::SigmoidsOfInputs) => sigmoids(scores, sizes.per_token).map(Some),
        _ => Ok(None),
    }
}

/// The experts' tokens from the weights of all.
pub fn choices(shares: &Tensor) -> Result<Choices> {
    let mut choices = vec![(Vec::new(), Vec::new()); shares.dim(1)?];
    for (token, weights) in shares.to_vec2::<f32>()?.iter().enumerate() {
        for (expert, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
            choices[expert].0.push(token as u32);
            choices[expert].1.push(weight);
        }
    }
    Ok(choices)
}

/// The sigmoids of the largest scores of each token.
fn sigmoids(scores: &Tensor, per_token: usize) -> Result<Tensor> {
    let mut chosen = Vec::new();
    for scores in scores.to_vec2::<f32>()? {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        order.truncate(per_token);
        chosen.extend((0..scores.len()).map(|expert| f32::from(u8::from(order.contains(&expert)))));
    }
    sigmoid(scores)? * Tensor::from_vec(chosen, scores.shape(), scores.device())?
}

/// SparseMixer (arXiv 2409.12136), as it is evaluated: the two largest scores, each weighted by the softmax over those that are near
/// it, of which the second one leaves out the first.
fn of_near_scores(scores: &Tensor, nearness: f32) -> Result<Tensor> {
    let rows = scores.to_vec2::<f32>()?;
    let firsts: Vec<usize> = rows.iter().map(|scores| largest(scores, None)).collect();
    let mut shares = scores.zeros_like()?;
    for is_second in [false, true] {
        let (mut far, mut chosen) = (Vec::new(), Vec::new());
        for (scores, &first) in rows.iter().zip(&firsts) {
            let without = is_second.then_some(first);
            let best = largest(scores, without);
            far.extend(scores.iter().enumerate().map(|(expert, score)| {
                let distance = (scores[best] - score) / score.abs().max(scores[best]);
                if Some(expert) == without || distance > nearness { f32::NEG_INFINITY } else { 0.0 }
            }));
            chosen.extend((0..scores.len()).map(|expert| f32::from(u8::from(expert == best))));
        }
        let of_experts = |numbers| Tensor::from_vec(numbers, scores.shape(), scores.device());
        shares = (shares + (softmax(&(scores + of_experts(far)?)?)? * of_experts(chosen)?)?)?;
    }
    Ok(shares)
}

/// The first of the largest scores.
fn largest(scores: &[f32], without: Option<usize>) -> usize {
    let mut best = usize::from(without == Some(0));
    for expert in (0..scores.len()).filter(|expert| Some(*expert) != without) {
        if scores[expert] > scores[best] {
            best = expert;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn far_scores_do_not_count() -> Result<()> {
        let scores = Tensor::new(&[[2f32, 1.0, 1.99, -3.0]], &Device::Cpu)?;
        let shares = of_near_scores(&scores, 0.02)?.to_vec2::<f32>()?;
        let near = 1.0 / (1.0 + (-0.01f32).exp());
        assert!((shares[0][0] - near).abs() < 1e-6 && shares[0][1] == 0.0, "{shares:?}");
        assert_eq!(shares[0][2..], [1.0, 0.0]);
        Ok(())
    }
}
