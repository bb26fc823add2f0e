"""How transformers renders a chat template, on a fixed day."""

import datetime as real
import logging
import re
from pathlib import Path
from typing import Any

from transformers.utils import chat_template_utils

from common.conversations import TOKENS

logging.getLogger("transformers").setLevel(logging.ERROR)


class FixedDay(real.datetime):
    """The day that lora-slim takes unless `--date` names another."""

    @classmethod
    def now(cls, tz: Any = None) -> "FixedDay":
        return cls(2024, 7, 26)


chat_template_utils.datetime = FixedDay


def render(template: str, conversation: dict, prompt: bool) -> dict:
    """The text and the byte spans of generation blocks, or the error."""
    try:
        messages = chat_template_utils._normalize_chat_messages(conversation["messages"])
        rendered, spans = chat_template_utils.render_jinja_template(
            conversations=[messages],
            tools=conversation.get("tools"),
            documents=conversation.get("documents"),
            chat_template=template,
            return_assistant_tokens_mask=True,
            add_generation_prompt=prompt,
            **{**TOKENS, **conversation.get("kwargs", {})},
        )
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    text = rendered[0]
    try:
        text.encode()
    except UnicodeEncodeError:
        return {"error": "the text is no Unicode"}
    spans = [[len(text[:place].encode()) for place in span] for span in spans[0]]
    # An address in memory is another one each time.
    return {"error": "an address"} if re.search(r" at 0x[0-9a-f]{6,}>", text) else {"text": text, "spans": spans}


def read(path: Path) -> str:
    """A template as transformers reads its file."""
    return path.read_text(encoding="utf-8")
