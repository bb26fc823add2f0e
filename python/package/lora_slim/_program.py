"""The program `lora-slim`, and the processes that it starts for tokenizers."""

import os
import signal
import sys

from . import _native

# What a process for tokenizers runs: the native module alone, without the packages and the settings of this Python.
_LOADER = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("_native", sys.argv[1])
native = importlib.util.module_from_spec(spec)
spec.loader.exec_module(native)
sys.exit(not native.serve_tokenizer())
"""


def tokenizer_words():
    """The words that start a process for tokenizers; none where Python cannot be started: in programs that embed it."""
    if not sys.executable:
        return []
    return [sys.executable, "-I", "-S", "-c", _LOADER, _native.__file__]


def main():
    """Runs the program with the words of the command line, and returns its exit code."""
    # The program decides what Ctrl-C means, and Python's handler would wait for its end. An ignored one (`nohup`)
    # stays ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _open_standard_streams()
    _native.isolate(tokenizer_words())
    return _native.program(["lora-slim", *sys.argv[1:]], sys.stdout is not None)


def _open_standard_streams():
    """Opens /dev/null in place of closed standard streams, whose numbers the next files would get."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
