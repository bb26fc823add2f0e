//! Checks that every weight is there in the shape that the configuration gives it, so that a sweep does not fail in its last
//! layer.

use super::{LayerWeights, Weights};
use crate::error::{Result, TensorError};
use crate::model::ModelConfig;
use crate::model::family::{Outside, Positions, Role, StackLayout};

impl Weights {
    /// Checks everything outside the layers.
    pub fn check(&self, config: &ModelConfig) -> Result<()> {
        let (store, hidden) = (&self.store, config.hidden_size);
        let embedding = [config.vocab_size, hidden];
        store.entry_of_shape(&self.outside_weight(Outside::Embedding), &embedding)?;
        if store.entry(&self.head_name())?.shape.get(1) != Some(&hidden) {
            store.entry_of_shape(&self.head_name(), &embedding)?;
        }
        // Without a head a GGUF file has it tied; a configuration says so.
        if !self.is_gguf() && config.tied == Some(false) && self.outside(Outside::Head, "weight").is_none() {
            store.entry(&self.outside_weight(Outside::Head))?;
        }
        if let Some(bias) = self.outside_bias(Outside::Head) {
            store.entry_of_shape(&bias, &[self.head_size()?])?;
        }
        if let Some(sizes) = config.per_layer {
            let all = config.layers * sizes.size;
            store.entry_of_shape(&self.outside_weight(Outside::LayerEmbedding), &[sizes.vocab_size, all])?;
            store.entry_of_shape(&self.outside_weight(Outside::LayerProjection), &[all, hidden])?;
            store.entry_of_shape(&self.outside_weight(Outside::LayerNorm), &[sizes.size])?;
        }
        for name in self.listed_names(config) {
            store.entry_of_shape(&name, &[hidden, hidden])?;
        }
        if config.family.positions == Positions::Learned {
            let weight = self.outside_weight(Outside::Positions);
            store.entry_of_shape(
                &weight,
                &[store.height(&weight)?.max(config.family.first_position + config.context), hidden],
            )?;
        }
        let embedding_norm = config.family.outer.embedding_norm.map(|_| Outside::EmbeddingNorm);
        let norms = [Some(Outside::FinalNorm), embedding_norm].into_iter().flatten();
        for norm in norms.filter(|_| config.family.norms.have_weights()) {
            store.entry_of_shape(&self.outside_weight(norm), &[hidden])?;
            if let Some(bias) = self.outside_bias(norm) {
                store.entry_of_shape(&bias, &[hidden])?;
            }
        }
        Ok(())
    }
}

impl Weights {
    /// Says so if the embedding serves as the head of files without one, although the configuration does not tie them.
    pub fn assumed_head(&self, config: &ModelConfig) -> Option<String> {
        let is_assumed =
            !self.is_gguf() && config.tied != Some(true) && self.outside(Outside::Head, "weight").is_none();
        is_assumed.then(|| {
            let (path, head) = (self.store.path().display(), self.outside_weight(Outside::Head));
            format!(
                "`{path}` has no `{head}`, and the configuration does not set `tie_word_embeddings`: the embedding is used, \
                 where transformers starts with random numbers"
            )
        })
    }
}

