//! Decoder families as data: what they are called, and what their tensors are called.
//!
//! There is one decoder (`layer.rs`); a family says under which names its weights are found. A weight that a
//! family leaves out of its files (a bias, a head that is tied) is simply absent there.

use super::config::Activation;

/// A role that a weight plays in a decoder layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Before attention.
    AttentionNorm,
    Query,
    Key,
    Value,
    QueryNorm,
    KeyNorm,
    AttentionOut,
    /// On what attention adds.
    AttentionPostNorm,
    /// Before the MLP.
    MlpNorm,
    Gate,
    Up,
    Down,
    /// On what the MLP adds.
    MlpPostNorm,
}

impl Role {
    /// The linear modules, which are what LoRA adapts.
    pub const LINEAR: [Role; 7] =
        [Role::Query, Role::Key, Role::Value, Role::AttentionOut, Role::Gate, Role::Up, Role::Down];
}

/// The names of a layer's modules: role, name inside the layer of a Hugging Face model, name inside `blk.N` of GGUF.
type Names = &'static [(Role, &'static str, &'static str)];

/// A family of decoders.
#[derive(Debug, PartialEq)]
pub struct Family {
    /// `model_type` in `config.json`.
    pub model_types: &'static [&'static str],
    /// `general.architecture` in GGUF.
    pub gguf_architectures: &'static [&'static str],
    /// The names of all roles that the family has.
    layer_names: &'static [Names],
    /// llama.cpp stores the rows of these families' queries and keys in the order of its own rotary embedding.
    pub gguf_permutes_query_and_key: bool,
    pub activation: Activation,
    /// Norms multiply by 1 + weight. GGUF files have the 1 added.
    pub norms_add_one: bool,
    /// Embeddings are multiplied by √hidden.
    pub scales_embedding: bool,
    /// Queries and keys are normalised over all heads together, not head by head.
    pub norms_heads_together: bool,
    /// Numbers that transformers takes when `config.json` does not have the key.
    defaults: &'static [(&'static str, f64)],
}

const LINEARS: Names = &[
    (Role::Query, "self_attn.q_proj", "attn_q"),
    (Role::Key, "self_attn.k_proj", "attn_k"),
    (Role::Value, "self_attn.v_proj", "attn_v"),
    (Role::AttentionOut, "self_attn.o_proj", "attn_output"),
    (Role::Gate, "mlp.gate_proj", "ffn_gate"),
    (Role::Up, "mlp.up_proj", "ffn_up"),
    (Role::Down, "mlp.down_proj", "ffn_down"),
];
const PRE_NORMS: Names =
    &[(Role::AttentionNorm, "input_layernorm", "attn_norm"), (Role::MlpNorm, "post_attention_layernorm", "ffn_norm")];
const POST_NORMS: Names = &[
    (Role::AttentionPostNorm, "post_attention_layernorm", "post_attention_norm"),
    (Role::MlpPostNorm, "post_feedforward_layernorm", "post_ffw_norm"),
];
/// With norms on both sides of a block the MLP's first one has a name of its own.
const OUTER_PRE_NORMS: Names =
    &[(Role::AttentionNorm, "input_layernorm", "attn_norm"), (Role::MlpNorm, "pre_feedforward_layernorm", "ffn_norm")];
const HEAD_NORMS: Names =
    &[(Role::QueryNorm, "self_attn.q_norm", "attn_q_norm"), (Role::KeyNorm, "self_attn.k_norm", "attn_k_norm")];

/// Llama 1 to 3.x, SmolLM2 and others under the same type; Mistral differs by its window, which the config tells.
const LLAMA: Family = Family {
    model_types: &["llama", "mistral"],
    gguf_architectures: &["llama"],
    layer_names: &[LINEARS, PRE_NORMS],
    gguf_permutes_query_and_key: true,
    activation: Activation::Silu,
    norms_add_one: false,
    scales_embedding: false,
    norms_heads_together: false,
    defaults: &[],
};

const GEMMA: Family = Family {
    model_types: &["gemma"],
    gguf_architectures: &[],
    gguf_permutes_query_and_key: false,
    activation: Activation::GeluTanh,
    norms_add_one: true,
    scales_embedding: true,
    ..LLAMA
};

