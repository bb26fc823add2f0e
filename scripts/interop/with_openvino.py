"""OpenVINO GenAI, which reads only the tensors of a PEFT folder: the script passes the scaling.

The base model is an OpenVINO folder in f32 (`optimum-cli export openvino --weight-format fp32 --task
text-generation-with-past`), and the products are in f32. Tested with openvino-genai 2026.4.1 and optimum-intel 2.2.0.
"""

from pathlib import Path

import openvino_genai
from openvino_genai import Adapter, AdapterConfig, GenerationConfig, LLMPipeline

from task import Answers, Task, main


def load(task: Task) -> LLMPipeline:
    adapter = Adapter(str(Path(task.adapter) / "adapter_model.safetensors"))
    return LLMPipeline(task.base, "CPU", adapters=AdapterConfig(adapter, task.scaling), INFERENCE_PRECISION_HINT="f32")


def answer(pipeline: LLMPipeline, task: Task) -> Answers:
    config = GenerationConfig()
    config.max_new_tokens, config.do_sample, config.apply_chat_template = task.tokens, False, False
    return Answers(answers=[str(pipeline.generate(text, config)) for text in task.texts])


if __name__ == "__main__":
    main(openvino_genai.get_version(), load, answer)
