"""Llama, and the families that differ from it in little."""

import torch
from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)

from pico_cases.case import ALL_LINEAR, PLAIN_LORA, PLAIN_ROPE, SIZES, Case

# With 8 dimensions per head the wavelengths are 6, 63, 628 and 6283, so that an original context
# of 128 puts one frequency in the high band, one in the middle and two in the low one.
LLAMA3_ROPE = dict(
    rope_type="llama3",
    rope_theta=10000.0,
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=128,
)


def cases() -> list[Case]:
    return [
        Case(
            "llama-llama3-rope",
            LlamaConfig(**SIZES | dict(
                num_hidden_layers=6,
                tie_word_embeddings=True,
                max_position_embeddings=1024,
                rope_parameters=dict(LLAMA3_ROPE),
            )),
            PLAIN_LORA,
            without=[dict(rope_parameters=dict(PLAIN_ROPE))],
        ),
        Case(
            "llama-linear",
            LlamaConfig(**SIZES | dict(
                attention_bias=True,
                mlp_bias=True,
                rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0),
            )),
            dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], use_rslora=True),
            legacy_rope=True,
            without=[dict(rope_parameters=dict(PLAIN_ROPE))],
            seed=3,
        ),
        Case(
            "llama-dynamic",
            LlamaConfig(**SIZES | dict(
                max_position_embeddings=32,
                rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0, factor=2.0),
            )),
            PLAIN_LORA,
            without=[dict(rope_parameters=dict(PLAIN_ROPE))],
            seed=1,
        ),
        Case(
            "llama-yarn",
            LlamaConfig(**SIZES | dict(
                max_position_embeddings=256,
                # An original context of 64 leaves one frequency on the slope of the ramp.
                rope_parameters=dict(
                    rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=64
                ),
            )),
            PLAIN_LORA,
            legacy_rope=True,
            without=[dict(rope_parameters=dict(PLAIN_ROPE))],
        ),
        Case(
            "mistral",
            MistralConfig(**SIZES | dict(
                head_dim=16, sliding_window=8, rope_parameters=dict(PLAIN_ROPE)
            )),
            PLAIN_LORA,
            dtype=torch.bfloat16,
            shard_size="80KB",
            without=[dict(sliding_window=None)],
            seed=5,
        ),
        Case(
            "qwen2",
            # Qwen2Config has no head_dim: it is hidden_size / num_attention_heads.
            Qwen2Config(**{k: v for k, v in SIZES.items() if k != "head_dim"} | dict(
                use_sliding_window=False, rope_parameters=dict(rope_type="default", rope_theta=1000000.0)
            )),
            dict(
                r=4,
                lora_alpha=8,
                target_modules=ALL_LINEAR,
                rank_pattern={"q_proj": 2},
                alpha_pattern={"layers.1.mlp.down_proj": 16},
                layers_to_transform=[0, 1, 3],
            ),
            dtype=torch.float16,
        ),
        Case(
            "qwen3",
            Qwen3Config(**SIZES | dict(head_dim=16, rope_parameters=dict(PLAIN_ROPE))),
            PLAIN_LORA,
            dtype=torch.bfloat16,
            seed=2,
        ),
        Case(
            "smollm3",
            # Layer 3 has no rotary embedding.
            SmolLM3Config(**SIZES | dict(
                pad_token_id=0, tie_word_embeddings=True, rope_parameters=dict(PLAIN_ROPE)
            )),
            PLAIN_LORA,
            dtype=torch.bfloat16,
            without=[dict(no_rope_layers=[1, 1, 1, 1])],
        ),
        Case(
            "granite",
            GraniteConfig(**SIZES | dict(
                embedding_multiplier=3.0,
                residual_multiplier=0.6,
                attention_multiplier=0.2,
                logits_scaling=0.5,
                rope_parameters=dict(PLAIN_ROPE),
            )),
            PLAIN_LORA,
            dtype=torch.bfloat16,
            without=[dict(residual_multiplier=1.0)],
        ),
        Case(
            "olmo2",
            Olmo2Config(**SIZES | dict(rope_parameters=dict(PLAIN_ROPE))),
            PLAIN_LORA,
            dtype=torch.bfloat16,
        ),
        Case(
            "gemma",
            # Trained with the approximation of GELU, and `gelu` in the first files.
            GemmaConfig(**SIZES | dict(tie_word_embeddings=True, rope_parameters=dict(PLAIN_ROPE))),
            PLAIN_LORA,
            dtype=torch.bfloat16,
        ),
        Case(
            "gemma2",
            # Caps low enough for random weights to reach them.
            Gemma2Config(**SIZES | dict(
                tie_word_embeddings=True,
                query_pre_attn_scalar=12,
                attn_logit_softcapping=2.0,
                final_logit_softcapping=4.0,
                sliding_window=8,
                rope_parameters=dict(PLAIN_ROPE),
            )),
            PLAIN_LORA,
            dtype=torch.bfloat16,
            without=[dict(attn_logit_softcapping=None)],
        ),
        Case(
            "gemma3",
            Gemma3TextConfig(**SIZES | dict(
                num_hidden_layers=4,
                tie_word_embeddings=True,
                query_pre_attn_scalar=12,
                sliding_window=8,
                layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
                rope_parameters=dict(
                    full_attention=dict(rope_type="linear", rope_theta=1000.0, factor=8.0),
                    sliding_attention=dict(rope_type="default", rope_theta=100.0),
                ),
            )),
            PLAIN_LORA,
            dtype=torch.bfloat16,
            without=[dict(sliding_window=64)],
        ),
        Case(
            "llama-gguf",
            # Q8_0 has blocks of 32, so rows must be a multiple of that; 64 makes two blocks.
            LlamaConfig(**SIZES | dict(
                num_hidden_layers=6,
                intermediate_size=64,
                tie_word_embeddings=True,
                max_position_embeddings=1024,
                rope_parameters=dict(LLAMA3_ROPE),
            )),
            PLAIN_LORA,
            without=[dict(rope_parameters=dict(PLAIN_ROPE))],
            gguf=True,
            seed=2,
        ),
    ]