/// Every supported family.
static FAMILIES: [Family; 9] = [
    LLAMA,
    // Qwen 2 and 2.5: biases on queries, keys and values.
    Family { model_types: &["qwen2"], gguf_architectures: &["qwen2"], gguf_permutes_query_and_key: false, ..LLAMA },
    Family {
        model_types: &["qwen3"],
        gguf_architectures: &[],
        layer_names: &[LINEARS, PRE_NORMS, HEAD_NORMS],
        defaults: &[("head_dim", 128.0)],
        ..LLAMA
    },
    // Every fourth layer has no rotary embedding.
    Family {
        model_types: &["smollm3"],
        gguf_architectures: &[],
        defaults: &[("no_rope_layer_interval", 4.0), ("rope_theta", 2_000_000.0)],
        ..LLAMA
    },
    // Four multipliers, which the config tells.
    Family { model_types: &["granite"], gguf_architectures: &[], ..LLAMA },
    Family {
        model_types: &["olmo2"],
        gguf_architectures: &[],
        layer_names: &[LINEARS, POST_NORMS, HEAD_NORMS],
        norms_heads_together: true,
        defaults: &[("rms_norm_eps", 1e-5)],
        ..LLAMA
    },
    GEMMA,
    Family {
        model_types: &["gemma2"],
        layer_names: &[LINEARS, OUTER_PRE_NORMS, POST_NORMS],
        defaults: &[
            ("head_dim", 256.0),
            ("num_key_value_heads", 4.0),
            ("query_pre_attn_scalar", 256.0),
            ("attn_logit_softcapping", 50.0),
            ("final_logit_softcapping", 30.0),
            ("sliding_window", 4096.0),
            ("sliding_window_pattern", 2.0),
        ],
        ..GEMMA
    },
    Family {
        model_types: &["gemma3_text"],
        gguf_architectures: &["gemma3"],
        layer_names: &[LINEARS, OUTER_PRE_NORMS, POST_NORMS, HEAD_NORMS],
        defaults: &[
            ("head_dim", 256.0),
            ("num_attention_heads", 8.0),
            ("num_key_value_heads", 4.0),
            ("max_position_embeddings", 131_072.0),
            ("query_pre_attn_scalar", 256.0),
            ("sliding_window", 4096.0),
            ("sliding_window_pattern", 6.0),
            ("rope_theta", 1_000_000.0),
            ("rope_local_base_freq", 10_000.0),
        ],
        ..GEMMA
    },
];

pub fn by_model_type(model_type: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.model_types.contains(&model_type))
}

pub fn by_gguf_architecture(architecture: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.gguf_architectures.contains(&architecture))
}

/// The supported model types, for messages.
pub fn supported() -> String {
    let types: Vec<&str> = FAMILIES.iter().flat_map(|family| family.model_types).copied().collect();
    types.join(", ")
}

impl Family {
    pub fn default(&self, key: &str) -> Option<f64> {
        self.defaults.iter().find(|(name, _)| *name == key).map(|&(_, value)| value)
    }

    /// The roles that the family has.
    pub fn roles(&self) -> impl Iterator<Item = Role> {
        self.layer_names.iter().copied().flatten().map(|&(role, _, _)| role)
    }

    /// The module's name inside a layer of a Hugging Face model, which is also its name in an adapter.
    pub fn module(&self, role: Role) -> &'static str {
        self.names(role).0
    }

    /// The module's name inside `blk.N` of a GGUF file.
    pub fn gguf_module(&self, role: Role) -> &'static str {
        self.names(role).1
    }

    fn names(&self, role: Role) -> (&'static str, &'static str) {
        let found = self.layer_names.iter().copied().flatten().find(|(named, _, _)| *named == role);
        found.map_or(("", ""), |&(_, module, gguf)| (module, gguf))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_names_every_linear_module_and_no_role_twice() {
        for family in &FAMILIES {
            let roles: Vec<Role> = family.roles().collect();
            assert!(Role::LINEAR.iter().all(|role| roles.contains(role)), "{family:?}");
            let unique: std::collections::BTreeSet<Role> = roles.iter().copied().collect();
            assert_eq!(unique.len(), roles.len(), "{family:?}");
        }
    }
}
