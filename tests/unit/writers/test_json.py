"""``landmarks.json``: what is in it, and that it comes back."""

import json
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from spine_monai import __version__
from spine_monai.landmarks import LUMBAR11, LandmarkSet
from spine_monai.readers import locate_study
from spine_monai.transforms import LoadSpineStudyd, SagittalSliced
from spine_monai.writers import Result, case_content, case_text
from spine_monai.writers.json import points_lps_of, read_case

BUNDLE = {"name": "spine_landmarks", "version": "0.1.0", "weights_sha256": {"model.pt": "ab"}}


@pytest.fixture
def content(result, located):
    return json.loads(case_text(case_content(result, located, BUNDLE, {"min_confidence": 0.5})))


def entry_of(content, name):
    return next(entry for entry in content["landmarks"] if entry["name"] == name)


def test_the_record_says_what_made_it(content, located):
    assert (content["format"], content["format_version"]) == ("spine_monai.landmarks", 1)
    assert content["software"] == {"name": "spine_monai", "version": __version__}
    assert (content["bundle"], content["options"]) == (BUNDLE, {"min_confidence": 0.5})
    assert (content["case"], content["landmark_set"]) == ("case-1", "lumbar11")
    assert (content["coordinate_system"], content["unit"]) == ("LPS", "mm")
    assert content["calibrated"] is False
    assert content["series_choice"] == located.reason
    assert "not for clinical use" in content["use"]


def test_the_source_names_the_very_instance(content, located, pristine_folder):
    header = pydicom.dcmread(pristine_folder / "0003.dcm")
    assert content["source"] == {
        "kind": "dicom",
        "path": str(pristine_folder),
        "sha256": located.digest,
        "has_patient_geometry": True,
        "StudyInstanceUID": header.StudyInstanceUID,
        "SeriesInstanceUID": header.SeriesInstanceUID,
        "FrameOfReferenceUID": header.FrameOfReferenceUID,
        "SOPInstanceUID": header.SOPInstanceUID,
    }


def test_landmarks_stand_in_the_order_of_the_registry(content, landmarks):
    assert tuple(entry["name"] for entry in content["landmarks"]) == LUMBAR11.names
    assert tuple(entry["kind"] for entry in content["landmarks"]) == LUMBAR11.kinds
    assert tuple(entry["status"] for entry in content["landmarks"]) == landmarks.statuses


def test_values_are_those_of_the_landmarks(content, landmarks):
    for entry, point, confidence, radius in zip(
        content["landmarks"],
        landmarks.points_lps,
        landmarks.confidence,
        landmarks.radius95_mm,
        strict=True,
    ):
        if entry["status"] != "absent":
            assert entry["position_lps_mm"] == point.tolist()
            assert (entry["confidence"], entry["radius95_mm"]) == (confidence, radius)


def test_an_absent_landmark_has_no_values(content):
    assert entry_of(content, "L3") == {
        "name": "L3",
        "kind": "vertebra",
        "status": "absent",
        "position_lps_mm": None,
        "position_px": None,
        "confidence": None,
        "radius95_mm": None,
    }


def test_pixels_are_those_of_the_native_slice(content, landmarks, pristine_folder):
    """SimpleITK, on the one file that the record names, gives the same column and row."""
    image = sitk.ReadImage(str(pristine_folder / "0003.dcm"))
    for entry in content["landmarks"]:
        if entry["status"] != "absent":
            column, row, _ = image.TransformPhysicalPointToContinuousIndex(entry["position_lps_mm"])
            assert entry["position_px"] == pytest.approx({"column": column, "row": row}, abs=1e-4)


def test_the_slice_is_described_for_others(content, pristine_folder):
    image = sitk.ReadImage(str(pristine_folder / "0003.dcm"))
    frame = np.array(content["slice"]["lps_from_column_row"])
    expected = image.TransformIndexToPhysicalPoint((13, 57, 0))
    np.testing.assert_allclose((frame @ [13, 57, 0, 1])[:3], expected, atol=1e-5)
    assert [content["slice"][key] for key in ("index", "rows", "columns")] == [2, 96, 80]


