"""What is handy about a report."""

import pickle

import lora_slim
import pytest

SAME = {"base": "my-base", "samples": "tokens.jsonl"}


@pytest.fixture
def report(pico):
    return lora_slim.slim("my-adapter", boundary=3, rank=2, output="out", **SAME)


def test_attributes(report):
    assert report.boundary == 3 and report.kept_layers == [0, 1, 2]
    assert report.bytes_before == report.output["bytes_before"] > report.bytes_after > 0
    assert 0 < report.saved < 1
    assert report.loss == report.steps[-1]["losses"]["loss"] != report.chosen["loss"]
    assert report.base_loss == report["curve"][0]["loss"] and report.whole_loss == report["curve"][-1]["loss"]
    assert report.warnings[0]["code"]
    with pytest.raises(AttributeError, match="'losses'"):
        _ = report.losses
    assert repr(report) == f"Report(boundary 3, {report.bytes_before} → {report.bytes_after} bytes)"
    assert pickle.loads(pickle.dumps(report)) == report


def test_the_curve_is_an_array(report):
    numpy = pytest.importorskip("numpy")
    curve = report.curve
    assert curve["boundary"].tolist() == list(range(7))
    assert curve["loss"].tolist() == [point["loss"] for point in report["curve"]]
    assert curve["bytes"].dtype == numpy.int64
    assert numpy.isfinite(curve["token_probability"]).all()


def test_html_escapes_what_files_say(report):
    data = {**report.to_dict(), "adapter": {**report.adapter, "path": "<script>"}}
    html = lora_slim.Report(data)._repr_html_()
    assert "&lt;script&gt;" in html and "<script>" not in html
    assert "0-2" in html and "boundary" in html
    assert "bytes" in lora_slim.cut("my-adapter", "cut", boundary=2)._repr_html_()


def test_plot(report):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    axes = report.plot()
    assert len(axes.lines) == 4
    axes.figure.savefig("curve.png")


def test_warnings_are_warnings(pico):
    with pytest.warns(lora_slim.LoraSlimWarning) as told:
        report = lora_slim.scan("my-adapter", **SAME)
    assert [str(one.message) for one in told] == [warning["sentence"] for warning in report.warnings]
    assert {one.filename for one in told} == {__file__}


def test_fix_gives_an_answer(pico):
    answer = lora_slim.fix("my-adapter", "fixed")
    assert answer.modules > 0 and lora_slim.verify("my-adapter", "fixed")
