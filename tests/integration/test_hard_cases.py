"""The matrix of hard cases: each is read rightly or refused for the right reason, never wrongly."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hard_cases import CASES, by_spine_monai

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "tools"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_hard_case_is_read_rightly_or_refused_with_its_reason(case, tmp_path):
    outcome = by_spine_monai(case.build(tmp_path))
    if case.refused:
        assert outcome.verdict == "refused", outcome.message
        assert [part for part in case.refused if part not in outcome.message] == [], outcome.message
    else:
        assert outcome.verdict == "right", outcome.message
        assert sorted(outcome.warnings) == sorted(case.warns)
    for text in outcome.texts:
        assert not re.search(r"\bdoe\b|jane", text.replace(str(tmp_path), ""), re.IGNORECASE)


def test_the_matrix_has_cases_of_every_kind():
    assert len(CASES) == len({case.name for case in CASES}) == len({case.title for case in CASES})
    assert len(CASES) >= 25
    assert sum(bool(case.refused) for case in CASES) > 20
    assert sum(bool(case.warns) for case in CASES) > 5


@pytest.mark.parametrize("spoil", ["place", "pixels", "slice"])
def test_a_wrong_reading_is_called_wrong(tmp_path, spoil):
    """Else the matrix could not fail."""
    written = next(case for case in CASES if case.name == "dicomdir").build(tmp_path)
    assert by_spine_monai(written).verdict == "right"
    moved, other = written.ras_from_index.copy(), written.volume.copy()
    moved[1, 3] += 0.05
    other[3, 4, 1] += 1
    wrong = {
        "place": replace(written, ras_from_index=moved),
        "pixels": replace(written, volume=other),
        "slice": replace(written, volume=np.delete(written.volume, 0, axis=2)),
    }
    assert by_spine_monai(wrong[spoil]).verdict == "WRONG"


def test_the_page_of_the_matrix_is_up_to_date(tmp_path):
    import make_dicom_reference

    page = (ROOT / "docs" / "reference" / "dicom.md").read_text()
    assert page == make_dicom_reference.page(tmp_path), "run tests/tools/make_dicom_reference.py"
