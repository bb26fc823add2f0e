"""Compare long samples with transformers, and show that layers without attention take linear time.

    python scripts/check/long_samples.py [PROGRAM] [qwen3_5 | granite4 | lfm2 | gemma4 | deepseek_v3]

Makes a random Qwen 3.5 of four layers, three with a gated delta net, a Granite 4, three with a Mamba-2, an LFM2, three
with a short convolution, a Gemma 4, three with a window of 512 tokens, or a DeepSeek V3, and an adapter on all modules
of its layers; evaluates boundary 4 on one sample of 1,024, 2,048, 4,096 and 8,192 random tokens,
scored throughout. transformers runs in f32 on one thread. Exit status 1 if a loss differs by more than 1e-4 nats per
token.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    Gemma4TextConfig,
    GraniteMoeHybridConfig,
    Lfm2Config,
    Qwen3_5TextConfig,
)

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.reference import load_adapted, mean_loss, quiet

ROOT = Path(__file__).resolve().parents[2]
LENGTHS = [1024, 2048, 4096, 8192]
TOLERANCE = 1e-4
SIZES = dict(
    vocab_size=512,
    hidden_size=128,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=16384,
)
DELTA_NET = dict(
    intermediate_size=256,
    head_dim=32,
    linear_num_key_heads=4,
    linear_num_value_heads=8,
    linear_key_head_dim=32,
    linear_value_head_dim=32,
)
MAMBA = dict(
    shared_intermediate_size=256,
    num_local_experts=0,
    layer_types=["linear_attention"] * 3 + ["full_attention"],
    mamba_n_heads=8,
    mamba_d_head=32,
    mamba_n_groups=2,
    mamba_d_state=64,
)
SHORT_CONVOLUTION = dict(intermediate_size=384, block_multiple_of=32, layer_types=["conv"] * 3 + ["full_attention"])
WINDOWS = dict(
    intermediate_size=256,
    head_dim=32,
    global_head_dim=64,
    hidden_size_per_layer_input=16,
    vocab_size_per_layer_input=512,
    num_kv_shared_layers=0,
    sliding_window=512,
    layer_types=["sliding_attention"] * 3 + ["full_attention"],
)
LATENT = dict(
    intermediate_size=256,
    moe_intermediate_size=64,
    n_routed_experts=8,
    num_experts_per_tok=2,
    n_group=2,
    topk_group=1,
    q_lora_rank=48,
    kv_lora_rank=32,
    qk_nope_head_dim=24,
    qk_rope_head_dim=16,
    v_head_dim=24,
    first_k_dense_replace=1,
)
ATTENTION = "q_proj k_proj v_proj o_proj"
MODELS = {
    "qwen3_5": (
        Qwen3_5TextConfig(**SIZES, **DELTA_NET),
        f"in_proj_qkv in_proj_z in_proj_b in_proj_a out_proj {ATTENTION} gate_proj up_proj down_proj",
    ),
    "granite4": (GraniteMoeHybridConfig(**SIZES, **MAMBA), f"in_proj out_proj {ATTENTION} input_linear output_linear"),
    "lfm2": (Lfm2Config(**SIZES, **SHORT_CONVOLUTION), "in_proj out_proj q_proj k_proj v_proj w1 w2 w3"),
    "gemma4": (
        Gemma4TextConfig(**SIZES, **WINDOWS),
        f"{ATTENTION} gate_proj up_proj down_proj per_layer_input_gate per_layer_projection",
    ),
    "deepseek_v3": (
        DeepseekV3Config(**SIZES | dict(num_key_value_heads=4), **LATENT),
        "q_a_proj q_b_proj kv_a_proj_with_mqa kv_b_proj o_proj",
    ),
}


def make(folder: Path, name: str) -> None:
    torch.manual_seed(0)
    config, modules = MODELS[name]
    model = AutoModelForCausalLM.from_config(config)
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.data.normal_(0.0, 0.08)
    model.save_pretrained(folder / "base")
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=modules.split()))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(0.0, 0.08)
    adapted.save_pretrained(folder / "adapter")


def main() -> None:
    arguments = sys.argv[1:]
    name = arguments.pop() if arguments and arguments[-1] in MODELS else "qwen3_5"
    program = arguments[0] if arguments else str(ROOT / "target/release/lora-slim")
    quiet(1)
    worst = 0.0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder, name)
        model, _ = load_adapted(folder / "base", folder / "adapter")
        for length in LENGTHS:
            ids = torch.randint(3, 512, (length,), generator=torch.Generator().manual_seed(length)).tolist()
            sample = {"input_ids": ids, "labels": ids}
            (folder / "samples.jsonl").write_text(json.dumps(sample) + "\n")
            words = ["scan", "adapter", "--base", "base", "--samples", "samples.jsonl", "--boundary", "4", "--json"]
            began = time.monotonic()
            printed = subprocess.run(
                [program, *words, "--precision", "f32", "--quiet"], cwd=folder, capture_output=True, text=True
            )
            ours = time.monotonic() - began
            if not printed.stdout:
                sys.exit(printed.stderr)
            losses = {point["boundary"]: point["loss"] for point in json.loads(printed.stdout)["curve"]}
            began = time.monotonic()
            expected = mean_loss(model, [sample])
            theirs = time.monotonic() - began
            difference = abs(losses[4] - expected)
            worst = max(worst, difference)
            print(f"{length:>6} tokens: {losses[4]:.6f}, transformers {expected:.6f}, {difference:.1e} apart; ", end="")
            print(f"{ours:.2f} s for all boundaries, {theirs:.2f} s for one forward")
    sys.exit(worst > TOLERANCE)


main()
