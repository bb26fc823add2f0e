"""mistral.rs, in f32 on the CPU, with the adapter as one of its dynamic ones. Tested with mistralrs 0.9.5."""

from importlib.metadata import version

from mistralrs import CompletionRequest, LoraAdapter, ModelDType, Runner, Which

from task import Answers, Task, main


def load(task: Task) -> Runner:
    which = Which.Lora(model_id=task.base, adapters=[LoraAdapter("adapter", task.adapter)], dtype=ModelDType.F32)
    return Runner(which=which, no_paged_attn=True)


def completion(runner: Runner, text: str, tokens: int) -> str:
    request = CompletionRequest(prompt=text, model="default", max_tokens=tokens, temperature=0.0, adapter="adapter")
    return runner.send_completion_request(request).choices[0].text


def answer(runner: Runner, task: Task) -> Answers:
    return Answers(answers=[completion(runner, text, task.tokens) for text in task.texts])


if __name__ == "__main__":
    main(version("mistralrs"), load, answer)
