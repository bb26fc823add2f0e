//! Which experts a token goes to, and with which weights.

use candle_core::{Result, Tensor};
use candle_nn::ops::sigmoid;

use crate::kernel::gradient::softmax;

/// How a router chooses experts by its outputs, and weights them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Routing {
    pub scores: Scores,
    /// The largest distance to the best score that counts as near, relative to the larger magnitude of the two.
    pub nearness: f64,
    /// The weights of a token's experts are normalised to sum to 1.
    pub sum_to_one: bool,
    /// Their sum counts as no less than this before they are.
    pub least_sum: f64,
    /// What is added to it.
    pub added_to_sum: f64,
    /// What weights are multiplied by in the end.
    pub scale: f64,
    /// Only experts of the best groups are chosen.
    pub groups: Option<Groups>,
}

/// What a router's outputs become before the largest are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scores {
    /// The softmax over all experts.
    Softmax,
    /// The softmax over those that are near the best, and over those near the second best (SparseMixer), which two are chosen.
    SoftmaxOfNear,
    /// The sigmoid of each.
    Sigmoid,
    /// As [`Scores::Sigmoid`]; they weight not what experts give but what they are given.
    SigmoidOfInputs,
}

/// Groups of equally many experts, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Groups {
    pub count: usize,
    /// The groups that a token's experts are taken from.
    pub kept: usize,
    pub by: GroupScore,
}

/// By which scores of its experts a group is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupScore {
    Largest,
    /// The sum of the two largest.
    TwoLargest,
}

impl GroupScore {
    /// How many experts count.
    pub fn experts(self) -> usize {
        match self {
            Self::Largest => 1,
            Self::TwoLargest => 2,
        }
    }
}

/// For each expert the tokens that go to it, and the weight of its output for each of them.
pub type Choices = Vec<(Vec<u32>, Vec<f32>)>;

impl Routing {
    /// The softmax of all outputs, without anything beside it.
    pub fn plain(sum_to_one: bool) -> Self {
        Self {
            scores: Scores::Softmax,
            nearness: 0.0,
            sum_to_one,
            least_sum: 0.0,
            added_to_sum: 0.0,
            scale: 1.0,
            groups: None,
        }
    }

    /// Whether inputs of experts are multiplied by the weights, in the place of their outputs.
    pub fn weights_inputs(&self) -> bool {
        self.scores == Scores::SigmoidOfInputs
    }

    /// Chooses experts for each row of a router's outputs, (tokens, experts): those with the largest scores. `bias` is added to the
    /// scores by which experts are chosen, and not to the weights. Where the outputs have derivatives, the weights are returned once
    /// more as (tokens, experts), 0 for experts that a token does not go to.
    pub fn choose(
        &self,
        outputs: &Tensor,
        bias: Option<&[f32]>,
        per_token: usize,
    ) -> Result<(Choices, Option<Tensor>)> {
        let scores = match self.scores {
            Scores::Softmax => softmax(outputs)?,
            Scores::SoftmaxOfNear => return two_of_near(outputs, self.nearness as f32),
            Scores::Sigmoid | Scores::SigmoidOfInputs => sigmoid(outputs)?,
        };
        let mut choices = vec![(Vec::new(), Vec::new()); scores.dim(1)?];
        // The largest sigmoids may all be 1 in f32, and their order that of the outputs.
        let ranked = if self.weights_inputs() { outputs } else { &scores };
        let rows = scores.to_vec2::<f32>()?.into_iter().zip(ranked.to_vec2::<f32>()?);
        for (token, (scores, ranked)) in rows.enumerate() {
            let chosen = self.chosen(&ranked, bias, per_token);
            let sum: f32 = chosen.iter().map(|&expert| scores[expert]).sum();
            for expert in chosen {
                choices[expert].0.push(token as u32);
                choices[expert].1.push(self.weight(scores[expert], sum));
            }
        }
        let shares = if scores.track_op() { Some(self.shares(&scores, &choices)?) } else { None };
        Ok((choices, shares))
    }

