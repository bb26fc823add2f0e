"""What the scripts of the single runtimes share: what they are given, how their answers are compared, and what they print.

`run.py` starts each of them with the path of a task. It loads an adapter in its runtime, answers the task's prompts greedily, and prints
one line of JSON. It needs nothing but its runtime.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from statistics import correlation

LEAST_CORRELATION = 0.999  # of the logits of all words with lora-slim's own
LEAST_EQUAL = 0.9  # of the greedy answers, where a runtime gives no logits


@dataclass
class Task:
    """An adapter, its base model, and what lora-slim's own forward pass makes of prompts with both."""

    base: str
    adapter: str
    original: str
    """The PEFT folder that it was cut from."""
    boundary: int
    scaling: float
    """alpha / r, or what rsLoRA makes of it, of most modules."""
    rank: int
    tokens: int
    """The most tokens of an answer."""
    ids: list[list[int]]
    texts: list[str]
    """The prompts, as tokens and as text."""
    greedy: list[list[int]]
    answers: list[str]
    """What follows, without the token that ends it."""
    logits: list[list[float]]
    """Of the next token, prompt by prompt."""


@dataclass
class Found:
    """What a runtime makes of the prompts, as far as it tells."""

    greedy: list[list[int]] | None = None
    answers: list[str] | None = None
    logits: list[list[float]] | None = None
    more: dict | None = None
    """Further figures."""


def figures(task: Task, found: Found) -> dict:
    """How far the runtime's answers are lora-slim's own."""
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


def outcome(figures: dict) -> str:
    if "least correlation" in figures:
        return "loads" if figures["least correlation"] >= LEAST_CORRELATION else "differs"
    return "loads" if figures["equal answers"] >= LEAST_EQUAL * figures["prompts"] else "differs"


def main(version: str, load: Callable[[Task], object], answer: Callable[[object, Task], Found]) -> None:
    """Runs a task. Only what is raised while an adapter is loaded is a refusal; anything else is a fault of the script."""
    with open(sys.argv[1]) as file:
        task = Task(**json.load(file))
    result = {"version": version}
    try:
        loaded = load(task)
    except Exception as error:
        result |= {"outcome": "refuses", "detail": f"{type(error).__name__}: {error}".splitlines()[0], "figures": {}}
    else:
        found = figures(task, answer(loaded, task))
        result |= {"outcome": outcome(found), "detail": "", "figures": found}
    print("\n" + json.dumps(result), flush=True)
