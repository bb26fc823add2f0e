"""The base models of fixtures/encoder-decoder, which are not stored: random weights, the same each time."""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoModelForSpeechSeq2Seq, PreTrainedModel


def from_config(folder: Path) -> PreTrainedModel:
    config = AutoConfig.from_pretrained(folder)
    torch.manual_seed(1)
    auto_class = AutoModelForSpeechSeq2Seq if config.model_type == "whisper" else AutoModelForSeq2SeqLM
    model = auto_class.from_config(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name:
                weight.normal_(0.0, 0.3)
    return model
