//! Decoder families as data: what they are called, and what their tensors are called.
//!
//! There is one decoder (`layer.rs`); a family says under which names its weights are found. A weight that a
//! family leaves out of its files (a bias, a head that is tied) is simply absent there.

/// A role that a weight plays in a decoder layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    AttentionNorm,
    Query,
    Key,
    Value,
    AttentionOut,
    MlpNorm,
    Gate,
    Up,
    Down,
}

impl Role {
    /// The linear modules, which are what LoRA adapts.
    pub const LINEAR: [Role; 7] =
        [Role::Query, Role::Key, Role::Value, Role::AttentionOut, Role::Gate, Role::Up, Role::Down];
}

/// The names of a layer's modules: role, name inside the layer of a Hugging Face model, name inside `blk.N` of GGUF.
type LayerNames = &'static [(Role, &'static str, &'static str)];

/// A family of decoders.
#[derive(Debug, PartialEq)]
pub struct Family {
    /// `model_type` in `config.json`.
    pub model_types: &'static [&'static str],
    /// `general.architecture` in GGUF.
    pub gguf_architectures: &'static [&'static str],
    layer_names: LayerNames,
    /// llama.cpp stores the rows of these families' queries and keys in the order of its own rotary embedding.
    pub gguf_permutes_query_and_key: bool,
}

const LLAMA_NAMES: LayerNames = &[
    (Role::AttentionNorm, "input_layernorm", "attn_norm"),
    (Role::Query, "self_attn.q_proj", "attn_q"),
    (Role::Key, "self_attn.k_proj", "attn_k"),
    (Role::Value, "self_attn.v_proj", "attn_v"),
    (Role::AttentionOut, "self_attn.o_proj", "attn_output"),
    (Role::MlpNorm, "post_attention_layernorm", "ffn_norm"),
    (Role::Gate, "mlp.gate_proj", "ffn_gate"),
    (Role::Up, "mlp.up_proj", "ffn_up"),
    (Role::Down, "mlp.down_proj", "ffn_down"),
];

/// Every supported family.
static FAMILIES: [Family; 2] = [
    // Llama 1 to 3.x, SmolLM2 and others under the same type; Mistral differs by its window, which the config tells.
    Family {
        model_types: &["llama", "mistral"],
        gguf_architectures: &["llama"],
        layer_names: LLAMA_NAMES,
        gguf_permutes_query_and_key: true,
    },
    // Qwen 2 and 2.5: biases on queries, keys and values.
    Family {
        model_types: &["qwen2"],
        gguf_architectures: &["qwen2"],
        layer_names: LLAMA_NAMES,
        gguf_permutes_query_and_key: false,
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
    /// The module's name inside a layer of a Hugging Face model, which is also its name in an adapter.
    pub fn module(&self, role: Role) -> &'static str {
        self.names(role).0
    }

    /// The module's name inside `blk.N` of a GGUF file.
    pub fn gguf_module(&self, role: Role) -> &'static str {
        self.names(role).1
    }

    fn names(&self, role: Role) -> (&'static str, &'static str) {
        let found = self.layer_names.iter().find(|(named, _, _)| *named == role);
        found.map_or(("", ""), |&(_, module, gguf)| (module, gguf))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_names_every_role() {
        for family in &FAMILIES {
            for role in [Role::AttentionNorm, Role::MlpNorm].into_iter().chain(Role::LINEAR) {
                assert!(!family.module(role).is_empty(), "{family:?} {role:?}");
            }
        }
    }
}
