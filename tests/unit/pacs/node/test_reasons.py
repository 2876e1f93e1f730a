"""Reasons are recognised by the words of real errors: a change of those must show here."""

from types import SimpleNamespace

import numpy as np
import pytest

from spine_monai.data.synthetic import make_study
from spine_monai.landmarks import LUMBAR11, LandmarkSet
from spine_monai.pacs.node.reasons import why_failed, why_ignored
from spine_monai.readers import StudyError, locate_study
from spine_monai.workflows.causes import in_one_line
from spine_monai.writers.dicom_reference import marks_of


def refused(folder):
    with pytest.raises(StudyError) as caught:
        locate_study(folder)
    return in_one_line(caught.value)


def test_a_study_without_t2_is_ignored(tmp_path):
    make_study(shape=(48, 40, 3)).write_dicom(
        tmp_path, seed="t1", EchoTime="10", RepetitionTime="500"
    )
    assert why_ignored(refused(tmp_path)) == "no sagittal T2 series to work on: none of 1 is one"


def test_a_study_with_two_series_as_good_as_each_other_is_ignored(tmp_path):
    for seed in ("first", "second"):
        make_study(shape=(48, 40, 3)).write_dicom(tmp_path / seed, seed=seed)
    assert why_ignored(refused(tmp_path)).startswith("no sagittal T2 series to work on: 2 of 2")


def test_a_study_in_which_nothing_is_found_is_ignored():
    nothing = LandmarkSet(LUMBAR11, np.full((11, 3), np.nan), *np.full((2, 11), np.nan))
    with pytest.raises(ValueError, match="landmark") as caught:
        marks_of(SimpleNamespace(case="1", landmarks=nothing))
    assert why_ignored(in_one_line(caught.value)) == "no lumbar landmark was found in it"


def test_any_other_study_has_failed_and_its_reason_names_nothing(tmp_path):
    (tmp_path / "Doe^Jane.dcm").write_bytes(b"\0" * 128 + b"DICM and no more")
    reason = refused(tmp_path)
    assert why_ignored(reason) == ""
    assert "Doe" not in why_failed(reason)
    assert why_failed("x" * 1000) == "x" * 300
