"""transformers: `load_adapter` of the model itself, without PEFT's wrapper."""

import peft
import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel

from task import Answers, Task, main
from with_peft import continuation, logits


def load(task: Task) -> PreTrainedModel:
    model = AutoModelForCausalLM.from_pretrained(task.base, dtype=torch.float32)
    model.load_adapter(task.adapter)
    return model.eval()


def answer(model: PreTrainedModel, task: Task) -> Answers:
    greedy = [continuation(model, ids, task.tokens) for ids in task.ids]
    return Answers(greedy=greedy, logits=logits(model, task).tolist())


if __name__ == "__main__":
    main(f"{transformers.__version__}, peft {peft.__version__}, torch {torch.__version__}", load, answer)
