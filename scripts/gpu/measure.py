"""Check and time lora-slim on a GPU, from a binary that was built elsewhere: one table, written after each part.

    python scripts/gpu/measure.py --binary lora-slim -o table.md
    python scripts/gpu/measure.py --binary lora-slim --device stand-in --shape tiny -o table.md   # dry run

The parts come in this order, so that a run that is cut short still tells something:

1. the losses of all pico models and adapter kinds on the device, against transformers + PEFT,
2. a random base model of 8B shape (bf16), an adapter, and samples that the two answered, so that the adapter helps,
3. `slim` adaptively and exhaustively, and in f32 on a few samples, which shows what tf32x2 rounds,
4. a loop over some boundaries with PyTorch and PEFT on the same device,
5. how busy the GPU was, and how much processor time each command took.

`stand-in` is the CPU that takes a GPU's way and refuses what CUDA refuses. Parts 2 to 4 need torch and transformers, 4
also peft; what is missing is named in the table. The binary finds CUDA's libraries beside torch.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.paths import FIXTURES

TOLERANCE = 1e-4  # nats per token
SHAPES = {  # hidden, intermediate, layers, heads, key heads, vocabulary, samples, tokens
    "8b": (4096, 14336, 32, 32, 8, 128_256, 64, 256),
    "tiny": (64, 128, 6, 4, 2, 512, 32, 24),
}
RANK = 16


class Table:
    """The rows so far; the file is whole after each of them."""

    def __init__(self, path: Path):
        self.path, self.rows = path, []

    def add(self, what: str, seconds: float | None, note: str = "") -> None:
        self.rows.append(f"| {what} | {'' if seconds is None else f'{seconds:.1f} s'} | {note} |")
        self.path.write_text("\n".join(["| what | time | |", "|---|---|---|", *self.rows, ""]))
        print(self.rows[-1], flush=True)


class Busy:
    """The share of time in which the GPU computed, and its memory, while something runs."""

    def __enter__(self):
        self.found, self.ends = [], threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self) -> None:
        query = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
        while not self.ends.wait(0.3):
            try:
                line = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0]
                self.found.append([float(value) for value in line.split(",")])
            except (OSError, subprocess.CalledProcessError, IndexError, ValueError):
                return

    def __exit__(self, *_):
        self.ends.set()
        self.thread.join()

    def text(self) -> str:
        if not self.found:
            return "no nvidia-smi"
        busy = sum(share for share, _ in self.found) / len(self.found)
        return f"GPU busy {busy:.0f} %, {max(memory for _, memory in self.found) / 1024:.1f} GiB"


class Tool:
    def __init__(self, args: argparse.Namespace):
        self.binary = str(args.binary.resolve())
        self.environment = dict(os.environ)
        self.device = ["--device", "cpu" if args.device == "stand-in" else args.device]
        if args.device == "stand-in":
            self.environment["LORA_SLIM_UNIT"] = "gpu"
        else:
            libraries = [str(path) for entry in sys.path for path in Path(entry).glob("nvidia/cu13/lib")]
            paths = [*libraries, self.environment.get("LD_LIBRARY_PATH", "")]
            self.environment["LD_LIBRARY_PATH"] = ":".join(filter(None, paths))

    def report(self, *arguments: str | Path) -> tuple[dict, float, float]:
        """The report of a command, its seconds, and the processor's."""
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [self.binary, *map(str, arguments), *self.device, "--json", "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment)
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise RuntimeError(done.stderr.strip() or f"exit status {done.returncode}")
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return json.loads(done.stdout), seconds, used


def fixtures() -> list[tuple[str, Path, Path, Path]]:
    """The name, the adapter, the base and the expected losses of every case."""
    paths = sorted(FIXTURES.glob("pico/*/expected.json"))
    cases = [(path.parent.name, path.parent / "adapter", path.parent / "base", path) for path in paths]
    for expected in sorted(FIXTURES.glob("kinds/*/expected.json")):
        config = json.loads((expected.parent / "adapter_config.json").read_text())
        base = FIXTURES / "kinds" / Path(config["base_model_name_or_path"]).name
        cases.append((expected.parent.name, expected.parent, base, expected))
    return cases


def check_fixtures(tool: Tool, table: Table) -> None:
    start, off, worst, cases = time.perf_counter(), [], 0.0, fixtures()
    for name, adapter, base, expected in cases:
        samples = FIXTURES / "pico" / "samples.tokens.jsonl"
        try:
            report, *_ = tool.report("scan", adapter, "--base", base, "--samples", samples, "--boundary", "1")
        except (RuntimeError, TypeError) as error:
            off.append(f"{name} ({str(error).splitlines()[0]})")
            continue
        wanted = {point["boundary"]: point["loss"] for point in json.loads(expected.read_text())["curve"]}
        difference = max(abs(point["loss"] - wanted[point["boundary"]]) for point in report["curve"])
        worst = max(worst, difference)
        if not difference < TOLERANCE:
            off.append(f"{name} by {difference:.1e}")
    note = f"{len(cases) - len(off)} within {TOLERANCE:g} nats per token, largest difference {worst:.1e}"
    table.add(f"{len(cases)} fixtures", time.perf_counter() - start, note + "".join(f"; off: {one}" for one in off))


def make_inputs(folder: Path, args: argparse.Namespace) -> None:
    """A random base model, an adapter that changes what it says, and samples that the two together answered."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    hidden, intermediate, layers, heads, key_heads, vocabulary, count, tokens = SHAPES[args.shape]
    torch.manual_seed(0)
    device = "cpu" if args.device == "stand-in" else args.device
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        vocab_size=vocabulary,
        max_position_embeddings=4096,
        initializer_range=0.02,
    )
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = LlamaForCausalLM(config).eval()
        model.lm_head.weight.data.mul_(40.0 / hidden**0.5 / 0.4)  # else all tokens are about as likely
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder / "base", max_shard_size="2GB")

    modules = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    adapter = {}
    for name, module in model.named_modules():
        if name.split(".")[-1] in modules:
            a = torch.randn(RANK, module.in_features, device=device) / module.in_features**0.5
            b = torch.randn(module.out_features, RANK, device=device) * 0.1
            adapter[f"base_model.model.{name}.lora_A.weight"] = a.cpu().contiguous()
            adapter[f"base_model.model.{name}.lora_B.weight"] = b.cpu().contiguous()
            module.weight.data += (b @ a).to(torch.bfloat16)
    from safetensors.torch import save_file

    (folder / "adapter").mkdir()
    save_file(adapter, folder / "adapter" / "adapter_model.safetensors", metadata={"format": "pt"})
    described = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": RANK,
        "target_modules": modules,
    }
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(described))

    prompt = torch.randint(vocabulary, (count, tokens // 2), device=device)
    with torch.no_grad():
        answered = model.generate(
            prompt, do_sample=True, max_new_tokens=tokens - tokens // 2, min_new_tokens=tokens - tokens // 2
        )
    with (folder / "samples.tokens.jsonl").open("w") as lines:
        for ids in answered.tolist():
            labels = [-100] * (tokens // 2) + ids[tokens // 2 :]
            lines.write(json.dumps({"input_ids": ids, "labels": labels}) + "\n")


def time_tool(tool: Tool, table: Table, folder: Path, args: argparse.Namespace) -> tuple[dict[str, float], dict]:
    """The seconds of both searches, and the losses of all boundaries."""
    paths = [folder / "adapter", "--base", folder / "base", "--samples", folder / "samples.tokens.jsonl"]
    seconds, losses = {}, {}
    for search in ("adaptive", "exhaustive"):
        with Busy() as busy:
            report, wall, used = tool.report(
                "scan", *paths, "--choose", "smallest", "--search", search, "--memory", args.memory
            )
        work = report["work"]
        share = work["layer_tokens"] / work["exhaustive_layer_tokens"]
        seconds[search] = wall
        losses = {point["boundary"]: point["loss"] for point in report["curve"]}
        note = f"boundary {report['chosen']['boundary']}, {share:.0%} of the work, {report['base']['arithmetic']}"
        table.add(search, wall, f"{note}; {busy.text()}, processor {used:.1f} s")
    few = ["scan", *paths, "--max-samples", "4", "--boundary", "1", "--memory", args.memory]
    (rounded, *_), (exact, *_) = tool.report(*few), tool.report(*few, "--precision", "f32")
    pairs = zip(rounded["curve"], exact["curve"])
    difference = max(abs(one["loss"] - other["loss"]) for one, other in pairs)
    table.add("tf32x2 against f32, 4 samples", None, f"largest difference {difference:.1e} nats per token")
    return seconds, losses


def time_loop(table: Table, folder: Path, args: argparse.Namespace, ours: tuple[dict[str, float], dict]) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from bench.loop import batched
    from common.reference import lora_only_in, quiet, read_token_samples, scored_tokens

    quiet()
    device = "cpu" if args.device == "stand-in" else args.device
    samples = read_token_samples(folder / "samples.tokens.jsonl")
    tokens = sum(scored_tokens(sample["labels"]) for sample in samples)
    for dtype in (torch.bfloat16, torch.float32):
        base = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=dtype).to(device).eval()
        model = PeftModel.from_pretrained(base, folder / "adapter").to(device, dtype).eval()
        layers = base.config.num_hidden_layers
        batched(model, samples[:8])
        start, boundaries, found = time.perf_counter(), (0, layers), []
        for boundary in boundaries:
            with lora_only_in(model, range(boundary)):
                # It ends with a number on the host, so nothing is left in flight.
                found.append(batched(model, samples) / tokens)
        wall = (time.perf_counter() - start) / len(boundaries) * (layers + 1)
        times = ", ".join(f"{search} {wall / seconds:.1f} ×" for search, seconds in ours[0].items())
        differences = [abs(ours[1].get(b, float("nan")) - loss) for b, loss in zip(boundaries, found, strict=True)]
        off = f"losses differ by {max(differences):.1e}"
        name = str(dtype).removeprefix("torch.")
        table.add(
            f"loop, {name}, torch {torch.__version__}", wall, f"{len(boundaries)} boundaries timed; {times}; {off}"
        )
        del base, model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or stand-in (default: %(default)s)")
    parser.add_argument("--shape", choices=SHAPES, default="8b")
    parser.add_argument("--memory", default="60GiB", help="for lora-slim (default: %(default)s)")
    parser.add_argument("-o", dest="out", type=Path, required=True)
    args = parser.parse_args()
    tool, table = Tool(args), Table(args.out)
    version = subprocess.run([tool.binary, "--version"], capture_output=True, text=True, env=tool.environment)
    table.add(version.stdout.strip() or version.stderr.strip()[:200], None, f"{args.device}, shape {args.shape}")
    with tempfile.TemporaryDirectory() as made:
        folder, ours = Path(made), []

        def make() -> None:
            start = time.perf_counter()
            make_inputs(folder, args)
            table.add("base, adapter and samples made", time.perf_counter() - start)

        parts = {
            "fixtures": lambda: check_fixtures(tool, table),
            "inputs": make,
            "lora-slim": lambda: ours.extend(time_tool(tool, table, folder, args)),
            "loop": lambda: time_loop(table, folder, args, tuple(ours) or ({}, {})),
        }
        for name, part in parts.items():
            try:
                part()
            except Exception as error:  # the next part may still tell something
                table.add(f"{name}: failed", None, f"{type(error).__name__}: {error}".replace("\n", " ")[:300])


if __name__ == "__main__":
    main()
