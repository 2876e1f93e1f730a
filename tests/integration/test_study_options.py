"""What a user decides for a study: its series, and the size of a picture's pixels."""

import json
import shutil

import numpy as np
import pydicom
import pytest
from PIL import Image

from spine_monai.data.synthetic import make_study
from spine_monai.readers import read_study
from spine_monai.transforms.slices import upright

UID = "2.25.235430576201381898880311698409593654025"
PIXEL_MM = 0.47


@pytest.fixture(scope="module")
def picture(demo_study, tmp_path_factory):
    """The middle slice of the demo study as PNG."""
    pixels = upright(read_study(demo_study).image)[0, :, :, 2].numpy()
    path = tmp_path_factory.mktemp("picture") / "slice.png"
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def record_of(folder):
    (file,) = folder.glob("*/landmarks.json")
    return json.loads(file.read_text())


def test_a_named_series_is_used_and_the_reason_says_so(run, demo_study, tmp_path):
    code, said = run("localize", demo_study, "--series-uid", UID, "--out", tmp_path)
    assert code == 0
    assert "the user named it" in said
    assert "the user named it" in record_of(tmp_path)["series_choice"]


def test_an_unknown_series_fails_and_the_message_names_those_there_are(run, demo_study, tmp_path):
    code, said = run("localize", demo_study, "--series-uid", "1.2.3", "--out", tmp_path)
    assert code == 1
    assert "series_uid must be the SeriesInstanceUID of a series of the study: got 1.2.3" in said
    assert UID in said
    assert not list(tmp_path.glob("*/landmarks.json"))


def test_one_series_uid_goes_with_one_study(run, demo_study, picture, tmp_path):
    code, said = run("localize", demo_study, picture, "--series-uid", UID, "--out", tmp_path)
    assert code == 2
    assert "series_uid must go with one study: got 2" in said


def test_a_picture_gives_the_same_pixels_as_its_study_but_no_place_in_the_patient(
    run, demo_study, picture, tmp_path
):
    code, said = run(
        "localize", picture, "--pixel-spacing", PIXEL_MM, "--out", tmp_path / "picture"
    )
    assert code == 0, said
    run("localize", demo_study, "--slice", "2", "--out", tmp_path / "study")
    flat, full = (record_of(tmp_path / name) for name in ("picture", "study"))
    assert flat["source"]["kind"] == "picture"
    assert flat["source"]["has_patient_geometry"] is False
    assert full["source"]["has_patient_geometry"] is True
    assert "no_patient_geometry" in [warning["code"] for warning in flat["warnings"]]
    for one, other in zip(flat["landmarks"], full["landmarks"], strict=True):
        got, expected = ([p["position_px"][k] for k in ("column", "row")] for p in (one, other))
        np.testing.assert_allclose(got, expected, atol=0.5)
        assert one["position_lps_mm"][0] == 0


def test_a_picture_needs_the_size_of_its_pixels(run, picture, tmp_path):
    code, said = run("localize", picture, "--out", tmp_path)
    assert code == 1
    assert "slice.png must come with the size of its pixels" in said
    assert "--pixel-spacing MM" in said


def test_a_study_that_knows_its_spacing_takes_no_other(run, demo_study, tmp_path):
    code, said = run("localize", demo_study, "--pixel-spacing", "0.5", "--out", tmp_path)
    assert code == 1
    assert "other files say their own. Leave out --pixel-spacing" in said


@pytest.mark.parametrize("formats", ["sr", "gsps", "sc"])
def test_results_as_dicom_need_a_dicom_study(run, picture, tmp_path, formats):
    code, said = run(
        *("localize", picture, "--pixel-spacing", PIXEL_MM, "--out", tmp_path),
        *("--formats", formats),
    )
    assert code == 1
    assert "must be DICOM to get results as DICOM" in said
    assert not list(tmp_path.glob("slice"))


def test_every_format_lies_in_the_case_folder(run, demo_study, tmp_path):
    names = "json,csv,markups,overlay,report,sr,sc,gsps"
    code, said = run("localize", demo_study, "--out", tmp_path, "--formats", names)
    assert code == 0, said
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert {path.name for path in folder.iterdir()} == {
        *("landmarks.json", "landmarks.mrk.json", "overlay.png", "thumbnail.jpg"),
        *("landmarks.dcm", "overlay.dcm", "presentation.dcm"),
    }
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        *("landmarks.csv", "report.json", "report.html"),
    }
    _, said = run("localize", demo_study, "--out", tmp_path, "--formats", names)
    assert "1 skipped" in said
    (folder / "presentation.dcm").unlink()
    _, said = run("localize", demo_study, "--out", tmp_path, "--formats", names)
    assert "done again: presentation.dcm is missing" in said


