"""transformers: `load_adapter` of a model of its own, without PEFT's wrapper.

Made with torch 2.15, transformers 5.24 and peft 0.21.2.
"""

import peft
import torch
import transformers
from task import Found, Task, main
from transformers import AutoModelForCausalLM, PreTrainedModel
from with_peft import continuation, logits


def load(task: Task) -> PreTrainedModel:
    model = AutoModelForCausalLM.from_pretrained(task.base, dtype=torch.float32)
    model.load_adapter(task.adapter)
    return model.eval()


def answer(model: PreTrainedModel, task: Task) -> Found:
    greedy = [continuation(model, ids, task.tokens) for ids in task.ids]
    return Found(greedy=greedy, logits=logits(model, task).tolist())


if __name__ == "__main__":
    main(f"{transformers.__version__}, peft {peft.__version__}, torch {torch.__version__}", load, answer)
