"""MLX-LM, in f32 on MLX's device; on Linux that is the CPU (`mlx[cpu]`). Tested with mlx 0.32.4 and mlx-lm 0.32.2."""

from importlib.metadata import version

import mlx.core as mx
from mlx_lm import load as load_model

from task import Answers, Task, main


def load(task: Task):
    model, _ = load_model(task.base, adapter_path=task.adapter)
    model.set_dtype(mx.float32)
    return model


def next_logits(model, ids: list[int]) -> list[float]:
    return model(mx.array([ids]))[0, -1].tolist()


def continuation(model, ids: list[int], tokens: int) -> list[int]:
    """Without a cache: prompts are short, and only the model is tested."""
    grown = list(ids)
    for _ in range(tokens):
        grown.append(model(mx.array([grown]))[0, -1].argmax().item())
    return grown[len(ids) :]


def answer(model, task: Task) -> Answers:
    logits = [next_logits(model, ids) for ids in task.ids]
    greedy = [continuation(model, ids, len(ours)) for ids, ours in zip(task.ids, task.greedy)]
    return Answers(greedy=greedy, logits=logits)


if __name__ == "__main__":
    main(f"{version('mlx-lm')}, mlx {version('mlx')}", load, answer)
