"""The adapters of fixtures/kinds, as data; make_adapter_fixtures.py writes them.

One kind of adapter each: another PEFT method, another way to select modules, another file format.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from peft import (
    AdaLoraConfig,
    BOFTConfig,
    FourierFTConfig,
    HRAConfig,
    IA3Config,
    LoHaConfig,
    LoKrConfig,
    LoraConfig,
    MissConfig,
    OFTConfig,
    PeftConfig,
    VeraConfig,
)
from transformers import Gemma3TextConfig, GPT2Config, LlamaConfig, MixtralConfig, PreTrainedConfig

from pico_cases.case import ALL_LINEAR, PLAIN_ROPE, SIZES, sizes

LAYERS = range(SIZES["num_hidden_layers"])
ATTENTION = ["q_proj", "v_proj"]
EXPERTS = 3
TOKENS = list(range(3, SIZES["vocab_size"], 8))  # trained ones, some of which occur in every sample
Tensors = dict[str, torch.Tensor]
Edit = Callable[[dict, Tensors], Tensors]


def bases() -> dict[str, PreTrainedConfig]:
    return {
        "base": LlamaConfig(**sizes(attention_bias=True, mlp_bias=True, rope_parameters=dict(PLAIN_ROPE))),
        "base-tied": Gemma3TextConfig(**sizes(  # scales its embeddings
            tie_word_embeddings=True,
            query_pre_attn_scalar=8,
            layer_types=["full_attention"] * len(LAYERS),
            rope_parameters=dict(full_attention=dict(PLAIN_ROPE), sliding_attention=dict(PLAIN_ROPE)),
        )),
        "base-gpt2": GPT2Config(  # Conv1D: weights stored (inputs, outputs)
            vocab_size=SIZES["vocab_size"],
            n_embd=32,
            n_inner=48,
            n_layer=len(LAYERS),
            n_head=4,
            n_positions=128,
            bos_token_id=1,
            eos_token_id=2,
        ),
        "base-moe": MixtralConfig(**sizes(
            intermediate_size=24, num_local_experts=EXPERTS, num_experts_per_tok=2, rope_parameters=dict(PLAIN_ROPE)
        )),
    }


@dataclass
class Kind:
    """One adapter."""

    name: str
    config: PeftConfig
    base: str = "base"
    layers: list[int] = field(default_factory=lambda: list(LAYERS))  # those that it changes
    dtype: torch.dtype = torch.float32
    # Parts whose loss would not be noticed are not tested: patterns of tensors, put back to what they are before
    # training, or changes of the configuration.
    without: list[str | dict] = field(default_factory=list)
    edit: Edit | None = None  # what training would do, or an older PEFT, to configuration and tensors as saved
    save_embedding_layers: bool | str = False
    pickle: bool = False
    evaluated: bool = True


def causal(cls: type[PeftConfig], modules: list[str] | str | None = ATTENTION, **options) -> PeftConfig:
    return cls(**dict(task_type="CAUSAL_LM", target_modules=modules) | options)


def lora(modules: list[str] | str | None = ATTENTION, **options) -> LoraConfig:
    return causal(LoraConfig, modules, **dict(r=2, lora_alpha=8) | options)


def kinds() -> list[Kind]:
    return decomposed() + with_biases() + outside_of_layers() + of_experts() + selections() + files() + methods()


def decomposed() -> list[Kind]:
    """DoRA."""
    conv1d = dict(fan_in_fan_out=True)
    dora, magnitude = dict(use_dora=True), ["magnitude"]
    return [
        Kind("dora", lora(ALL_LINEAR, **dora), without=magnitude),
        Kind("dora-gpt2", lora(["c_attn", "c_proj", "c_fc"], **dora, **conv1d), base="base-gpt2", without=magnitude),
        Kind("dora-lm-head", lora([*ATTENTION, "lm_head"], **dora), without=["layers.*magnitude", "head.*magnitude"]),
        Kind("dora-bias", lora(ALL_LINEAR, **dora, use_rslora=True), without=[*magnitude, dict(use_rslora=False)]),
        Kind("dora-embed", lora([*ATTENTION, "embed_tokens"], **dora), without=["embed_tokens.*magnitude"]),
    ]


def with_biases() -> list[Kind]:
    return [
        Kind("lora-bias", lora(lora_bias=True), without=[r"lora_B\.bias"]),
        Kind("bias-lora-only", lora(bias="lora_only"), without=[r"base_layer\.bias"]),
        Kind("bias-all", lora(bias="all"), without=[r"base_layer\.bias", r"k_proj\.bias", r"up_proj\.bias"]),
        Kind(
            "bias-all-gpt2",
            lora(["c_attn"], bias="all", fan_in_fan_out=True),
            base="base-gpt2",
            without=[r"base_layer\.bias", r"ln_1\.bias", r"ln_f\.bias"],
        ),
    ]


def outside_of_layers() -> list[Kind]:
    """Embeddings, the head, norms."""
    norms = ["input_layernorm", "post_attention_layernorm", "norm"]
    embedding = ["lora_embedding"]
    tokens = ["trainable_tokens"]
    return [
        Kind("saved-head", lora(modules_to_save=["lm_head"]), without=["lm_head"]),
        Kind(
            "saved-embed-and-norms",
            lora(modules_to_save=["embed_tokens", *norms]),
            without=["embed_tokens", "input_layernorm", "post_attention", r"model\.norm"],
        ),
        # PEFT compares the ends of names: this takes the norms inside the layers, too.
        Kind("saved-norm-suffix", lora(modules_to_save=["norm"]), without=["input_layernorm", r"model\.norm"]),
        # By default PEFT stores a copy of the base's weights beside LoRA on them.
        Kind("lora-lm-head", lora([*ATTENTION, "lm_head"]), without=[r"lm_head\.lora"], save_embedding_layers="auto"),
        Kind("lora-embed", lora([*ATTENTION, "embed_tokens"]), without=embedding, save_embedding_layers="auto"),
        Kind("lora-embed-tied", lora([*ATTENTION, "embed_tokens"]), base="base-tied", without=embedding),
        Kind("lora-head-tied", lora([*ATTENTION, "lm_head"]), base="base-tied", without=[r"lm_head\.lora"]),
        Kind("saved-embed-tied", lora(modules_to_save=["embed_tokens"]), base="base-tied", without=["embed_tokens"]),
        # What PEFT does when the vocabulary was resized for the training.
        Kind("copied-embeddings", lora(), without=["embed_tokens", "lm_head"], save_embedding_layers=True),
        Kind("trainable-tokens", lora(trainable_token_indices=TOKENS), without=tokens),
        Kind("trainable-tokens-tied", lora(trainable_token_indices=TOKENS), base="base-tied", without=tokens),
        Kind(
            "trainable-tokens-head",
            lora(trainable_token_indices={"embed_tokens": TOKENS, "lm_head": TOKENS[::2]}),
            without=["embed_tokens", "lm_head"],
        ),
    ]


def of_experts() -> list[Kind]:
    gate_up, down = "mlp.experts.gate_up_proj", "mlp.experts.down_proj"
    return [
        Kind("target-parameters-one", lora(target_parameters=[gate_up]), base="base-moe", without=["experts"]),
        Kind("target-parameters-down", lora(target_parameters=[down]), base="base-moe", without=["experts"]),
        Kind(
            "target-parameters-both",
            lora(target_parameters=[gate_up, down]),
            base="base-moe",
            without=[r"experts\.base_layer\.lora", r"experts\.lora"],
        ),
        Kind("router", lora(target_parameters=["mlp.gate.weight"]), base="base-moe", without=["gate"]),
        # As PEFT wrote them before transformers 5 made one parameter of all experts.
        Kind("expert-modules", lora(), base="base-moe", edit=add_expert_modules, without=["w1", "w2", "w3"]),
    ]


def add_expert_modules(config: dict, tensors: Tensors) -> Tensors:
    hidden, inner, rank = 32, 24, config["r"]
    config["target_modules"] += ["w1", "w2", "w3"]
    for layer in LAYERS:
        for expert in range(EXPERTS):
            for name, inputs, outputs in (("w1", hidden, inner), ("w2", inner, hidden), ("w3", hidden, inner)):
                module = f"base_model.model.model.layers.{layer}.block_sparse_moe.experts.{expert}.{name}"
                tensors[f"{module}.lora_A.weight"] = torch.zeros(rank, inputs)
                tensors[f"{module}.lora_B.weight"] = torch.zeros(outputs, rank)
    return tensors


def selections() -> list[Kind]:
    """Ways to say which modules, ranks and alphas."""
    ranks = {"q_proj": 3, "layers.0.self_attn.q_proj": 1, r"layers\.[12]\.mlp\..*": 4, "down_proj": 1}
    alphas = {r"mlp\.(up|down)_proj": 3, "up_proj": 12, "layers.3.self_attn.v_proj": 5}

    def in_this_order(config: dict, tensors: Tensors) -> Tensors:
        # The first match wins, and PEFT sorts the patterns when it saves them.
        config.update(rank_pattern=ranks, alpha_pattern=alphas)
        return tensors

    return [
        Kind("regex", lora(r".*\.layers\.(?!0\.)\d+\.self_attn\.(?:q|v)_proj"), layers=[1, 2, 3]),
        Kind("all-linear", lora("all-linear"), edit=as_written("target_modules", "all-linear")),
        Kind("exclude", lora(ALL_LINEAR, exclude_modules=r".*\.layers\.1\.mlp\..*")),
        Kind("layers-pattern", lora(layers_to_transform=[1, 3], layers_pattern="layers"), layers=[1, 3]),
        Kind(
            "rank-alpha-patterns",
            lora(ALL_LINEAR, rank_pattern=ranks, alpha_pattern=alphas),
            edit=in_this_order,
            without=[dict(alpha_pattern={}), dict(alpha_pattern=dict(reversed(alphas.items())))],
        ),
    ]


def as_written(key: str, value: object) -> Edit:
    """PEFT resolves some values before it saves them."""
    def edit(config: dict, tensors: Tensors) -> Tensors:
        config[key] = value
        return tensors

    return edit


def files() -> list[Kind]:
    """Plain LoRA in files of other kinds."""
    def with_infix(_: dict, tensors: Tensors) -> Tensors:
        return {name.removesuffix(".weight") + ".default.weight": tensor for name, tensor in tensors.items()}

    return [
        Kind("default-infix", lora(), edit=with_infix),
        Kind("bare", lora(task_type="FEATURE_EXTRACTION")),  # on the model without a head
        Kind("f16", lora(), dtype=torch.float16),
        Kind("bf16", lora(), dtype=torch.bfloat16),
        Kind("bin", lora(), pickle=True),
    ]


def methods() -> list[Kind]:
    """Methods other than LoRA."""
    lokr = dict(r=2, alpha=4)
    patterns = dict(rank_pattern={"v_proj": 1}, alpha_pattern={"v_proj": 1})
    return [
        Kind("loha", causal(LoHaConfig, ALL_LINEAR, r=2, alpha=4, **patterns), without=[dict(alpha_pattern={})]),
        Kind("lokr", causal(LoKrConfig, ALL_LINEAR, r=16, alpha=16)),
        Kind("lokr-decomposed", causal(LoKrConfig, ALL_LINEAR, **lokr)),
        Kind("lokr-both", causal(LoKrConfig, ALL_LINEAR, r=1, alpha=4, decompose_both=True)),
        Kind("lokr-factor", causal(LoKrConfig, ALL_LINEAR, **lokr, decompose_factor=4)),
        Kind(
            "adalora",
            causal(AdaLoraConfig, ALL_LINEAR, init_r=4, target_r=2, lora_alpha=8, total_step=10),
            edit=prune_ranks,
            without=["lora_E", dict(lora_alpha=4)],
        ),
        Kind("pissa", lora(init_lora_weights="pissa"), evaluated=False),
        Kind("ia3", causal(IA3Config, [*ATTENTION, "down_proj"], feedforward_modules=["down_proj"]), evaluated=False),
        Kind("oft", causal(OFTConfig, r=0, oft_block_size=8), evaluated=False),
        Kind("boft", causal(BOFTConfig, boft_block_size=4), evaluated=False),
        Kind("hra", causal(HRAConfig, r=4), evaluated=False),
        Kind("fourierft", causal(FourierFTConfig, n_frequency=40), evaluated=False),
        Kind("miss", causal(MissConfig, r=4), evaluated=False),
        Kind("vera", causal(VeraConfig, [*ATTENTION, "down_proj"], r=4), evaluated=False),
    ]


def prune_ranks(config: dict, tensors: Tensors) -> Tensors:
    """Leave each module some of its ranks, one module none, as AdaLoRA does; it stores which."""
    config["rank_pattern"] = {}
    pruned = {}
    names = [name for name in tensors if name.endswith("lora_E")]
    for number, name in enumerate(names):
        mask = [(number >> bit) % 2 == 0 for bit in range(config["init_r"])]
        if number == len(names) - 1:
            mask = [False] * config["init_r"]
        config["rank_pattern"][name.removeprefix("base_model.model.")] = mask
        module = name.removesuffix("lora_E")
        for part, dim in (("lora_A", 0), ("lora_E", 0), ("lora_B", 1)):
            kept = torch.tensor([index for index, keep in enumerate(mask) if keep], dtype=torch.long)
            pruned[module + part] = tensors[module + part].index_select(dim, kept)
    return pruned