def test_files_of_an_earlier_run_are_written_anew_so_that_all_agree(run, demo_study, tmp_path):
    names = "json,csv,markups,report,sr,gsps"
    run("localize", demo_study, "--out", tmp_path, "--formats", names)
    code, said = run("localize", demo_study, "--out", tmp_path, "--formats", "json", "--slice", "0")
    assert code == 0
    assert "done again" in said
    code, said = run("verify", tmp_path)
    assert code == 0, said
    assert said.count("agrees") == 5


def test_a_made_up_place_is_told_in_every_file(run, picture, tmp_path):
    run("localize", picture, "--pixel-spacing", PIXEL_MM, "--out", tmp_path)
    markups = json.loads((tmp_path / "slice" / "landmarks.mrk.json").read_text())
    points = markups["markups"][0]["controlPoints"]
    assert all("no patient geometry" in point["description"] for point in points)
    header, *rows = (tmp_path / "landmarks.csv").read_text().splitlines()
    assert header.endswith(",has_patient_geometry")
    assert all(row.endswith(",false") for row in rows)


@pytest.mark.parametrize("spacing", ["-1", "0", "nan", "inf"])
def test_a_pixel_spacing_is_a_positive_number(run, picture, tmp_path, spacing):
    code, said = run("localize", picture, f"--pixel-spacing={spacing}", "--out", tmp_path)
    assert code == 2
    assert "pixel_spacing_mm must be a positive number" in said


def test_a_volume_file_has_no_series_to_name(run, study, tmp_path):
    volume = study.write_nifti(tmp_path / "volume.nii.gz")
    code, said = run("localize", volume, "--series-uid", UID, "--out", tmp_path / "out")
    assert code == 1
    assert "volume.nii.gz must be DICOM to have one of its series named" in said


def test_a_negative_number_of_workers_is_refused(run, demo_study, tmp_path):
    code, said = run("localize", demo_study, "--out", tmp_path, "--workers", "-3")
    assert code == 2
    assert "num_workers must be 0 or more: got -3" in said


def test_formats_may_be_listed_with_blanks(run, demo_study, tmp_path):
    assert run("localize", demo_study, "--out", tmp_path, "--formats", "json, csv")[0] == 0


def test_a_volume_far_from_sagittal_is_warned_of(run, tmp_path):
    volume = make_study(oblique_deg=(0, 0, 38), seed=3).write_nifti(tmp_path / "turned.nii.gz")
    _, said = run("localize", volume, "--out", tmp_path / "out")
    assert "turned by 38 degrees from the sagittal plane" in said
    assert "oblique_stack" in [w["code"] for w in record_of(tmp_path / "out")["warnings"]]


def test_images_without_frame_of_reference_get_pictures_but_no_sr(
    run, demo_study, edit_all, tmp_path
):
    folder = shutil.copytree(demo_study, tmp_path / "study")
    edit_all(folder, FrameOfReferenceUID=None)
    code, said = run("localize", folder, "--out", tmp_path / "out", "--formats", "sc,gsps")
    assert code == 0, said
    assert run("verify", tmp_path / "out")[0] == 0
    code, said = run("localize", folder, "--out", tmp_path / "sr", "--formats", "sr")
    assert code == 1
    assert "must have FrameOfReferenceUID to get results as DICOM" in said


def test_a_named_part_of_a_series_has_results_of_its_own(run, demo_study, edit, tmp_path):
    for number in ("1", "2"):
        for file in sorted(shutil.copytree(demo_study, tmp_path / "study" / number).glob("*.dcm")):
            uid = f"{pydicom.dcmread(file).SOPInstanceUID}.{number}"
            edit(file, AcquisitionNumber=number, SOPInstanceUID=uid)
    for name in (f"{UID}:1", f"{UID}:2"):
        code, said = run(
            "localize", tmp_path / "study", "--series-uid", name, "--out", tmp_path / "out"
        )
        assert code == 0, said
    names = {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()}
    assert names == {f"{UID}_part1", f"{UID}_part2"}
