import json

import pytest

from spine_monai.workflows.outputs import check_formats, set_aside, why_not_finished

EXPECTED = {"bundle": {"version": "1"}, "options": {}}


@pytest.fixture
def folder(tmp_path):
    content = {"format": "spine_monai.landmarks", "format_version": 1, "source": {"sha256": "abc"}}
    content |= {"case": "a", "landmark_set": "lumbar11", "slice": {}, "landmarks": []}
    (tmp_path / "landmarks.json").write_text(json.dumps(content | EXPECTED))
    (tmp_path / "landmarks.mrk.json").write_text("{}")
    return tmp_path


def test_a_case_with_all_its_files_is_finished(folder):
    assert why_not_finished(folder, "abc", EXPECTED, ("json", "csv", "markups")) is None


def test_every_reason_to_do_a_case_again_is_said(folder):
    assert why_not_finished(folder, "xyz", EXPECTED, ("json",)) == "its study has changed"
    other = EXPECTED | {"options": {"min_confidence": 0.9}}
    assert why_not_finished(folder, "abc", other, ("json",)) == "it was done with another options"
    reason = why_not_finished(folder, "abc", EXPECTED, ("json", "overlay"))
    assert reason == "overlay.png is missing"
    (folder / "landmarks.json").write_text("{")
    assert "no readable" in why_not_finished(folder, "abc", EXPECTED, ("json",))


def test_files_set_aside_are_those_of_results_alone(folder):
    (folder / "notes.txt").write_text("mine")
    assert set_aside(folder)
    names = {"landmarks.json.outdated", "landmarks.mrk.json.outdated", "notes.txt"}
    assert {path.name for path in folder.iterdir()} == names
    assert not set_aside(folder)
    assert not set_aside(folder / "none")


def test_an_unknown_format_is_refused():
    assert check_formats(["csv"]) == ("csv",)
    with pytest.raises(ValueError, match=r"formats must be among json.*: got pdf, tiff"):
        check_formats(["tiff", "pdf"])
