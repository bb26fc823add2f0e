"""What a model of fixtures/pico is, and the numbers that most of them share."""

from dataclasses import dataclass, field

import torch
from transformers import PreTrainedConfig

from pico_text import VOCAB_SIZE

SIZES = dict(
    vocab_size=VOCAB_SIZE,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=128,
    tie_word_embeddings=False,
    bos_token_id=1,
    eos_token_id=2,
)
ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PLAIN_ROPE = dict(rope_type="default", rope_theta=10000.0)


def sizes(*absent: str, **changes) -> dict:
    """SIZES with changes and without the keys that a family does not have."""
    return {key: value for key, value in SIZES.items() if key not in absent} | changes


def lora(*modules: str, **options) -> dict:
    """The names of modules, or one pattern of them."""
    target = modules[0] if len(modules) == 1 else list(modules)
    return dict(r=4, lora_alpha=8, target_modules=target) | options


PLAIN_LORA = lora(*ALL_LINEAR)


@dataclass
class Case:
    """One model with one adapter."""

    name: str
    config: PreTrainedConfig
    lora: dict
    dtype: torch.dtype = torch.float32  # of the files; the arithmetic is f32 always
    shard_size: str = "1GB"
    legacy_rope: bool = False  # spell rope_parameters as transformers 4 did
    mxfp4: bool = False  # experts in 4 bits
    idle_layers: list[int] = field(default_factory=list)  # adapted, but without effect on text
    # Config changes that switch a feature of the case off, one at a time.
    without: list[dict] = field(default_factory=list)
    gguf: bool = False
    seed: int = 0  # chosen so that every adapted layer changes the loss
