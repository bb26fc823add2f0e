"""Families whose layers are arranged in their own way."""

import torch
from transformers import (
    BloomConfig,
    Cohere2Config,
    CohereConfig,
    Glm4Config,
    GlmConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    Phi3Config,
    PhiConfig,
    StableLmConfig,
    Starcoder2Config,
)

from pico_cases.case import PLAIN_LORA, PLAIN_ROPE, SIZES, Case, lora, sizes

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
FUSED = ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"]


def cases() -> list[Case]:
    return phi() + cohere() + glm() + stablelm() + gpt() + others()


def phi() -> list[Case]:
    phi3_lora = lora("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
    phi_lora = lora("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2")
    return [
        Case(
            "phi3",
            Phi3Config(**sizes("head_dim", pad_token_id=0, sliding_window=8, rope_parameters=dict(PLAIN_ROPE))),
            phi3_lora,
            dtype=torch.bfloat16,
            without=[dict(sliding_window=None)],
        ),
        Case(
            "phi3-longrope",
            # Some samples are longer than the original context. Three quarters of 8 dimensions are 3 frequencies.
            Phi3Config(**sizes(
                "head_dim",
                pad_token_id=0,
                tie_word_embeddings=True,
                max_position_embeddings=64,
                original_max_position_embeddings=16,
                rope_parameters=dict(
                    rope_type="longrope",
                    rope_theta=10000.0,
                    partial_rotary_factor=0.75,
                    short_factor=[1.0, 1.2, 1.5],
                    long_factor=[1.1, 3.0, 6.0],
                ),
            )),
            phi3_lora,
            dtype=torch.bfloat16,
            legacy_rope=True,
            without=[
                dict(rope_parameters=dict(PLAIN_ROPE, partial_rotary_factor=0.75)),
                dict(max_position_embeddings=16),
                dict(original_max_position_embeddings=24, max_position_embeddings=96),
            ],
        ),
        Case(
            "phi",
            PhiConfig(**sizes("head_dim", rope_parameters=dict(PLAIN_ROPE, partial_rotary_factor=0.5))),
            phi_lora,
            dtype=torch.bfloat16,
            legacy_rope=True,
            without=[dict(rope_parameters=dict(PLAIN_ROPE, partial_rotary_factor=1.0))],
        ),
        Case(
            "phi-qknorm",
            PhiConfig(**sizes(
                "head_dim", qk_layernorm=True, rope_parameters=dict(PLAIN_ROPE, partial_rotary_factor=0.5)
            )),
            phi_lora,
            dtype=torch.bfloat16,
            without=[dict(qk_layernorm=False)],
        ),
    ]


def cohere() -> list[Case]:
    tied = sizes("head_dim", pad_token_id=0, tie_word_embeddings=True, rope_parameters=dict(PLAIN_ROPE))
    return [
        Case(
            "cohere",
            CohereConfig(**tied | dict(logit_scale=0.75)),
            PLAIN_LORA,
            dtype=torch.bfloat16,
            without=[dict(logit_scale=1.0)],
            seed=7,
        ),
        Case(
            "cohere-qknorm",
            CohereConfig(**tied | dict(logit_scale=0.75, use_qk_norm=True)),
            PLAIN_LORA,
            dtype=torch.bfloat16,
            without=[dict(use_qk_norm=False)],
            seed=1,
        ),
        Case(
            "cohere2",
            # Full layers have no rotary embedding.
            Cohere2Config(**tied | dict(
                logit_scale=0.75,
                sliding_window=8,
                layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
            )),
            PLAIN_LORA,
            dtype=torch.bfloat16,
            without=[dict(sliding_window=64), dict(layer_types=["sliding_attention"] * 4)],
            seed=2,
        ),
    ]


def glm() -> list[Case]:
    fused = lora(*ATTENTION, "gate_up_proj", "down_proj")
    half = sizes(pad_token_id=0, rope_parameters=dict(PLAIN_ROPE, partial_rotary_factor=0.5))
    return [
        Case(
            "glm4",
            Glm4Config(**half | dict(attention_bias=True)),
            fused,
            dtype=torch.bfloat16,
            without=[dict(rope_parameters=dict(PLAIN_ROPE, partial_rotary_factor=1.0))],
        ),
        Case(
            "glm",
            GlmConfig(**half | dict(attention_bias=True)),
            fused,
            dtype=torch.bfloat16,
            legacy_rope=True,
            without=[dict(rope_parameters=dict(PLAIN_ROPE, partial_rotary_factor=1.0))],
            seed=1,
        ),
    ]


def stablelm() -> list[Case]:
    quarter = sizes("head_dim", rope_parameters=dict(PLAIN_ROPE, partial_rotary_factor=0.25))
    return [
        Case(
            "stablelm",
            StableLmConfig(**quarter | dict(use_qkv_bias=True)),
            PLAIN_LORA,
            dtype=torch.bfloat16,
            legacy_rope=True,
            without=[dict(use_qkv_bias=False)],
        ),
        Case(
            "stablelm-parallel",
            StableLmConfig(**quarter | dict(use_parallel_residual=True, qk_layernorm=True)),
            PLAIN_LORA,
            dtype=torch.bfloat16,
            without=[dict(qk_layernorm=False)],
        ),
    ]


def gpt() -> list[Case]:
    small = dict(
        vocab_size=SIZES["vocab_size"], n_layer=4, bos_token_id=1, eos_token_id=2, hidden_size=24
    )
    neox = sizes(
        "head_dim", "num_key_value_heads", rope_parameters=dict(PLAIN_ROPE, partial_rotary_factor=0.25)
    )
    return [
        Case(
            "gpt2",
            GPT2Config(**small | dict(n_head=3, n_positions=64)),
            lora("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj", fan_in_fan_out=True),
            dtype=torch.bfloat16,
            without=[dict(scale_attn_by_inverse_layer_idx=True)],
        ),
        Case(
            "bloom",
            # The slopes of ALiBi for six heads are those for four and two of those for eight.
            BloomConfig(**small | dict(n_head=6)),
            lora(*FUSED),
            dtype=torch.bfloat16,
            without=[dict(apply_residual_connection_post_layernorm=True)],
        ),
        Case(
            "gpt-neox",
            GPTNeoXConfig(**neox),
            lora(*FUSED),
            dtype=torch.bfloat16,
            legacy_rope=True,
            without=[dict(use_parallel_residual=False)],
        ),
        Case(
            "gpt-neox-sequential",
            GPTNeoXConfig(**neox | dict(use_parallel_residual=False)),
            lora(*FUSED),
            dtype=torch.bfloat16,
            without=[dict(use_parallel_residual=True)],
        ),
    ]


def others() -> list[Case]:
    return [
        Case(
            "starcoder2",
            Starcoder2Config(**sizes(
                "head_dim", tie_word_embeddings=True, sliding_window=8, rope_parameters=dict(PLAIN_ROPE)
            )),
            lora(*ATTENTION, "c_fc", "c_proj"),
            dtype=torch.bfloat16,
            without=[dict(sliding_window=None)],
        ),
        Case(
            "llama-odd-heads",
            LlamaConfig(**sizes(
                hidden_size=36,
                intermediate_size=30,
                num_attention_heads=6,
                head_dim=10,
                tie_word_embeddings=True,
                rope_parameters=dict(PLAIN_ROPE),
            )),
            PLAIN_LORA,
            dtype=torch.bfloat16,
            seed=1,
        ),
    ]
