"""Families with a mixture of experts."""

import torch
from transformers import GptOssConfig, GraniteMoeConfig, MixtralConfig, Qwen2MoeConfig, Qwen3MoeConfig

from pico_cases.case import PLAIN_ROPE, Case, lora, sizes

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
DENSE = ["gate_proj", "up_proj", "down_proj"]  # of dense layers and shared experts; others are no modules
EXPERTS = dict(num_local_experts=4, num_experts_per_tok=2, intermediate_size=12)


def cases() -> list[Case]:
    return qwen() + gpt_oss() + others()


def qwen() -> list[Case]:
    return [
        Case(
            "qwen2-moe",
            # The second layer is dense.
            Qwen2MoeConfig(**sizes(
                "head_dim",
                num_experts=4,
                num_experts_per_tok=2,
                norm_topk_prob=False,
                moe_intermediate_size=12,
                shared_expert_intermediate_size=20,
                intermediate_size=24,
                mlp_only_layers=[1],
                tie_word_embeddings=True,
                rope_parameters=dict(PLAIN_ROPE),
            )),
            lora(*ATTENTION, *DENSE, "shared_expert_gate"),
            dtype=torch.bfloat16,
            without=[dict(norm_topk_prob=True)],
        ),
        Case(
            "qwen3-moe",
            # Every other layer is dense.
            Qwen3MoeConfig(**sizes(
                num_experts=8,
                num_experts_per_tok=2,
                norm_topk_prob=True,
                moe_intermediate_size=10,
                intermediate_size=24,
                decoder_sparse_step=2,
                rope_parameters=dict(PLAIN_ROPE),
            )),
            # PEFT 0.21 takes names of MLPs for those of experts here.
            lora(*ATTENTION),
            dtype=torch.bfloat16,
            without=[dict(norm_topk_prob=False)],
            seed=1,
        ),
    ]


def gpt_oss() -> list[Case]:
    """A limit low enough for random weights to reach it, and a ramp that rounding its ends would move."""
    yarn = dict(
        rope_type="yarn",
        rope_theta=10000.0,
        factor=4.0,
        beta_fast=32.0,
        beta_slow=1.0,
        truncate=False,
        original_max_position_embeddings=64,
    )
    config = sizes(sliding_window=8, swiglu_limit=1.0) | EXPERTS
    return [
        Case(
            "gpt-oss",
            GptOssConfig(**config, rope_parameters=dict(yarn)),
            lora(*ATTENTION),
            dtype=torch.bfloat16,
            legacy_rope=True,
            without=[
                dict(swiglu_limit=7.0),
                dict(swiglu_alpha=1.0),
                dict(sliding_window=64),
                dict(rope_parameters=yarn | dict(truncate=True)),
            ],
        ),
        Case(
            "gpt-oss-mxfp4",
            # Blocks are of 32.
            GptOssConfig(**config | dict(intermediate_size=32), rope_parameters=dict(yarn)),
            lora(*ATTENTION),
            dtype=torch.bfloat16,
            legacy_rope=True,
            mxfp4=True,
        ),
    ]


def others() -> list[Case]:
    plain = sizes(rope_parameters=dict(PLAIN_ROPE)) | EXPERTS
    return [
        Case(
            "mixtral",
            MixtralConfig(**plain | dict(sliding_window=None)),
            lora(*ATTENTION),
            dtype=torch.bfloat16,
            without=[dict(num_experts_per_tok=1), dict(num_experts_per_tok=3)],
            seed=1,
        ),
        Case(
            "granitemoe",
            GraniteMoeConfig(**plain | dict(
                tie_word_embeddings=True,
                embedding_multiplier=3.0,
                residual_multiplier=0.6,
                attention_multiplier=0.2,
                logits_scaling=0.5,
            )),
            lora(*ATTENTION),
            dtype=torch.bfloat16,
            without=[dict(residual_multiplier=1.0), dict(num_experts_per_tok=1)],
            seed=1,
        ),
    ]
