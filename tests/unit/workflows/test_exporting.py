"""What an export refuses, and when a file counts as the bundle's."""

import numpy as np
import pytest

from spine_monai.landmarks import LUMBAR11, LandmarkSet
from spine_monai.workflows import graphs
from spine_monai.workflows.exporting import compare, export


def found(shift_mm=(0.0, 0.0, 0.0), confidence=0.9, absent=()):
    points = np.arange(33, dtype=float).reshape(11, 3) * [1.0, 2.0, -7.0]
    points[4] += shift_mm
    sure = np.full(11, confidence)
    for index in absent:
        points[index] = sure[index] = np.nan
    return [{"landmarks": LandmarkSet(LUMBAR11, points, sure, np.full(11, 2.0))}]


def test_equal_landmarks_agree():
    agreement = compare(found(absent=[2]) * 2, found(absent=[2]) * 2)
    assert agreement.slices == 2
    assert agreement.largest_mm == agreement.largest_confidence == 0.0
    assert agreement.problems == ()


def test_a_shift_in_space_is_measured_in_mm():
    agreement = compare(found((0.03, 0.0, -0.04)), found())
    assert agreement.largest_mm == pytest.approx(0.05)
    assert agreement.problems == ()


@pytest.mark.parametrize(
    ("one", "match"),
    [
        (found((0.0, 0.3, 0.0)), "lies 0.3 mm away"),
        (found(confidence=0.902), "confidence differs by 0.002"),
        (found(absent=[7]), "other landmarks are absent"),
    ],
)
def test_a_difference_is_a_problem(one, match):
    (problem,) = compare(one, found()).problems
    assert match in problem


def test_nothing_but_absent_landmarks_agrees_with_the_same():
    nothing = found(absent=range(11))
    assert compare(nothing, nothing).problems == ()
    assert compare(nothing, found()).problems == ("other landmarks are absent",)


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"one of torchscript, onnx, openvino: got 'coreml'"):
        export(tmp_path / "file", "coreml")


@pytest.mark.parametrize("format_name", ["onnx", "openvino"])
def test_a_missing_package_is_told_before_any_work(format_name, tmp_path, monkeypatch):
    monkeypatch.setattr(graphs, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"exported files need onnx.*spine_monai\[export\]"):
        export(tmp_path / "file", format_name)
    assert list(tmp_path.iterdir()) == []
