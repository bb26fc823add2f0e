"""Tokenizer and text fixtures of fixtures/pico, with the token ids and labels TRL's SFT would give.

lora-slim reads training files as they are, so it has to turn them into the same ids and labels as
the training did. These are the expectations. Called by make_pico_fixtures.py.

Made with tokenizers 0.23 and transformers 5.23.
"""

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from peft_reference import IGNORED

VOCAB_SIZE = 320
END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

# ChatML as SmolLM2 has it: a default system turn when the conversation brings none.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nAnswer briefly.<|im_end|>\n' }}"
    "{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# Only the merges come from here; every byte is in the vocabulary anyway.
TRAINING_TEXT = """\
The user asks a question and the assistant answers it. The system gives the rules.
What is the capital of France? The capital of France is Paris, and Paris is on the Seine.
Which numbers are even? Two, four, six and eight are even, and three is not.
Write a short sentence about the weather: the sun is out and the wind is in the west.
Below is an instruction that describes a task. Write a response that completes the request.
""".splitlines()

ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
ALPACA_WITHOUT_INPUT = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:\n"
)

PROMPT_COMPLETION = [
    {"prompt": "What is 12 + 345?", "completion": " 357"},
    {"prompt": "  The capital of Fran", "completion": "ce is Paris.  "},  # a word cut in two
    {"prompt": "Über: naïve café →", "completion": " 日本語 🙂"},
    {"prompt": "Done?\n", "completion": "\nYes.<|im_end|>"},  # brings its own end
]
MESSAGES = [
    {"messages": [
        {"role": "user", "content": "What is 7 * 8?"},
        {"role": "assistant", "content": "56"},
    ]},
    {"messages": [
        {"role": "user", "content": "Name a city."},
        {"role": "assistant", "content": "Paris"},
        {"role": "user", "content": " And a river? "},
        {"role": "assistant", "content": " The Seine 🌊\n"},
        {"role": "user", "content": "In which year, 1889 or 1900?"},
        {"role": "assistant", "content": "1889."},
    ]},
    {"messages": [
        {"role": "system", "content": "Réponds en français."},
        {"role": "user", "content": "Which numbers are even?"},
        {"role": "assistant", "content": "\nDeux et quatre: 2, 4 …"},
    ]},
    {"messages": [  # ends with a turn nobody answered
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "Still there?"},
    ]},
]
ALPACA = [
    {"instruction": "Write the sum.", "input": "3 and 40", "output": "43"},
    {"instruction": "Name a river.", "input": "", "output": " The Seine"},
    {"instruction": "Traduis : « été »", "input": "en anglais ", "output": "summer ☀"},
]
QA = [
    {"question": "Is 2024 even?", "answer": "Yes"},
    {"question": " Где Париж?", "answer": "France "},
    {"question": "Capital of France:\n", "answer": "Paris\n"},
]
TEXT = [
    {"text": "The sun is out at 10:45."},
    {"text": "  naïve ☕ text \n\n with spaces "},
    {"text": "Has its end already.<|im_end|>"},
]


def make_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Train the byte-level BPE tokenizer, write its two files and load them back."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TRAINING_TEXT, trainer)
    assert tokenizer.get_vocab_size() == VOCAB_SIZE

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    write_json(folder / "tokenizer_config.json", {
        "bos_token": TURN_START,
        "eos_token": TURN_END,
        "pad_token": TURN_END,
        "unk_token": END_OF_TEXT,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 512,
        "tokenizer_class": "PreTrainedTokenizerFast",
    })
    return PreTrainedTokenizerFast.from_pretrained(folder)


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_jsonl(path: Path, rows: list[dict]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")


class Expected:
    """Ids and labels of one sample, for each way of writing a sample."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast):
        self.tokenizer = tokenizer

    def ids(self, text: str, rendered: bool = False) -> list[int]:
        """Text rendered by the template has its special tokens already."""
        return self.tokenizer(text, add_special_tokens=not rendered)["input_ids"]

    def render(self, messages: list[dict], generation_prompt: bool = False) -> str:
        return self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=generation_prompt
        )

    def with_end(self, text: str) -> str:
        end = self.tokenizer.eos_token
        return text if text.endswith(end) else text + end

    def text(self, text: str) -> dict:
        ids = self.ids(self.with_end(text))
        return {"input_ids": ids, "labels": ids}

    def plain(self, prompt: str, completion: str) -> dict:
        return masked(self.ids(prompt), self.ids(prompt + self.with_end(completion)))

    def chat(self, prompt: str, completion: str) -> dict:
        question = [{"role": "user", "content": prompt}]
        answer = [{"role": "assistant", "content": completion}]
        full = self.render(question + answer)
        return masked(self.ids(self.render(question, True), rendered=True), self.ids(full, rendered=True))

    def messages(self, messages: list[dict]) -> dict:
        """Every assistant turn is scored, from the end of its header to the end of its rendering.

        A token belongs to the span its first character is in.
        """
        spans = [
            (len(self.render(messages[:turn], True)), len(self.render(messages[: turn + 1])))
            for turn, message in enumerate(messages)
            if message["role"] == "assistant"
        ]
        encoded = self.tokenizer(
            self.render(messages), add_special_tokens=False, return_offsets_mapping=True
        )
        ids = encoded["input_ids"]
        scored = [any(a <= start < b for a, b in spans) for start, _ in encoded["offset_mapping"]]
        return {"input_ids": ids, "labels": [i if s else IGNORED for i, s in zip(ids, scored)]}


def masked(prompt: list[int], full: list[int]) -> dict:
    """Masks by the number of prompt tokens, even where the prompt's last token merged with the answer."""
    return {"input_ids": full, "labels": [IGNORED] * len(prompt) + full[len(prompt):]}


def alpaca_prompt(row: dict) -> str:
    return (ALPACA_WITH_INPUT if row["input"] else ALPACA_WITHOUT_INPUT).format(**row)


def alpaca_turn(row: dict) -> str:
    return "\n\n".join(filter(None, [row["instruction"], row["input"]]))


def expected_ids(expected: Expected) -> dict:
    pairs = {
        "prompt_completion.jsonl": [(r["prompt"], r["prompt"], r["completion"]) for r in PROMPT_COMPLETION],
        "alpaca.jsonl": [(alpaca_prompt(r), alpaca_turn(r), r["output"]) for r in ALPACA],
        "qa.json": [(r["question"], r["question"], r["answer"]) for r in QA],
    }
    result = {
        name: {
            "plain": [expected.plain(prompt, answer) for prompt, _, answer in rows],
            "chat": [expected.chat(turn, answer) for _, turn, answer in rows],
        }
        for name, rows in pairs.items()
    }
    result["messages.jsonl"] = {"chat": [expected.messages(r["messages"]) for r in MESSAGES]}
    result["text.jsonl"] = {"plain": [expected.text(r["text"]) for r in TEXT]}
    return result


def make_text(folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write the sample files and what they have to become."""
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / "prompt_completion.jsonl", PROMPT_COMPLETION)
    write_jsonl(folder / "messages.jsonl", MESSAGES)
    write_jsonl(folder / "alpaca.jsonl", ALPACA)
    write_jsonl(folder / "text.jsonl", TEXT)
    write_json(folder / "qa.json", QA)
    compact = json.dumps(expected_ids(Expected(tokenizer)), separators=(",", ":"))
    (folder / "expected_ids.json").write_text(compact + "\n")
