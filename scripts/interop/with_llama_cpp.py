"""llama.cpp: a GGUF adapter on a GGUF base, with the log-probabilities of the whole vocabulary.

Tested with xllamacpp 2026.10.11549.
"""

import json
from pathlib import Path

import xllamacpp
from xllamacpp import CommonAdapterLoraInfo, CommonParams, Server

from task import Answers, Task, main


def load(task: Task) -> Server:
    params = CommonParams()
    params.model.path = task.base
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 2048, 1, 2
    params.lora_adapters = [CommonAdapterLoraInfo(str(Path(task.adapter) / "adapter.gguf"), 1.0)]
    return Server(params)


def complete(server: Server, ids: list[int], tokens: int, candidates: int) -> list[dict[int, float]]:
    """The log-probabilities of the candidates at each place, likeliest first."""
    wanted = {"prompt": ids, "n_predict": tokens, "temperature": 0, "n_probs": candidates, "cache_prompt": False}
    answer = server.handle_completions(wanted)
    answer = answer if isinstance(answer, dict) else json.loads(answer)
    places = answer.get("completion_probabilities") or answer["choices"][0]["logprobs"]["content"]
    return [{top["id"]: top["logprob"] for top in place["top_logprobs"]} for place in places]


def next_logits(server: Server, ids: list[int], vocabulary: int) -> list[float]:
    """Up to a constant."""
    found = complete(server, ids, 1, vocabulary)[0]
    return [found[token] for token in range(vocabulary)]


def answer(server: Server, task: Task) -> Answers:
    vocabulary = len(task.logits[0])
    greedy = [[next(iter(place)) for place in complete(server, ids, task.tokens, 1)] for ids in task.ids]
    return Answers(greedy=greedy, logits=[next_logits(server, ids, vocabulary) for ids in task.ids])


if __name__ == "__main__":
    main(f"xllamacpp {xllamacpp.__version__}", load, answer)
