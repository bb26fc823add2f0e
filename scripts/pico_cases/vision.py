"""Models that also see: their samples have no images, and their adapters are on the text decoder only."""

import torch
from transformers import (
    Gemma3Config,
    LlavaConfig,
    MllamaConfig,
    PaliGemmaConfig,
    Qwen2_5_VLConfig,
    Qwen2VLConfig,
    Qwen3VLConfig,
)

from pico_cases.case import ALL_LINEAR, PLAIN_ROPE, Case, lora, sizes

TEXT_ONLY = r".*language_model.*\.({})".format("|".join(ALL_LINEAR))
SMALL = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, patch_size=4)
SIGLIP = SMALL | dict(model_type="siglip_vision_model", image_size=8, vision_use_head=False)


def cases() -> list[Case]:
    return gemma() + llama() + qwen()


def gemma() -> list[Case]:
    return [
        Case(
            "gemma3-vl",
            Gemma3Config(
                text_config=sizes(
                    tie_word_embeddings=True,
                    query_pre_attn_scalar=12,
                    sliding_window=8,
                    layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
                    rope_parameters=dict(
                        full_attention=dict(rope_type="linear", rope_theta=1000.0, factor=8.0),
                        sliding_attention=dict(rope_type="default", rope_theta=100.0),
                    ),
                ),
                vision_config=SIGLIP,
                mm_tokens_per_image=4,
            ),
            lora(TEXT_ONLY),
            dtype=torch.bfloat16,
            legacy_rope=True,
            without=[dict(sliding_window=64)],
            seed=1,
        ),
        Case(
            "paligemma",
            PaliGemmaConfig(
                text_config=sizes(
                    model_type="gemma", tie_word_embeddings=True, rope_parameters=dict(PLAIN_ROPE)
                ),
                vision_config=SIGLIP,
                projection_dim=32,
                hidden_size=32,
            ),
            lora(TEXT_ONLY),
            dtype=torch.bfloat16,
            legacy_rope=True,
        ),
    ]


def llama() -> list[Case]:
    return [
        Case(
            "llava",
            LlavaConfig(
                text_config=sizes(model_type="llama", intermediate_size=30, rope_parameters=dict(PLAIN_ROPE)),
                vision_config=SMALL | dict(model_type="clip_vision_model", image_size=8, projection_dim=8),
            ),
            # The tower has projections of the same names.
            lora(*ALL_LINEAR, exclude_modules=".*vision_tower.*"),
            dtype=torch.bfloat16,
            legacy_rope=True,
            seed=3,
        ),
        Case(
            "mllama",
            # Without an image, the layers with cross attention are left out altogether.
            MllamaConfig(
                text_config=sizes(
                    "head_dim",
                    num_hidden_layers=5,
                    intermediate_size=24,
                    cross_attention_layers=[1, 3],
                    pad_token_id=0,
                    rope_parameters=dict(PLAIN_ROPE),
                ),
                vision_config=dict(
                    hidden_size=8,
                    intermediate_size=8,
                    num_hidden_layers=1,
                    num_global_layers=1,
                    attention_heads=2,
                    vision_output_dim=16,
                    intermediate_layers_indices=[0],
                    max_num_tiles=1,
                    supported_aspect_ratios=[[1, 1]],
                    image_size=8,
                    patch_size=4,
                ),
            ),
            lora(TEXT_ONLY),
            dtype=torch.bfloat16,
            legacy_rope=True,
            idle_layers=[1, 3],
        ),
    ]


def qwen() -> list[Case]:
    tower = dict(
        depth=1, num_heads=2, patch_size=4, temporal_patch_size=1, spatial_merge_size=1, in_channels=3, hidden_size=8
    )
    # A head of 8 dimensions has four frequencies for three axes, which agree where there is only text.
    mrope = PLAIN_ROPE | dict(mrope_section=[2, 1, 1])
    return [
        Case(
            "qwen2-vl",
            Qwen2VLConfig(
                text_config=sizes("head_dim", tie_word_embeddings=True, rope_parameters=dict(mrope)),
                vision_config=tower | dict(embed_dim=8, mlp_ratio=1, hidden_size=32),
                tie_word_embeddings=True,
            ),
            lora(*ALL_LINEAR),
            dtype=torch.bfloat16,
            legacy_rope=True,
        ),
        Case(
            "qwen25-vl",
            Qwen2_5_VLConfig(
                text_config=sizes("head_dim", intermediate_size=30, rope_parameters=dict(mrope)),
                vision_config=tower | dict(intermediate_size=8, out_hidden_size=32),
            ),
            lora(TEXT_ONLY),
            dtype=torch.bfloat16,
        ),
        Case(
            "qwen3-vl",
            Qwen3VLConfig(
                text_config=sizes(
                    tie_word_embeddings=True, rope_parameters=mrope | dict(mrope_interleaved=True)
                ),
                vision_config=tower | dict(
                    intermediate_size=8,
                    out_hidden_size=32,
                    num_position_embeddings=4,
                    deepstack_visual_indexes=[0],
                ),
                tie_word_embeddings=True,
            ),
            lora(*ALL_LINEAR),
            dtype=torch.bfloat16,
            legacy_rope=True,
            seed=1,
        ),
    ]
