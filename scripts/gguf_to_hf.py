"""Write a Llama GGUF file as a Hugging Face folder, with exactly the weights the GGUF file holds.

The base of the examples comes as GGUF (see fetch_base.py), but transformers and PEFT, which
lora-slim is compared with, want a folder. The same weights on both sides make the numbers
comparable: dequantised to f32, then rounded to bf16, as published models are.

    python scripts/gguf_to_hf.py models/SmolLM2-135M-Instruct.Q4_1.gguf models/SmolLM2-135M-Instruct

Byte-level BPE tokenizers with the pre-tokenizer of SmolLM2 only: others split text differently.

Made with gguf 0.19, numpy 2.4, safetensors 0.8, tokenizers 0.23 and torch 2.15.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader, TokenType
from gguf.quants import dequantize
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

DTYPES = {"bf16": torch.bfloat16, "f32": torch.float32}
OUTER_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TENSOR = re.compile(r"(?:blk\.(?P<layer>\d+)\.)?(?P<part>\w+)\.weight")


class Metadata:
    """The key-value part of a GGUF file."""

    def __init__(self, reader: GGUFReader):
        self.fields = reader.fields
        if (architecture := self["general.architecture"]) != "llama":
            raise ValueError(f"the architecture is {architecture}, but only llama is supported")
        if scaled := [key for key in self.fields if key.startswith("llama.rope.scaling")]:
            raise ValueError(f"scaled RoPE ({scaled[0]}) is not supported")

    def get(self, key: str) -> Any:
        field = self.fields.get(key)
        return None if field is None else field.contents()

    def __getitem__(self, key: str) -> Any:
        if key not in self.fields:
            raise ValueError(f"the file has no {key}")
        return self.get(key)


def shortest(number: float) -> float:
    """The decimal number that was meant: an f32 of 1e-05 reads as 9.999999747378752e-06 in f64."""
    return float(str(np.float32(number)))


def special_ids(metadata: Metadata) -> dict[str, int]:
    """The ids of bos, eos, pad and unk, those that the file has."""
    keys = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
    ids = {name: metadata.get(f"tokenizer.ggml.{key}_token_id") for name, key in keys.items()}
    return {name: token_id for name, token_id in ids.items() if token_id is not None}


def model_config(metadata: Metadata, tied: bool, dtype: str) -> dict:
    hidden, heads = metadata["llama.embedding_length"], metadata["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "head_dim": metadata.get("llama.attention.key_length") or hidden // heads,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": metadata["llama.feed_forward_length"],
        "max_position_embeddings": metadata["llama.context_length"],
        "mlp_bias": False,
        "num_attention_heads": heads,
        "num_hidden_layers": metadata["llama.block_count"],
        "num_key_value_heads": metadata["llama.attention.head_count_kv"],
        "rms_norm_eps": shortest(metadata["llama.attention.layer_norm_rms_epsilon"]),
        "rope_scaling": None,
        "rope_theta": shortest(metadata["llama.rope.freq_base"]),
        "tie_word_embeddings": tied,
        "torch_dtype": dtype,
        "use_cache": True,
        "vocab_size": len(metadata["tokenizer.ggml.tokens"]),
    } | {f"{name}_token_id": i for name, i in special_ids(metadata).items() if name != "unk"}


def hf_name(name: str) -> str:
    match = TENSOR.fullmatch(name)
    layer, part = match.group("layer", "part") if match else (None, None)
    known = OUTER_NAMES if layer is None else LAYER_NAMES
    if part not in known:
        raise ValueError(f"tensor {name} is not supported")
    prefix = "" if layer is None else f"model.layers.{layer}."
    return f"{prefix}{known[part]}.weight"


def rows_as_halves(weight: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp rotates neighbouring pairs of a head, transformers its two halves."""
    return weight.reshape(heads, -1, 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def read_weights(reader: GGUFReader, config: dict, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    rotated = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    weights = {}
    for tensor in reader.tensors:
        name = hf_name(tensor.name)
        weight = dequantize(tensor.data, tensor.tensor_type)
        if heads := rotated.get(name.split(".")[-2]):
            weight = rows_as_halves(weight, heads)
        # A copy, because the array may be the file itself, which is mapped read-only.
        weights[name] = torch.from_numpy(weight.astype(np.float32)).to(dtype)
    return weights


def build_tokenizer(metadata: Metadata) -> Tokenizer:
    kind = metadata["tokenizer.ggml.model"], metadata["tokenizer.ggml.pre"]
    if kind != ("gpt2", "smollm"):
        raise ValueError(f"a tokenizer of kind {'/'.join(kind)} is not supported")
    tokens = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([
        AddedToken(token, normalized=False, special=True)
        for token, kind in zip(tokens, metadata["tokenizer.ggml.token_type"])
        if kind == TokenType.CONTROL
    ])
    return tokenizer


def tokenizer_config(metadata: Metadata) -> dict:
    tokens = metadata["tokenizer.ggml.tokens"]
    return {f"{name}_token": tokens[i] for name, i in special_ids(metadata).items()} | {
        "add_prefix_space": False,
        "chat_template": metadata["tokenizer.chat_template"],
        "clean_up_tokenization_spaces": False,
        "model_max_length": metadata["llama.context_length"],
        # The class that takes tokenizer.json as it is; GPT2Tokenizer would not keep the splitting of digits.
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def convert(source: Path, out: Path, dtype: torch.dtype) -> None:
    reader = GGUFReader(source)
    metadata = Metadata(reader)
    tied = all(tensor.name != "output.weight" for tensor in reader.tensors)
    config = model_config(metadata, tied, str(dtype).removeprefix("torch."))
    weights = read_weights(reader, config, dtype)
    tokenizer = build_tokenizer(metadata)

    out.mkdir(parents=True, exist_ok=True)
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(out / "tokenizer.json"))
    write_json(out / "tokenizer_config.json", tokenizer_config(metadata))
    write_json(out / "generation_config.json", {k: v for k, v in config.items() if k.endswith("_token_id")})
    write_json(out / "config.json", config)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a Llama GGUF file as a Hugging Face folder.")
    parser.add_argument("gguf", type=Path, help="the GGUF file")
    parser.add_argument("out", type=Path, help="the folder to write")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16", help="of the weights (default: bf16)")
    args = parser.parse_args()
    try:
        convert(args.gguf, args.out, DTYPES[args.dtype])
    except (OSError, ValueError) as error:
        sys.exit(f"gguf_to_hf.py: {args.gguf}: {error}")


if __name__ == "__main__":
    main()
