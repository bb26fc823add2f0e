"""PEFT: all ways to bring an adapter into a model.

For a folder that was only cut, the figures also say how far the logits are from those of the original with `lora_B`
zero from the boundary on, and after low_cpu_mem_usage, merging, and a hot swap into a model that has the original.
"""

import copy
import re

import peft
import torch
import transformers
from peft import PeftModel
from peft.utils.hotswap import hotswap_adapter
from transformers import AutoModelForCausalLM

from task import Answers, Task, main


def base_of(task: Task) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(task.base, dtype=torch.float32)


def load(task: Task) -> PeftModel:
    return PeftModel.from_pretrained(base_of(task), task.adapter).eval()


@torch.no_grad()
def logits(model: torch.nn.Module, task: Task) -> torch.Tensor:
    """Of the next token: (prompts, vocabulary)."""
    return torch.stack([model(torch.tensor([ids])).logits[0, -1] for ids in task.ids])


def continuation(model: torch.nn.Module, ids: list[int], tokens: int) -> list[int]:
    prompt = torch.tensor([ids])
    answer = model.generate(
        input_ids=prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=tokens
    )
    return answer[0, len(ids) :].tolist()


def switched_off(task: Task) -> PeftModel:
    """The original without the layers that the cut lacks."""
    model = PeftModel.from_pretrained(base_of(task), task.original).eval()
    for name, parameter in model.named_parameters():
        layer = re.search(r"\.layers\.(\d+)\.", name)
        if "lora_B" in name and layer and int(layer[1]) >= task.boundary:
            parameter.data.zero_()
    return model


def swapped(task: Task) -> PeftModel:
    model = PeftModel.from_pretrained(base_of(task), task.original).eval()
    hotswap_adapter(model, task.adapter, adapter_name="default", torch_device="cpu")
    return model


def swaps_back(task: Task) -> str:
    """The outcome of swapping the original into a model with the adapter."""
    try:
        hotswap_adapter(load(task), task.original, adapter_name="default", torch_device="cpu")
    except Exception as error:
        return type(error).__name__
    return "no error"


def answer(model: PeftModel, task: Task) -> Answers:
    found = logits(model, task)
    greedy = [continuation(model, ids, task.tokens) for ids in task.ids]

    def away(other: torch.nn.Module) -> float:
        return (logits(other, task) - found).abs().max().item()

    more = {
        "off by low_cpu_mem_usage": away(
            PeftModel.from_pretrained(base_of(task), task.adapter, low_cpu_mem_usage=True).eval()
        ),
        "off by merging": away(copy.deepcopy(model).merge_and_unload()),
    }
    if task.original:
        more |= {
            "off by switching layers off": away(switched_off(task)),
            "off by hotswap from the original": away(swapped(task)),
            "hotswap back to the original": swaps_back(task),
        }
    return Answers(greedy=greedy, logits=found.tolist(), more=more)


if __name__ == "__main__":
    main(f"{peft.__version__}, transformers {transformers.__version__}, torch {torch.__version__}", load, answer)
