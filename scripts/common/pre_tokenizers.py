"""Small byte-level vocabularies for GGUF files that differ in their pre-tokenizer, and texts that tell these apart."""

import random
import re
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import gguf

from .paths import ROOT

# Texts by hand: words, numbers, contractions, space, line ends, scripts, marks and controls, special tokens.
TEXTS = [
    "",
    " ",
    "  ",
    "   x",
    "\t\t x\t",
    "\n",
    "\n\n\n",
    " \n \n x \n",
    "a\r\nb\r\n\r\n c",
    "Hello, world! How's it going?",
    "I'm WE'RE they'll He'D you'Ve don'T 'S'M 's ' s",
    "camelCase HTTPServer McDonald ÉCOLE éCOLE ǅungla",
    "1 12 123 1234 12345 1234567 0.5 1,000,000 3.14e-10 ½²³ ٣٤٥٦ Ⅷ 1a2b3c",
    "abc1234def 12ab 1234½678 123_456_789",
    "  leading and   inner    spaces     ",
    "x = foo(bar)[0] + {'key': \"value\"}; // comment\n\tif (a && b || !c) { return ~d ^ e; }",
    "!!! ??? ... --- $+<=>^`| ~#@ \\\\ //path/to/file.txt\n/* end */\n/\n",
    "https://example.com/a?b=c&d=%20#frag user@host.org",
    "中文字符，没有空格。日本語のテキスト、カタカナ　全角スペース",
    "한국어 문장입니다. ㄱㄴㄷ ㅏㅑ 각",
    "Привет, мир! Γειά σου Կոն გამარჯობა שלום عليكم، السلام۔ नमस्ते। ไทย ພາສາ မြန်မာ ខ្មែរ",
    "e\u0301 n\u0303o a\u0300\u0301 \u0301x 1\u0301 .\u0301",
    "🙂 👍🏽 👩‍👩‍👧 🇩🇪 ♥️ ©®™ €£¥",
    "zero\u200bwidth\u00a0no-break\u2003em\u3000wide\u2028line\u0085next\ufeffbom",
    "\u0000\u0001\u001c\u001f\u007f\u0080 end",
    "<s> [INST] <|end|>text<|end|> \n<|end|>",
    "‘quoted’ “double” …—：；「」〜 ﹏ ㄅㄆ ㆎ",
    "Ünïcödé ſ 's 'ſ K ﬁ ﬀ İı",
    "<sentinel:12>IMGIMGABCDZ    tab\tend",
    "a       b" + " " * 9 + "c" + " " * 5,
    "it'S 12345 we'LL12 Don'Ta camelCase HTTPServer",
    "d 'd? ?'m \n\n\n\n x \n\n",
    "中文a文b中 ab漢字cd 漢a漢a漢a漢a",
    "'tisane 'tisane 'tisane'tisane",
    "don’t it’s 'tis rock'n'roll l'été aujourd'hui",
]

# Characters that random texts are made of.
ALPHABET = [
    *"aabcsStTmMdDlLvVrReEzZ",
    *"0123456789",
    *"     \n\n\r\t\x0b\x0c",
    *"''.,!?;:-_/\\()[]{}<>@#$%^&*+=~`|\"",
    *"éßÜσΣяЖაնאش",
    *"中文のカ각ㄱ",
    *"\u0301\u0303\u093f\u0e31\u20dd",
    *"½²٣Ⅷ१",
    *"\u00a0\u0085\u2003\u2028\u3000\u200b\u1680",
    *"🙂😀€£…—’“。，、।۔،",
    *"\u0378\ue000\ud7ff\U000e0001\U00020000\uf900\u8c48ǅʰﬁKſ",
    "'s",
    "'LL",
    "'re",
    "<|end|>",
]

BYTES = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
BYTES += [byte for byte in range(0x100) if byte not in BYTES]
CHARACTERS = {byte: chr(byte if place < 188 else 0x100 + place - 188) for place, byte in enumerate(BYTES)}

BEGIN, END = "<s>", "<|end|>"

# Words of TEXTS that the vocabularies have though no merge makes them.
WORDS = ["Hello", " world", "camel", "123", " foo"]

Field = str | int | bool | list[str] | list[int] | list[float]


def byte_level(text: str) -> list[str]:
    """The bytes of a text, in the characters that GPT-2's vocabulary has for them."""
    return [CHARACTERS[byte] for byte in text.encode()]


def random_texts(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices(ALPHABET, k=draw.randint(1, 24))) for _ in range(count)]


def merges_of(texts: list[str], count: int) -> list[tuple[str, str]]:
    """The first merges of BPE on texts that nothing splits, so that every way to split them shows in the tokens."""
    plain = [part for text in texts for part in re.split(f"{BEGIN}|{re.escape(END)}", text)]
    words = [byte_level(text) for text in plain]
    merges = []
    while len(merges) < count:
        pairs = Counter(pair for word in words for pair in pairwise(word))
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        if best[0] + best[1] not in {a + b for a, b in merges}:
            merges.append(best)
        words = [merged(word, best) for word in words]
    return merges


def merged(word: list[str], pair: tuple[str, str]) -> list[str]:
    out: list[str] = []
    place = 0
    while place < len(word):
        together = word[place : place + 2] == list(pair)
        out.append("".join(pair) if together else word[place])
        place += 2 if together else 1
    return out


def byte_level_file(pre: str | None, merges: list[tuple[str, str]]) -> dict[str, Field]:
    """The metadata of a file with a byte-level vocabulary.

    The words in it that no merge makes tell which tokenizers keep words of the vocabulary whole.
    """
    tokens = [CHARACTERS[byte] for byte in range(0x100)] + [a + b for a, b in merges]
    tokens += [word for word in map("".join, map(byte_level, WORDS)) if word not in tokens]
    fields: dict[str, Field] = {
        "model": "gpt2",
        "tokens": [*tokens, BEGIN, END],
        "token_type": [1] * len(tokens) + [3, 3],
        "merges": [" ".join(pair) for pair in merges],
        "bos_token_id": len(tokens),
        "eos_token_id": len(tokens) + 1,
    }
    return fields if pre is None else {**fields, "pre": pre}


def write(path: Path, fields: dict[str, Field], name: str = "") -> None:
    """A GGUF file with these keys of a tokenizer and no tensors."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    for key, value in fields.items():
        key = f"tokenizer.ggml.{key}"
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        else:
            writer.add_array(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def names() -> list[str]:
    """The names in lora-slim's table."""
    source = (ROOT / "src/samples/gguf_tokenizer/pre_tokenizers.rs").read_text()
    lists = re.findall(r"names: &\[(.*?)\]", source.partition("const PRE_TOKENIZERS")[2], re.DOTALL)
    return re.findall(r'"([^"]+)"', "".join(lists))


if __name__ == "__main__":
    sys.exit("this module is for other scripts")
