"""Token ids and labels as the SFTTrainer of TRL prepares them for training."""

import logging
import tempfile
import warnings

from datasets import Dataset, disable_progress_bars
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging
from trl import SFTConfig, SFTTrainer

IGNORED = -100

# What is scored, as lora-slim calls it, and the settings of TRL that mean it, for a row with each of these fields.
SETTINGS = {
    "answers": {"prompt": {}, "messages": {"assistant_only_loss": True}, "text": {}},
    "assistant-turns": {field: {"assistant_only_loss": True} for field in ("prompt", "messages", "text")},
    "everything": {"prompt": {"completion_only_loss": False}, "messages": {}, "text": {}},
}

logging.disable(logging.WARNING)
warnings.filterwarnings("ignore")
transformers_logging.set_verbosity_error()
disable_progress_bars()


def prepare(tokenizer: PreTrainedTokenizerBase, rows: list[dict], setting: str) -> list[dict | str]:
    """The `ids` and `scored` marks of each row, or the text of the error of TRL. The rows have one form."""
    options = next(options for field, options in SETTINGS[setting].items() if field in rows[0])
    try:
        return _prepare(tokenizer, rows, options)
    except Exception as error:  # a template may raise anything
        if len(rows) == 1:
            return [f"{type(error).__name__}: {error}"]
    return [prepare(tokenizer, [row], setting)[0] for row in rows]


def _prepare(tokenizer: PreTrainedTokenizerBase, rows: list[dict], options: dict) -> list[dict]:
    # The preparation asks the model for nothing but its configuration.
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder,
            max_length=None,
            use_cpu=True,
            bf16=False,
            report_to=[],
            gradient_checkpointing=False,
            shuffle_dataset=False,
            **options,
        )
        trainer = SFTTrainer(
            model=LlamaForCausalLM(config),
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )
    return [
        {"ids": row["input_ids"], "scored": [label != IGNORED for label in row["labels"]]}
        for row in trainer.train_dataset
    ]
