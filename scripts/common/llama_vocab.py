"""The tokenizers of llama.cpp, by the C functions in xllamacpp (tested with 2026.10.11549, which is build 11549).

The package offers no tokenizer in Python. Its library exports llama.cpp's C interface, which is called here: only the
vocabulary of a file is loaded.
"""

import ctypes
from pathlib import Path

import xllamacpp.xllamacpp as extension

# Where `vocab_only` lies in llama_model_params, and a size that is larger than that structure's.
VOCAB_ONLY, PARAMS_SIZE = 72, 256


class Params(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint8 * PARAMS_SIZE)]


library = ctypes.CDLL(extension.__file__)
library.llama_model_default_params.restype = Params
library.llama_model_load_from_file.argtypes = [ctypes.c_char_p, Params]
library.llama_model_load_from_file.restype = ctypes.c_void_p
library.llama_model_free.argtypes = [ctypes.c_void_p]
library.llama_model_get_vocab.argtypes = [ctypes.c_void_p]
library.llama_model_get_vocab.restype = ctypes.c_void_p
library.llama_tokenize.argtypes = [
    ctypes.c_void_p,
    ctypes.c_char_p,
    ctypes.c_int32,
    ctypes.POINTER(ctypes.c_int32),
    ctypes.c_int32,
    ctypes.c_bool,
    ctypes.c_bool,
]

messages: list[str] = []


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def log(_level: int, text: bytes, _data: int) -> None:
    messages.append(text.decode(errors="replace"))


library.llama_log_set(log, None)
library.llama_backend_init()


class Vocab:
    """The vocabulary of a GGUF file."""

    def __init__(self, path: Path) -> None:
        messages.clear()
        params = library.llama_model_default_params()
        params.bytes[VOCAB_ONLY] = 1
        self.model = library.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            errors = [line.strip() for line in messages if "error" in line]
            raise ValueError(" ".join(errors) or f"{path} is not loaded")
        self.vocab = library.llama_model_get_vocab(self.model)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, with the tokens that the file puts around it; special tokens in the text are matched."""
        data = text.encode()
        ids = (ctypes.c_int32 * (4 * len(data) + 16))()
        count = library.llama_tokenize(self.vocab, data, len(data), ids, len(ids), True, True)
        return list(ids[:count])

    def close(self) -> None:
        library.llama_model_free(self.model)
