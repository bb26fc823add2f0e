"""Write src/adapter/export/gguf_families.json: under which names, and how changed, llama.cpp has the modules of each family.

llama.cpp's converter decides that in code, family by family. This script reads no code: it puts each linear module of a family,
with rows and columns that can be told apart, through the converter of that family, as convert_lora_to_gguf.py does, and writes
down what comes out. A module that the converter refuses, or changes in a way that has no name here, is left out.

    python scripts/gguf_names.py PATH/llama.cpp

Module names are those of the model in transformers, or, for families with remote code only, those that the gguf package knows.
Families with remote code share a list of names ("common"): each has those of its "tensors", but for what its own list says.
What can come out (numbers of heads are of the base model's configuration):

- "same": as it is
- "query", "key": the two halves of each head's rows interleaved, for all heads or for those of keys (ggml's rotary embedding)
- "transpose": both factors transposed and exchanged, where weights are stored as (inputs, outputs)
- "heads": (heads, 3, size) to (3, heads, size), where query, key and value of a head lie together

Made with llama.cpp as it is in llama-cpp-python 0.3.36, gguf 0.19.0, torch 2.15 and transformers 5.24.
"""

import argparse
import importlib.util
import json
import logging
import re
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import torch
import transformers

OUT = Path(__file__).parent.parent / "src/adapter/export/gguf_families.json"
RANK = 3
# Families with remote code are asked with these; their converters look for different keys.
GENERIC = dict(
    hidden_size=64, n_embd=64, n_embed=64, d_model=64, num_attention_heads=8, n_head=8, n_heads=8, num_heads=8,
    num_key_value_heads=4, num_kv_heads=4, multi_query_group_num=4, head_dim=8, intermediate_size=96, ffn_hidden_size=96,
    num_hidden_layers=2, n_layer=2, n_layers=2, num_layers=2, vocab_size=100, max_position_embeddings=128,
    num_experts=4, num_local_experts=4, n_routed_experts=4, moe_num_experts=4, num_experts_per_tok=2, rms_norm_eps=1e-5,
    layer_norm_eps=1e-5, kv_lora_rank=16, q_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=8,
    num_attention_heads_per_layer=[8, 8], moe_intermediate_size=96, first_k_dense_replace=1, num_query_heads=[8, 8],
    attn_config={"kv_n_heads": 4}, ffn_config={"moe_num_experts": 4}, new_decoder_architecture=False, bias=False,
    hidden_act="silu", rope_theta=1e4,
)
# Layers of other kinds come later: dense ones before experts, every fourth with attention. Not every model can be that short:
# with none of these it keeps the layers that it has by default.
LAYERS = (9, 4, 2, None)
COMMON = ("vision", "visual", "audio", "encoder.")


