"""The table and the JSON of a study's series."""

import json
from collections import Counter
from pathlib import Path

import pytest

from spine_monai.readers.choice import choose
from spine_monai.readers.description import content_of, content_without_series, table_of
from spine_monai.readers.grouping import group_series
from spine_monai.readers.headers import Ignored
from spine_monai.readers.index import StudyIndex


@pytest.fixture
def described(stack):
    """Make the index of a study with a chosen series, and one of two parts."""

    def make(**of_chosen):
        images = stack(3, "t2", SeriesInstanceUID="1.2", SeriesNumber=7, **of_chosen)
        images += stack(2, "a", SeriesInstanceUID="1.1", EchoTime=12, SeriesNumber=3)
        images += stack(1, "b", SeriesInstanceUID="1.1", EchoTime=30, PixelSpacing=None)
        ignored = Counter({Ignored.NOT_DICOM: 4, Ignored.DAMAGED: 1})
        index = StudyIndex(Path("study"), group_series(images), ignored, (Path("study/half.dcm"),))
        return index, choose(index)

    return make


def test_every_series_has_a_row_and_its_name_below(described):
    lines = table_of(*described()).splitlines()
    assert lines[0].split()[:5] == ["series", "plane", "weighting", "slices", "matrix"]
    assert lines[1].startswith("3 (1/2)  sagittal 0°  PD         2       448 x 384  0.625 x 0.75")
    assert "4.50" in lines[1]
    assert lines[2] == "    1.1:1"
    assert lines[3].startswith("? (2/2)  sagittal 0°")
    assert "b-0.dcm must have 2 finite values of PixelSpacing: got []" in lines[3]
    assert lines[4] == "    1.1:2"
    assert lines[5].startswith("7        sagittal 0°  T2         3       448 x 384")
    assert lines[5].endswith("CHOSEN")
    assert lines[6] == "    1.2"
    assert lines[7] == "ignored files: 4 not DICOM, 1 damaged"
    assert lines[8] == "damaged, the first of them: study/half.dcm"
    assert lines[9].startswith("series 7 (1.2): the sagittal T2 series of 3 found; T2 by TE 100 ms")


def test_the_table_warns_of_what_should_be_known(described):
    table = table_of(*described(ImageType=["DERIVED", "PRIMARY"]))
    assert "\nwarning: the series is DERIVED" in table


def test_the_table_without_choice_says_how_to_go_on(described):
    assert table_of(*described(EchoTime=12)).endswith(
        "no sagittal T2 series: none of 3 is one. One can be named by --series-uid."
    )


def test_the_json_says_the_same_with_uids_and_counts(described):
    content = content_of(*described())
    assert json.loads(json.dumps(content)) == content
    assert (content["format"], content["format_version"]) == ("spine_monai.series", 1)
    assert (content["study"], content["chosen"]) == ("study", "1.2")
    assert content["ignored_files"] == {
        "not_dicom": 4,
        "dicomdir": 0,
        "damaged": 1,
        "no_image": 0,
    }
    assert content["damaged_files"] == ["study/half.dcm"]
    _, first, chosen = content["series"]
    assert first["pixel_spacing_mm"] is None
    assert (first["part"], first["parts"], first["name"]) == (2, 2, "1.1:2")
    assert first["verdict"] == first["failed_rule"]
    assert chosen == {
        "SeriesInstanceUID": "1.2",
        "StudyInstanceUID": None,
        "SeriesNumber": 7,
        "name": "1.2",
        "part": 1,
        "parts": 1,
        "plane": "sagittal",
        "oblique_deg": 0.0,
        "weighting": "T2",
        "evidence": "TE 100 ms, TR 3000 ms",
        "slices": 3,
        "rows": 448,
        "columns": 384,
        "pixel_spacing_mm": [0.625, 0.75],
        "slice_spacing_mm": [4.5, 4.5],
        "files": 3,
        "is_chosen": True,
        "failed_rule": None,
        "verdict": "CHOSEN",
    }


def test_the_json_without_choice_names_none(described):
    content = content_of(*described(EchoTime=12))
    assert (content["chosen"], content["warnings"]) == (None, [])
    assert not any(one["is_chosen"] for one in content["series"])


def test_a_path_without_series_has_a_json_too():
    content = content_without_series(Path("study"), "no DICOM")
    assert (content["chosen"], content["series"], content["reason"]) == (None, [], "no DICOM")
