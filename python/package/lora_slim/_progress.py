"""Progress: to tqdm, if it is installed and somebody looks on, or to a function."""

import sys
from collections import namedtuple


class Progress(namedtuple("Progress", "stage done total text")):
    """How far a call has come.

    Attributes:
        stage: "fetch" (bytes from the hub) or "measure" (tokens through layers).
        done: how much is done; it grows within a stage.
        total: how much there is to do, as far as is known.
        text: the place, for people.
    """

    __slots__ = ()


class Bars:
    """A bar of tqdm for each stage."""

    def __init__(self, tqdm):
        self._tqdm = tqdm
        self._bar = None
        self._stage = None

    def __call__(self, step):
        if step.stage != self._stage:
            self.close()
            self._stage = step.stage
            unit = {"unit": "B", "unit_scale": True} if step.stage == "fetch" else {"unit": "tok", "unit_scale": True}
            self._bar = self._tqdm(desc=step.stage, total=step.total, leave=False, **unit)
        self._bar.total = step.total
        self._bar.n = step.done
        if step.text:
            self._bar.set_postfix_str(step.text, refresh=False)
        self._bar.refresh()

    def close(self):
        if self._bar is not None:
            self._bar.close()
        self._bar = None


def listener(progress):
    """What is told of progress: the function that was given, bars of tqdm, or nothing."""
    if callable(progress):
        return progress
    if progress is False or (progress is None and not _somebody_looks_on()):
        return None
    try:
        from tqdm.auto import tqdm
    except ImportError:
        if progress is True:
            raise
        return None
    return Bars(tqdm)


def _somebody_looks_on():
    return _in_notebook() or (sys.stderr is not None and sys.stderr.isatty())


def _in_notebook():
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = get_ipython() if get_ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config
