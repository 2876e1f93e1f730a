"""The speed benchmark: what it keeps when a part cannot be measured, or not to its end."""

import importlib
import json
import time
from pathlib import Path

import pytest
import torch

BENCHMARK = Path(__file__).parents[1] / "benchmark"
CIRCUMSTANCES = {
    "command": "make bench-speed PARTS=gpu",
    "machine": "x86_64",
    "threads": 2,
    "load": [0.0],
    "software": {"torch": "2"},
    "processor": {"vector_instructions": "AVX2", "has_bfloat16": False, "gpu": "H100"},
}


@pytest.fixture
def measuring(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARK))
    return importlib.import_module("speed.measuring")


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARK))
    return importlib.import_module("speed.gpu")


def part(title):
    return {"title": title, "rows": [{"what": title, "ms": 1.0}], "goals": []} | CIRCUMSTANCES


def test_the_gpu_is_skipped_in_words_where_there_is_none(measuring, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert measuring.possible(("forward", "gpu")) == ["forward"]
    assert "no CUDA device" in capsys.readouterr().out


def test_the_gpu_comes_last_where_there_is_one(measuring, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert measuring.possible(measuring.PARTS)[-1] == "gpu"


def test_parts_that_are_not_measured_keep_their_figures(measuring, tmp_path):
    measuring.write({"gpu": part("GPU")}, tmp_path)
    measuring.write({"forward": part("Forward pass")}, tmp_path)
    parts = json.loads((tmp_path / "speed.json").read_text())["parts"]
    assert (parts["gpu"]["title"], parts["forward"]["title"]) == ("GPU", "Forward pass")
    assert "## GPU" in (tmp_path / "speed.md").read_text()


def test_a_new_folder_starts_from_the_figures_of_the_docs(measuring, tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "HOME", tmp_path / "docs")
    measuring.write({"forward": part("Forward pass")}, tmp_path / "docs")
    measuring.write({"gpu": part("GPU")}, tmp_path / "out")
    assert list(json.loads((tmp_path / "out" / "speed.json").read_text())["parts"]) == [
        "forward",
        "gpu",
    ]


def test_a_group_that_fails_leaves_what_it_measured_and_a_note(gpu):
    report = gpu.Report("cpu")

    def group(report):
        report.add("first", ms=1.0)
        raise RuntimeError("out of\nmemory")

    gpu.guarded(report, "training", group)
    assert report.rows == [{"what": "first", "ms": 1.0}]
    assert report.notes == ["training: not measured to the end: RuntimeError: out of memory"]


def test_a_group_that_takes_too_long_is_stopped(gpu, monkeypatch):
    monkeypatch.setattr("speed.gpu_report.GROUP_S", 0.05)
    report = gpu.Report("cpu")
    gpu.guarded(report, "compiling", lambda _: time.sleep(5))
    assert "TimeoutError" in report.notes[0]


def test_decoding_is_held_against_the_forward_time_of_the_same_batch(gpu, monkeypatch):
    monkeypatch.setattr(gpu, "BATCHES", (1, 2))
    monkeypatch.setattr(gpu, "SIZE", (64, 48))
    report = gpu.Report("cpu", forward_ms={1: 1e6, 2: 1e-6})
    gpu.decoding(report, "each landmark alone", gpu.paper_fusion)
    shares, (same, waits) = report.goals[:2], report.goals[2:]
    assert [one["is_met"] for one in shares] == [True, False]
    assert same["reached"] == waits["reached"] == 0