def load_converter(path: Path):
    sys.path.insert(1, str(path / "gguf-py"))
    sys.path.insert(1, str(path))
    spec = importlib.util.spec_from_file_location("convert_lora_to_gguf", path / "convert_lora_to_gguf.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["convert_lora_to_gguf"] = module
    spec.loader.exec_module(module)
    return module


def known_to_transformers(architecture: str, layers: int | None):
    """The configuration of a small-ish model, and its linear modules: name, outputs, inputs, whether stored transposed."""
    model_class = getattr(transformers, architecture, None)
    config_class = getattr(model_class, "config_class", None)
    if config_class is None:
        return None
    config = config_class()
    text = config.get_text_config()
    if layers:
        shorten(text, layers)
    heads, keys = getattr(text, "num_attention_heads", None), getattr(text, "num_key_value_heads", None)
    if keys and keys == heads and not architecture.startswith(("Olmo", "Phi", "Falcon")):
        text.num_key_value_heads = heads // 2
    with torch.device("meta"):
        model = model_class(config)
    modules = []
    for name, module in model.named_modules():
        if any(part in name for part in COMMON):
            continue
        if isinstance(module, torch.nn.Linear):
            modules.append((name, module.out_features, module.in_features))
        elif type(module).__name__ == "Conv1D":
            modules.append((name, module.weight.shape[0], module.weight.shape[1]))
        elif isinstance(module, torch.nn.Embedding) and re.search(r"(embed_tokens|wte|word_embeddings|embed_in)$", name):
            modules.append((name, *module.weight.shape))
    # Layers that predict further tokens, which published configurations of Qwen 3.5 have: its converter insists.
    hparams = {"mtp_num_hidden_layers": 1} | config.to_dict()
    return hparams, modules


def shorten(config, layers: int) -> None:
    for key in ("num_hidden_layers", "n_layer", "n_layers", "num_layers"):
        if hasattr(config, key):
            setattr(config, key, layers)
    for key in ("layer_types", "mlp_layer_types"):
        if getattr(config, key, None):
            setattr(config, key, getattr(config, key)[:layers])


def known_to_gguf(gguf, arch):
    """Candidates of a family with remote code: all names that the gguf package has for the tensors of its architecture."""
    tensor_map = gguf.get_tensor_name_map(arch, 2)
    skip = ("norm", "rope", "bias", "sinks", "ssm", "_exps", "post_", "pos", "types", "conv", "scale", "gate_inp_s")
    names = [n for n, (_, new) in tensor_map.mapping.items() if not any(s in new for s in skip) and n != new]
    return [(name, None, None) for name in names if not any(part in name for part in COMMON)]


def sizes_of(gguf, arch, name):
    """What rows such a module can have, by the tensor that it becomes."""
    new = gguf.get_tensor_name_map(arch, 2).get_name(name)
    for part, rows in (("attn_qkv", [192, 128, 80]), ("attn_q.", [64]), ("attn_k.", [32]), ("attn_v.", [32]), ("attn_", [64])):
        if new and part in new + ".":
            return rows
    return [96, 192, 64]


def classify(a, b, result, hparams, name):
    """The name of what happened to a pair."""
    out_a, out_b = result.get_lora_A_B()
    heads = find(hparams, "num_attention_heads", "n_head", "n_heads", "num_heads")
    keys = find(hparams, "num_key_value_heads", "multi_query_group_num", "n_head_kv", "num_kv_heads") or heads

    def same(x, y):
        return x.shape == y.shape and torch.equal(x, y)

    def interleaved(n):
        rows = b.shape[0]
        if not isinstance(n, int) or rows % (2 * n):
            return None
        return b.reshape(n, 2, rows // n // 2, RANK).swapaxes(1, 2).reshape(rows, RANK)

    if same(out_a, a) and same(out_b, b):
        return "same"
    if same(out_a, b.T) and same(out_b, a.T):
        return "transpose"
    if not same(out_a, a):
        return None
    for way, n in (("query", heads), ("key", keys)):
        wanted = interleaved(n)
        if wanted is not None and same(out_b, wanted) and not (way == "query" and re.search(r"\bk|key|wk", name.split(".")[-1])):
            return way
    if isinstance(heads, int) and b.shape[0] % (3 * heads) == 0:
        size = b.shape[0] // (3 * heads)
        wanted = b.reshape(heads, 3, size, RANK).swapaxes(0, 1).reshape(-1, RANK)
        if same(out_b, wanted):
            return "heads"
    return None


def find(hparams, *keys):
    flat = {**hparams, **hparams.get("text_config", {})}
    return next((flat[key] for key in keys if flat.get(key) is not None), None)


def probe(convert, model, hparams, name, rows, columns):
    a = torch.arange(RANK * columns, dtype=torch.float32).reshape(RANK, columns)
    b = -torch.arange(rows * RANK, dtype=torch.float32).reshape(rows, RANK) - 1
    pair = convert.LoraTorchTensor(a, b)
    item = model.filter_tensors((name + ".weight", lambda: pair))
    if item is None:
        return "dropped", None
    filtered = item[0]
    bid = next((int(part) for part in filtered.split(".") if part.isdecimal()), None)
    made = list(model.modify_tensors(pair, filtered, bid))
    if len(made) != 1 or not isinstance(made[0][1], convert.LoraTorchTensor):
        return f"{len(made)} tensors", None
    way = classify(a, b, made[0][1], hparams, name)
    return way or "changed otherwise", made[0][0].removesuffix(".weight")


def examine(convert, base, gguf, architecture):
    """What the converter makes of the modules of the longest model that transformers can make and the converter takes."""
    for layers in LAYERS:
        try:
            known = known_to_transformers(architecture, layers)
            return examine_model(convert, base, gguf, architecture, known)
        except Exception as error:
            print(f"  {architecture} with {layers or 'its own'} layers: {type(error).__name__}: {str(error)[:100]}", file=sys.stderr)
    return examine_model(convert, base, gguf, architecture, None)


def examine_model(convert, base, gguf, architecture, known):
    model_class = base.get_model_class(architecture)
    arch = model_class.model_arch
    hparams, modules = known or (dict(GENERIC), known_to_gguf(gguf, arch))
    hparams["architectures"] = [architecture]

    class Lora(model_class):
        model_arch = model_class.model_arch

        def set_vocab(self):
            pass

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(hparams, default=str))
        model = Lora(Path(folder), gguf.LlamaFileType.ALL_F32, Path(folder), eager=True, hparams=hparams)
    layer, outside, refused = {}, {}, {}
    for name, rows, columns in modules:
        for rows_ in [rows] if rows else sizes_of(gguf, arch, name):
            try:
                way, new = probe(convert, model, hparams, name, rows_, columns or 64)
            except (Exception, AssertionError) as error:
                way, new = f"{type(error).__name__}: {str(error)[:60]}", None
            if new:
                break
        match = re.match(r"^(?:.*?\.)?(\d+)\.(.+)$", name)
        inner = match[2] if match else name.split(".")[-1]
        if way == "dropped":
            continue
        if new is None or way == "changed otherwise":
            refused.setdefault(inner, way)
            continue
        block = re.match(r"^blk\.(\d+)\.(.+)$", new)
        if (match and match[1]) != (block and block[1]):
            refused.setdefault(inner, "moved")
        elif match:
            if layer.setdefault(inner, [block[2], way]) != [block[2], way]:
                # DeepSeek's first layers and the like: a name that means two things.
                refused[inner] = f"{layer[inner]} or {[block[2], way]}"
        else:
            outside[inner] = [new, way]
    for inner in refused:
        layer.pop(inner, None)
    return gguf.MODEL_ARCH_NAMES[model.model_arch], bool(known), layer, outside, refused


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("llama_cpp", type=Path)
    parser.add_argument("--only")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    transformers.logging.set_verbosity_error()
    convert = load_converter(args.llama_cpp)
    import conversion as base
    import gguf

    families = defaultdict(list)
    for architecture in sorted(base.TEXT_MODEL_MAP):
        if args.only and args.only != architecture:
            continue
        try:
            arch, known, layer, outside, refused = examine(convert, base, gguf, architecture)
        except (Exception, SystemExit) as error:
            print(f"{architecture}: {type(error).__name__}: {str(error)[:120]}", file=sys.stderr)
            continue
        if refused and args.verbose:
            print(f"{architecture} ({arch}) refuses {json.dumps(refused)}", file=sys.stderr)
        if not layer:
            print(f"{architecture} ({arch}): nothing", file=sys.stderr)
            continue
        families[arch, json.dumps([layer, outside], sort_keys=True)].append((architecture, known))
    common = common_names(families)
    entries = []
    for (arch, tables), architectures in sorted(families.items()):
        layer, outside = json.loads(tables)
        entry = {"architecture": arch, "from": sorted(name for name, _ in architectures)}
        if not any(known for _, known in architectures):
            entry["tensors"] = sorted({new for new, _ in layer.values()})
            layer = differences(layer, entry["tensors"], common)
        entry["layer"] = {name: new if way == "same" else [new, way] for name, (new, way) in layer.items()}
        entry["outside"] = {name: new for name, (new, way) in outside.items() if way == "same"}
        entries.append(json.dumps(entry))
    if args.only:
        print("\n".join(entries))
        return
    names = ",\n".join(f"  {json.dumps(name)}: {json.dumps(new)}" for name, new in sorted(common.items()))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(f'{{\n"common": {{\n{names}\n}},\n"families": [\n' + ",\n".join(entries) + "\n]\n}\n")


def common_names(families) -> dict:
    """What most families with remote code make of a name: their lists are long and nearly the same."""
    counts = defaultdict(lambda: defaultdict(int))
    for (_, tables), architectures in families.items():
        if not any(known for _, known in architectures):
            for name, (new, way) in json.loads(tables)[0].items():
                counts[name][new] += way == "same"
    return {name: max(sorted(news), key=news.get) for name, news in counts.items()}


def differences(layer: dict, tensors: list, common: dict) -> dict:
    """The names of a family that are not the common ones for its tensors, and (as nothing) those that it does not have."""
    own = {name: pair for name, pair in layer.items() if pair != [common.get(name), "same"]}
    absent = {name: [None, "same"] for name, new in common.items() if new in tensors and name not in layer}
    return own | absent


if __name__ == "__main__":
    main()