    /// The experts of a token by its scores.
    fn chosen(&self, scores: &[f32], bias: Option<&[f32]>, per_token: usize) -> Vec<usize> {
        let mut preferences = scores.to_vec();
        if let Some(bias) = bias {
            preferences.iter_mut().zip(bias).for_each(|(preference, bias)| *preference += bias);
        }
        let mut order: Vec<usize> = match self.groups {
            Some(groups) => groups.best(&preferences),
            None => (0..scores.len()).collect(),
        };
        order.sort_by(|&a, &b| preferences[b].total_cmp(&preferences[a]));
        order.truncate(per_token);
        order
    }

    fn weight(&self, score: f32, sum: f32) -> f32 {
        let weight =
            if self.sum_to_one { score / (sum.max(self.least_sum as f32) + self.added_to_sum as f32) } else { score };
        if self.scale == 1.0 { weight } else { weight * self.scale as f32 }
    }

    /// The weights of chosen experts from the scores of all, (tokens, experts): the choice is fixed, the weights are not.
    fn shares(&self, scores: &Tensor, choices: &Choices) -> Result<Tensor> {
        let (tokens, experts) = scores.dims2()?;
        let mut chosen = vec![0f32; tokens * experts];
        for (expert, (own, _)) in choices.iter().enumerate() {
            own.iter().for_each(|&token| chosen[token as usize * experts + expert] = 1.0);
        }
        let mut shares = (scores * Tensor::from_vec(chosen, (tokens, experts), scores.device())?)?;
        if self.sum_to_one {
            let sums = (shares.sum_keepdim(1)?.maximum(self.least_sum)? + self.added_to_sum)?;
            shares = shares.broadcast_div(&sums)?;
        }
        if self.scale == 1.0 { Ok(shares) } else { shares * self.scale }
    }
}

impl Groups {
    /// Whether so many experts make such groups, and those that are kept have enough for a token.
    pub fn fit(self, experts: usize, per_token: usize) -> bool {
        let size = experts.checked_div(self.count).unwrap_or(0);
        let are_equal = size >= self.by.experts() && size * self.count == experts;
        are_equal && self.kept <= self.count && per_token <= self.kept * size
    }

    /// The experts of the best groups.
    fn best(self, preferences: &[f32]) -> Vec<usize> {
        let size = preferences.len() / self.count;
        let score = |group: usize| -> f32 {
            let mut own = preferences[group * size..(group + 1) * size].to_vec();
            own.sort_by(|a, b| b.total_cmp(a));
            own.iter().take(self.by.experts()).sum()
        };
        let scores: Vec<f32> = (0..self.count).map(score).collect();
        let mut groups: Vec<usize> = (0..self.count).collect();
        groups.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        groups.into_iter().take(self.kept).flat_map(|group| group * size..(group + 1) * size).collect()
    }
}

/// SparseMixer (arXiv 2409.12136), as it is evaluated: the two largest outputs of a router, (tokens, experts), each weighted by the
/// softmax over those that are near it, of which the second one leaves out the first.
fn two_of_near(outputs: &Tensor, nearness: f32) -> Result<(Choices, Option<Tensor>)> {
    let rows = outputs.to_vec2::<f32>()?;
    let firsts: Vec<usize> = rows.iter().map(|row| largest(row, None)).collect();
    let mut shares = outputs.zeros_like()?;
    for is_second in [false, true] {
        let (mut far, mut chosen) = (Vec::new(), Vec::new());
        for (row, &first) in rows.iter().zip(&firsts) {
            let without = is_second.then_some(first);
            let best = largest(row, without);
            far.extend(row.iter().enumerate().map(|(expert, output)| {
                let distance = (row[best] - output) / output.abs().max(row[best]);
                if Some(expert) == without || distance > nearness { f32::NEG_INFINITY } else { 0.0 }
            }));
            chosen.extend((0..row.len()).map(|expert| f32::from(u8::from(expert == best))));
        }
        let of_experts = |numbers| Tensor::from_vec(numbers, outputs.shape(), outputs.device());
        shares = (shares + (softmax(&(outputs + of_experts(far)?)?)? * of_experts(chosen)?)?)?;
    }
    let mut choices = vec![(Vec::new(), Vec::new()); shares.dim(1)?];
    for (token, weights) in shares.to_vec2::<f32>()?.iter().enumerate() {
        for (expert, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
            choices[expert].0.push(token as u32);
            choices[expert].1.push(weight);
        }
    }
    let shares = shares.track_op().then_some(shares);
    Ok((choices, shares))
}

