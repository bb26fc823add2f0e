"""What the functions return: the JSON of the program, and what is handy beside it."""

from collections.abc import Mapping

# The fields of a point of the curve that are arrays, and their type in NumPy.
_CURVE = {
    "boundary": "i8",
    "loss": "f8",
    "gain_kept": "f8",
    "difference": "f8",
    "difference_at_most": "f8",
    "token_probability": "f8",
    "token_accuracy": "f8",
    "exact_match": "f8",
    "bytes": "i8",
}


class Answer(Mapping):
    """A JSON object, whose keys are also attributes."""

    def __init__(self, data):
        self._data = data

    def to_dict(self):
        """The object as the program prints it with `--json`."""
        return self._data

    def __getitem__(self, key):
        return self._data[key]

    def __iter__(self):
        return iter(self._data)

    def __len__(self):
        return len(self._data)

    def __getattr__(self, name):
        if not name.startswith("_") and name in self._data:
            return self._data[name]
        raise AttributeError(f"{type(self).__name__!r} has no {name!r}; it has {', '.join(self._data)}")

    def __dir__(self):
        return [*super().__dir__(), *self._data]

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(self._data)})"

    def __reduce__(self):
        return type(self), (self._data,)


class _YesOrNo(Answer):
    def __init__(self, data, yes):
        super().__init__(data)
        self._yes = yes

    def __bool__(self):
        return self._yes

    def __reduce__(self):
        return type(self), (self._data, self._yes)


class Verification(_YesOrNo):
    """The comparison of two adapters: `differences`, `kept_layers` … True if there is no difference."""

    def __repr__(self):
        return "Verification(no difference)" if self else f"Verification({len(self.differences)} differences)"


class Check(_YesOrNo):
    """What is wrong with an adapter (`flaws`), and what `runtimes` do with it. True if nothing is wrong."""

    @property
    def passes(self):
        """Whether the adapter is complete, and the runtimes that were named load it."""
        return bool(self)

    def verdict(self, runtime):
        """What a runtime does with the adapter: "loads", "differs" or "refuses"."""
        return {one["name"].lower(): one["verdict"] for one in self.runtimes}[runtime.lower()]

    def __repr__(self):
        return f"Check({', '.join(one['runtime'] + ' ' + one['verdict'] for one in self.runtimes)})"


class Report(Answer):
    """The report of `slim`, `scan` and `cut`: every part of docs/report.md by its name, and what is handy beside it.

    Losses are in nats per scored token, probabilities and shares between 0 and 1, sizes in bytes of tensors.
    """

    @property
    def boundary(self):
        """The boundary that was chosen: the adapter is kept in the layers below it. None after `cut`."""
        chosen = self.get("chosen")
        return None if chosen is None else chosen["boundary"]

    @property
    def kept_layers(self):
        """The layers that are kept, lowest first."""
        return self.get("output", {}).get("kept_layers", [])

    @property
    def bytes_before(self):
        """Bytes of the tensors of the adapter; None at boundary 0, where nothing is written."""
        return self.get("output", {}).get("bytes_before")

    @property
    def bytes_after(self):
        """Bytes of the tensors that are written."""
        return self.get("output", {}).get("bytes_after")

    @property
    def saved(self):
        """The share of the bytes that is saved."""
        return 1 - self.bytes_after / self.bytes_before if self.bytes_before else None

    @property
    def written(self):
        """What was measured with what is written, on the samples that choose: `loss`, `token_probability` …"""
        steps = [step["losses"] for step in self.get("steps", []) if step.get("losses")]
        parts = (self.get(part) for part in ("minimized", "scale", "subset", "window", "chosen"))
        return next((part for part in [*steps[-1:], *parts] if part is not None), None)

    @property
    def loss(self):
        """The loss of what is written, on the samples that choose."""
        return None if self.written is None else self.written["loss"]

    @property
    def base_loss(self):
        """The loss of the base model."""
        return self._data["curve"][0]["loss"] if "curve" in self else None

    @property
    def whole_loss(self):
        """The loss of the whole adapter."""
        return self._data["curve"][-1]["loss"] if "curve" in self else None

    @property
    def warnings(self):
        """What you should know before you trust the result, the gravest first: its `code`, `sentence` and `figures`."""
        return self.get("warnings", [])

    @property
    def curve(self):
        """A structured array with a row for each boundary that was evaluated on all samples, the lowest first.

        Fields: boundary, loss, gain_kept, difference, difference_at_most, token_probability, token_accuracy,
        exact_match, bytes. What is not known is NaN. Needs NumPy; `report["curve"]` is the same as a list, with the
        figures of each sample.
        """
        import numpy

        points = self.get("curve", [])
        rows = [tuple(_number(point.get(name)) for name in _CURVE) for point in points]
        return numpy.array(rows, dtype=list(_CURVE.items()))

    def plot(self, ax=None):
        """Draws the loss at each boundary with matplotlib, and returns the axes."""
        if ax is None:
            from matplotlib import pyplot

            ax = pyplot.subplots()[1]
        curve = self.curve
        ax.plot(curve["boundary"], curve["loss"], marker=".", label="loss")
        ax.axhline(self.base_loss, linestyle=":", color="gray", label="base model")
        ax.axhline(self.whole_loss, linestyle="--", color="gray", label="whole adapter")
        ax.plot([self.boundary], [self.loss], marker="o", linestyle="none", color="C3", label="written")
        ax.set_xlabel("boundary (layers below it are kept)")
        ax.set_ylabel("nats per token")
        ax.legend()
        return ax

    def __repr__(self):
        sizes = f"{self.bytes_before} → {self.bytes_after} bytes" if self.bytes_before else "nothing to write"
        return f"Report({sizes})" if self.boundary is None else f"Report(boundary {self.boundary}, {sizes})"

    def _repr_html_(self):
        """A table for notebooks."""
        import html

        rows = [("adapter", self.adapter["path"])]
        if self.boundary is not None:
            rows += [
                ("boundary", f"{self.boundary} of {self['curve'][-1]['boundary']}: {self.chosen['reason']}"),
                ("loss", f"{self.loss:.4f} (base model {self.base_loss:.4f}, whole adapter {self.whole_loss:.4f})"),
                ("probability of a true token", _probabilities(self)),
            ]
        if self.bytes_before:
            rows.append(("bytes", f"{self.bytes_before:,} → {self.bytes_after:,} ({self.saved:.1%} less)"))
            rows.append(("layers", _ranges(self.kept_layers)))
        rows += [("warning", warning["sentence"]) for warning in self.warnings]
        cells = (f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in rows)
        return f'<table style="text-align: left">{"".join(cells)}</table>'


def _number(value):
    return float("nan") if value is None else value


def _probabilities(report):
    at = [report["curve"][0], report["curve"][-1]]
    base, whole = (f"{point['token_probability']:.1%}" for point in at)
    return f"{report.written['token_probability']:.1%} (base model {base}, whole adapter {whole})"


def _ranges(numbers):
    """`0-3, 5` for `[0, 1, 2, 3, 5]`."""
    runs = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
