"""The slice of real slabs whose middle is wrong, through the command line."""

import json
import shutil

import numpy as np
import pydicom
import pytest

RIGHT = 2  # of the five slices of the demo study, by its reference landmarks


@pytest.fixture
def towards_right(demo_study):
    """The demo study's files in the order in which slices are counted."""
    files = list(demo_study.glob("*.dcm"))
    return sorted(files, key=lambda f: -float(pydicom.dcmread(f).ImagePositionPatient[0]))


def localized(run, files, tmp_path, *options):
    folder = tmp_path / "study"
    folder.mkdir()
    for file in files:
        shutil.copy(file, folder)
    code, said = run("localize", folder, "--out", tmp_path / "out", *options)
    assert code == 0, said
    (file,) = (tmp_path / "out").glob("*/landmarks.json")
    return json.loads(file.read_text()), said


@pytest.mark.parametrize(("kept", "expected"), [((1, 5), 1), ((0, 4), 2), ((2, 5), 0), ((0, 3), 2)])
def test_the_right_slice_is_found_where_it_is_not_the_middle_one(
    run, towards_right, tmp_path, kept, expected
):
    files = towards_right[slice(*kept)]
    content, said = localized(run, files, tmp_path)
    assert content["slice"]["index"] == expected
    uid = pydicom.dcmread(towards_right[RIGHT]).SOPInstanceUID
    assert content["source"]["SOPInstanceUID"] == uid
    assert f"slice {expected} of {len(files)} shows the canal best" in content["slice"]["choice"]
    assert content["slice"]["choice"] in said


def test_a_named_slice_is_used(run, towards_right, tmp_path):
    content, said = localized(run, towards_right, tmp_path, "--slice", "4")
    assert content["slice"]["index"] == 4
    assert "slice 4 of 5 was looked at alone" in said


def test_a_slice_outside_the_study_fails_that_case(run, demo_study, tmp_path):
    code, said = run("localize", demo_study, "--out", tmp_path, "--slice", "9")
    assert code == 1
    assert "slice_index must lie within the 5 slices of the volume: got 9" in said


def test_all_slices_give_each_landmark_its_own(run, towards_right, tmp_path):
    content, _ = localized(run, towards_right, tmp_path, "--slices", "all")
    headers = {h.SOPInstanceUID: h for h in map(pydicom.dcmread, towards_right)}
    for entry in content["landmarks"]:
        header = headers[entry["slice"]["SOPInstanceUID"]]
        row, column = np.reshape(np.array(header.ImageOrientationPatient, float), (2, 3))
        offset = np.array(entry["position_lps_mm"]) - np.array(header.ImagePositionPatient, float)
        assert abs(offset @ np.cross(row, column)) < 1e-3
        between_rows, between_columns = map(float, header.PixelSpacing)
        assert offset @ row / between_columns == pytest.approx(entry["position_px"]["column"])
        assert offset @ column / between_rows == pytest.approx(entry["position_px"]["row"])


def test_another_way_to_choose_slices_does_the_case_again(run, demo_study, tmp_path):
    run("localize", demo_study, "--out", tmp_path)
    _, said = run("localize", demo_study, "--out", tmp_path)
    assert "1 skipped" in said
    _, said = run("localize", demo_study, "--out", tmp_path, "--slices", "all")
    assert "done again: it was done with another options" in said