def test_uncertain_and_absent_landmarks_are_warned_of(content):
    (warning,) = content["warnings"]
    assert warning["code"] == "uncertain_landmarks"
    assert warning["message"].startswith("look at L3, L5:")


def test_nothing_is_warned_of_where_all_is_found(result, located, study):
    points_lps = np.stack([study.points_lps[name] for name in LUMBAR11.names])
    sure = LandmarkSet(LUMBAR11, points_lps, np.full(11, 0.9), np.full(11, 3.0))
    content = case_content(replace(result, landmarks=sure), located, BUNDLE, {})
    assert content["warnings"] == []


def test_a_level_in_doubt_is_warned_of(result, located, study):
    points_lps = np.stack([study.points_lps[name] for name in LUMBAR11.names])
    sure = (np.full(11, 0.9), np.full(11, 3.0))
    doubtful = LandmarkSet(LUMBAR11, points_lps, *sure, level_in_doubt=True)
    content = case_content(replace(result, landmarks=doubtful), located, BUNDLE, {})
    (warning,) = content["warnings"]
    assert warning["code"] == "level_in_doubt"
    assert "L5-S1 is seen at another level too" in warning["message"]


def test_warnings_about_the_study_come_first(result, demo_study):
    content = case_content(result, locate_study(demo_study), BUNDLE, {})
    codes = [warning["code"] for warning in content["warnings"]]
    assert codes == ["derived_series", "uncertain_landmarks"]


def test_a_volume_file_has_null_for_the_uids(study, landmarks, tmp_path):
    path = study.write_nifti(tmp_path / "volume.nii.gz")
    item = SagittalSliced("image")(LoadSpineStudyd("image")({"image": path}))
    result = Result("v", landmarks, item["image_source"], item["slice"], item["native_image"])
    source = case_content(result, locate_study(path), BUNDLE, {})["source"]
    uids = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID")
    assert [source[key] for key in uids] == [None] * 4
    assert source["kind"] == "file"


def test_a_record_that_was_written_reads_back(result, located, landmarks, tmp_path):
    content = case_content(result, located, BUNDLE, {})
    (tmp_path / "landmarks.json").write_text(case_text(content))
    read = read_case(tmp_path / "landmarks.json")
    assert read == content
    np.testing.assert_array_equal(points_lps_of(read, LUMBAR11.names), landmarks.points_lps)


def test_points_come_in_the_order_asked_for(content, landmarks):
    points_lps = points_lps_of(content, ["L5", "L3", "S1", "L1"])
    index = LUMBAR11.names.index
    expected = [
        landmarks.points_lps[index("L5")],
        [np.nan] * 3,
        [np.nan] * 3,
        landmarks.points_lps[index("L1")],
    ]
    np.testing.assert_array_equal(points_lps, expected)


def test_a_number_that_json_lacks_is_never_written():
    with pytest.raises(ValueError, match="not JSON compliant"):
        case_text({"confidence": np.nan})


@pytest.mark.parametrize("text", ["not json", "[]", "{}", '{"format": "spine_monai.landmarks"}'])
def test_a_file_that_is_no_record_is_refused(tmp_path, text):
    (tmp_path / "landmarks.json").write_text(text)
    with pytest.raises(
        ValueError, match=r"landmarks\.json must be a landmarks file of spine_monai"
    ):
        read_case(tmp_path / "landmarks.json")


def test_a_record_of_another_version_is_refused(tmp_path):
    text = json.dumps({"format": "spine_monai.landmarks", "format_version": 2})
    (tmp_path / "landmarks.json").write_text(text)
    with pytest.raises(ValueError, match=r"version 1: got spine_monai\.landmarks 2"):
        read_case(tmp_path / "landmarks.json")


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "landmarks.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="must be a landmarks file of spine_monai: UnicodeDecode"):
        read_case(tmp_path / "landmarks.json")