/// The first of the largest outputs.
fn largest(outputs: &[f32], without: Option<usize>) -> usize {
    let mut best = usize::from(without == Some(0));
    for expert in (0..outputs.len()).filter(|expert| Some(*expert) != without) {
        if outputs[expert] > outputs[best] {
            best = expert;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn a_bias_chooses_and_does_not_weight() -> Result<()> {
        let routing = Routing { scores: Scores::Sigmoid, scale: 2.0, ..Routing::plain(true) };
        let outputs = Tensor::new(&[[0f32, 1.0, -1.0]], &Device::Cpu)?;
        let (choices, shares) = routing.choose(&outputs, Some(&[0.0, 0.0, 9.0]), 2)?;
        assert!(shares.is_none() && choices[0].0.is_empty());
        let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
        let sum = sigmoid(1.0) + sigmoid(-1.0);
        assert!((choices[2].1[0] - 2.0 * sigmoid(-1.0) / sum).abs() < 1e-6);
        Ok(())
    }

    #[test]
    fn far_outputs_do_not_count() -> Result<()> {
        let outputs = Tensor::new(&[[2f32, 1.0, 1.99, -3.0]], &Device::Cpu)?;
        let (choices, _) = two_of_near(&outputs, 0.02)?;
        let near = 1.0 / (1.0 + (-0.01f32).exp());
        assert!((choices[0].1[0] - near).abs() < 1e-6 && choices[1].0.is_empty() && choices[3].0.is_empty());
        assert_eq!(choices[2].1, [1.0]);
        Ok(())
    }

    #[test]
    fn groups_are_chosen_before_experts() -> Result<()> {
        let groups = |by| Some(Groups { count: 3, kept: 1, by });
        let outputs = Tensor::new(&[[3f32, 0.0, 2.0, 2.0, 1.0, 1.0]], &Device::Cpu)?;
        let chosen = |by| -> Result<Vec<usize>> {
            let routing = Routing { scores: Scores::Sigmoid, groups: groups(by), ..Routing::plain(false) };
            let (choices, _) = routing.choose(&outputs, None, 2)?;
            Ok((0..6).filter(|&expert| !choices[expert].0.is_empty()).collect())
        };
        assert_eq!(chosen(GroupScore::Largest)?, [0, 1]);
        assert_eq!(chosen(GroupScore::TwoLargest)?, [2, 3]);
        Ok(())
    }

    #[test]
    fn shares_are_the_weights() -> Result<()> {
        let routing = Routing { scores: Scores::Sigmoid, scale: 1.5, ..Routing::plain(true) };
        let outputs = Var::new(&[[0.3f32, 1.0, -1.0], [0.1, 0.2, 0.4]], &Device::Cpu)?;
        let (choices, shares) = routing.choose(outputs.as_tensor(), None, 2)?;
        let Some(shares) = shares else { panic!("no derivatives") };
        for (expert, (tokens, weights)) in choices.iter().enumerate() {
            for (&token, &weight) in tokens.iter().zip(weights) {
                let share = shares.get(token as usize)?.get(expert)?.to_scalar::<f32>()?;
                assert!((share - weight).abs() < 1e-6);
            }
        }
        Ok(())
    }
}