impl LayerWeights<'_> {
    /// Checks everything in the layer.
    pub fn check(&self) -> Result<()> {
        let has_weights = |role: &Role| !role.is_norm() || self.config.family.norms_of(*role).have_weights();
        self.roles().into_iter().filter(has_weights).try_for_each(|role| match role.is_norm() {
            true => self.check_norm(role),
            false => self.check_weight(role),
        })?;
        if self.config.is_sparse(self.index) { self.check_experts() } else { Ok(()) }
    }

    fn check_norm(&self, role: Role) -> Result<()> {
        let (store, shape) = (&self.weights.store, self.config.shape_of(role, self.index));
        let missing = || TensorError::Missing { path: store.path().into(), name: self.name(role, "weight") };
        let names = self.norm_names(role).ok_or_else(missing)?;
        if self.weights.is_gguf() && role == Role::MambaNorm {
            return self.check_values(role, &shape);
        }
        for name in names {
            // A norm of each head has one row of weights for all, or one for each.
            let has_row_by_head = store.entry(&name)?.shape.len() == 2;
            let expected = if has_row_by_head { vec![self.heads_of(role), shape[0]] } else { shape.clone() };
            store.entry_of_shape(&name, &expected)?;
            if let Some(bias) = self.bias_name(role) {
                store.entry_of_shape(&bias, &expected)?;
            }
        }
        Ok(())
    }

    fn check_weight(&self, role: Role) -> Result<()> {
        let (store, name) = (&self.weights.store, self.name(role, "weight"));
        let mut shape = self.config.shape_of(role, self.index);
        if let Some(parts) = self.parts(role) {
            return self.check_parts(&parts, &shape);
        }
        if self.split(role).is_some() || self.weights.is_gguf() && role.is_parameter() {
            return self.check_values(role, &shape);
        }
        let outputs = shape.first().copied().unwrap_or(1);
        if self.linears_are_transposed() {
            shape.reverse();
        }
        // llama.cpp drops the dimension of the one output of the shared expert's switch.
        let is_vector = role == Role::SharedSwitch && store.entry(&name)?.shape.len() == 1;
        if role == Role::RouterBias && store.entry(&name)?.shape.first() == Some(&1) {
            // ERNIE 4.5 has one row of them.
            shape.insert(0, 1);
        }
        store.entry_of_shape(&name, if is_vector { &shape[1..] } else { &shape })?;
        if let Some(bias) = self.bias_name(role).filter(|_| role.is_linear() || role == Role::MambaConvolution) {
            store.entry_of_shape(&bias, &[outputs])?;
        }
        Ok(())
    }

    /// Checks tensors that lie one after the other, and come to `shape` together.
    fn check_parts(&self, names: &[String], shape: &[usize]) -> Result<()> {
        let store = &self.weights.store;
        let heights = names.iter().map(|name| store.height(name)).collect::<Result<Vec<usize>>>()?;
        let is_whole = heights.iter().sum::<usize>() == shape[0];
        names.iter().zip(heights).try_for_each(|(name, height)| {
            let mut own = shape.to_vec();
            own[0] = if is_whole { height } else { shape[0] };
            store.entry_of_shape(name, &own).map(|_| ())
        })
    }

    /// Checks the number of values that GGUF files divide, or whose dimensions of one they drop or add.
    fn check_values(&self, role: Role, shape: &[usize]) -> Result<()> {
        let (store, names) = (&self.weights.store, self.weight_names(role));
        let mut count = 0;
        for name in &names {
            count += store.entry(name)?.shape.iter().product::<usize>();
        }
        if count != shape.iter().product::<usize>() {
            store.entry_of_shape(&names[0], shape)?;
        }
        match self.bias_name(role).filter(|_| role == Role::MambaConvolution) {
            Some(bias) => store.entry_of_shape(&bias, &shape[..1]).map(|_| ()),
            None => Ok(()),
        }
    }

    fn check_experts(&self) -> Result<()> {
        let (Some(names), Some(sizes)) = (self.config.family.experts, &self.config.experts) else { return Ok(()) };
        let (store, count) = (&self.weights.store, sizes.count);
        let (hidden, intermediate) = (self.config.expert_width(), sizes.intermediate_size);
        let check_bias = |name: String, outputs: usize| match self.expert_bias(name) {
            Some(name) => store.entry_of_shape(&name, &[count, outputs]).map(|_| ()),
            None => Ok(()),
        };
        if self.weights.is_gguf() {
            let both = self.gguf_gate_up();
            if let Some(both) = &both {
                store.entry_of_shape(both, &[count, 2 * intermediate, hidden])?;
            }
            // The first two are the gate and what it is multiplied with.
            let skipped = if both.is_some() { 2 } else { usize::from(!names.are_gated) };
            for (name, down) in self.gguf_experts().into_iter().zip([false, false, true]).skip(skipped) {
                let (outputs, inputs) = if down { (hidden, intermediate) } else { (intermediate, hidden) };
                store.entry_of_shape(&format!("{name}.weight"), &[count, outputs, inputs])?;
                check_bias(format!("{name}.bias"), outputs)?;
            }
            return Ok(());
        }
        if let Some([gate_up, down]) = self.stacked_experts() {
            let both = if names.are_gated { 2 * intermediate } else { intermediate };
            for (name, outputs, inputs) in [(gate_up, both, hidden), (down, hidden, intermediate)] {
                check_bias(format!("{name}_bias"), outputs)?;
                let shape = match names.stack_layout {
                    StackLayout::GateFirstEitherWay if store.entry(&name)?.shape.get(1) == Some(&inputs) => {
                        [count, inputs, outputs]
                    }
                    StackLayout::GateFirst | StackLayout::GateFirstEitherWay => [count, outputs, inputs],
                    StackLayout::GateFirstByInputs | StackLayout::Alternating => [count, inputs, outputs],
                };
                store.entry_of_shape(&name, &shape)?;
            }
            return Ok(());
        }
        for expert in 0..count {
            let [gate, up, down] = self.expert_modules(expert)?;
            if names.are_gated {
                store.entry_of_shape(&gate, &[intermediate, hidden])?;
            }
            store.entry_of_shape(&up, &[intermediate, hidden])?;
            store.entry_of_shape(&down, &[hidden, intermediate])?;
        }
        Ok(())
    }
}
