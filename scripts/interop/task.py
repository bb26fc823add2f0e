"""What the scripts of the single runtimes share: their task, how their answers are compared, and what they print.

`run.py` starts each of them with the path of a task. It loads an adapter in its runtime, answers the task's prompts
greedily, and prints one line of JSON. It needs nothing but its runtime.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from statistics import correlation


@dataclass
class Tolerance:
    """How far a runtime's answers may be from lora-slim's own and still count as the same."""

    least_correlation: float
    """Of the logits of the whole vocabulary."""
    least_equal: float
    """Of the greedy answers, where a runtime gives no logits."""


EXACT = Tolerance(0.999, 0.9)
# llama.cpp rounds the inputs of a product with quantised weights to 8 bits, which lora-slim does not. With a correct
# adapter (0.9999993 and 20 of 20 equal answers on the f32 file), the least correlation on Q4_1 was 0.9984 and 0.9992,
# and 11 and 12 of 20 greedy answers of 24 tokens were equal: the first token that differs changes all that follow.
QUANTISED = Tolerance(0.997, 0.4)


@dataclass
class Task:
    """An adapter, its base model, and the answers of lora-slim's own forward pass to some prompts."""

    base: str
    adapter: str
    original: str
    """The PEFT folder that it was cut from."""
    boundary: int
    scaling: float
    """Of most modules: alpha / r, or alpha / sqrt(r) with rsLoRA."""
    rank: int
    tokens: int
    """The most tokens of an answer."""
    ids: list[list[int]]
    texts: list[str]
    """The prompts, as tokens and as text."""
    greedy: list[list[int]]
    answers: list[str]
    """The continuations, as tokens and as text, without the token that ends them."""
    logits: list[list[float]]
    """Of the next token, prompt by prompt."""
    is_quantised: bool = False
    """Of the base model's weights; the runtime may then round more than lora-slim does."""

    @property
    def tolerance(self) -> Tolerance:
        return QUANTISED if self.is_quantised else EXACT


@dataclass
class Answers:
    """The answers of a runtime to the prompts, in the forms that it gives."""

    greedy: list[list[int]] | None = None
    answers: list[str] | None = None
    logits: list[list[float]] | None = None
    more: dict | None = None
    """Further figures."""


def figures(task: Task, found: Answers) -> dict:
    """How much the runtime's answers agree with lora-slim's own."""
    result = {"prompts": len(task.ids)}
    if found.logits:
        pairs = list(zip(found.logits, task.logits))
        result["least correlation"] = min(correlation(theirs, ours) for theirs, ours in pairs)
    if found.greedy:
        pairs = zip(found.greedy, task.greedy)
        result["equal answers"] = sum(theirs[: len(ours)] == ours for theirs, ours in pairs)
    if found.answers:
        pairs = zip(found.answers, task.answers)
        result["equal answers"] = sum(theirs.strip() == ours.strip() for theirs, ours in pairs)
    return result | (found.more or {})


def outcome(figures: dict, tolerance: Tolerance) -> str:
    if "least correlation" in figures:
        return "loads" if figures["least correlation"] >= tolerance.least_correlation else "differs"
    return "loads" if figures["equal answers"] >= tolerance.least_equal * figures["prompts"] else "differs"


def main(version: str, load: Callable[[Task], object], answer: Callable[[object, Task], Answers]) -> None:
    """Run a task. An exception while the adapter is loaded is a refusal; any other one is a fault of the script."""
    with open(sys.argv[1]) as file:
        task = Task(**json.load(file))
    result = {"version": version}
    try:
        loaded = load(task)
    except Exception as error:
        result |= {"outcome": "refuses", "detail": f"{type(error).__name__}: {error}".splitlines()[0], "figures": {}}
    else:
        found = figures(task, answer(loaded, task))
        result |= {"outcome": outcome(found, task.tolerance), "detail": "", "figures": found}
    print("\n" + json.dumps(result), flush=True)
