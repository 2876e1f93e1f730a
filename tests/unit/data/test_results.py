"""Our own results in: the same points, the same slice, and the image where it was."""

import json

import numpy as np
import pytest

from spine_monai.data import datalist_from_results, datalist_from_tianchi, training_items
from spine_monai.data.conversion import Conversion
from spine_monai.data.results import read_results
from spine_monai.landmarks import LUMBAR11
from spine_monai.transforms import LoadSpineStudyd


@pytest.fixture
def item(annotate, tmp_path):
    """A DICOM study of one series, with a patient; the second slice is annotated."""
    _, annotation = annotate(tmp_path / "dicom", 1, PatientID="ID-1")
    return datalist_from_tianchi([annotation], tmp_path / "dicom", LUMBAR11).items[0]


def test_points_slice_and_patient_come_back(item, write_result, tmp_path):
    write_result(item, tmp_path / "results")
    conversion = datalist_from_results(tmp_path / "results", LUMBAR11)
    (found,) = conversion.items
    assert not conversion.remarks
    assert {key: found[key] for key in ("id", "subject", "slice_index")} == {
        key: item[key] for key in ("id", "subject", "slice_index")
    }
    for name in LUMBAR11.names:
        np.testing.assert_allclose(found["points_lps"][name], item["points_lps"][name])
    assert found["image"] == item["image"]


def test_of_several_series_the_one_of_the_result_is_kept(
    item, write_result, write_series, even_study, tmp_path
):
    """A second T2 came to lie beside it, so that the folder alone names no series any more."""
    write_result(item | {"image": str(tmp_path / "dicom")}, tmp_path / "results")
    write_series(even_study, tmp_path / "dicom" / "second", seed="second")
    (found,) = datalist_from_results(tmp_path / "results", LUMBAR11).items
    assert found["image"] == str(tmp_path / "dicom")
    assert found["series_uid"] == item["series_uid"] == item["id"]
    loaded = LoadSpineStudyd("image")(training_items([found], LUMBAR11)[0])
    assert loaded["image_source"]["SeriesInstanceUID"] == item["id"]


def test_a_volume_file_is_found_again(even_study, write_result, tmp_path):
    image = even_study.write_nifti(tmp_path / "a.nii")
    write_result(even_study.datalist_item(image, case="a", fold=0), tmp_path / "results")
    (found,) = datalist_from_results(tmp_path / "results", LUMBAR11).items
    assert (found["id"], found["subject"], found["image"]) == ("a", "a", str(image))


def test_absent_landmarks_stay_absent_and_uncertain_ones_count_if_wanted(
    item, write_result, tmp_path
):
    write_result(item, tmp_path / "results", absent=["L3"], uncertain=["L4"])
    both = datalist_from_results(tmp_path / "results", LUMBAR11)
    assert both.items[0]["points_lps"]["L3"] is None
    assert both.items[0]["points_lps"]["L4"] is not None
    sure = datalist_from_results(tmp_path / "results", LUMBAR11, statuses=("found",))
    assert sure.items[0]["points_lps"]["L4"] is None
    remark = next(one for one in sure.remarks if one.code == "status_not_wanted")
    assert remark.landmark == "L4"
    assert "is uncertain. It is left out" in remark.message


def test_an_image_that_is_gone_is_told(even_study, write_result, tmp_path):
    image = even_study.write_nifti(tmp_path / "a.nii")
    write_result(even_study.datalist_item(image, case="a", fold=0), tmp_path / "results")
    image.unlink()
    (remark,) = datalist_from_results(tmp_path / "results", LUMBAR11).left_out
    assert (remark.case, remark.code) == ("a", "image_not_found")
    assert f"{image} must still be there" in remark.message


def test_the_result_of_a_picture_is_told(even_study, write_result, tmp_path):
    image = even_study.write_nifti(tmp_path / "a.nii")
    item = even_study.datalist_item(image, case="a", fold=0)
    record = write_result(item, tmp_path / "results")
    record["source"]["kind"] = "picture"
    (tmp_path / "results" / "a" / "landmarks.json").write_text(json.dumps(record))
    (remark,) = datalist_from_results(tmp_path / "results", LUMBAR11).left_out
    assert (remark.case, remark.code) == ("a", "image_is_picture")
    assert f"{image} must be DICOM or a volume file to be in a datalist" in remark.message


def test_another_image_in_its_place_is_told(item, write_result, write_series, study, tmp_path):
    write_result(item | {"image": str(tmp_path / "dicom")}, tmp_path / "results")
    for file in (tmp_path / "dicom").iterdir():
        file.unlink()
    write_series(study, tmp_path / "dicom", seed="other")
    (remark,) = datalist_from_results(tmp_path / "results", LUMBAR11).left_out
    assert remark.code == "study_not_found"


def test_a_file_that_is_no_result_is_told(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "landmarks.json").write_text(json.dumps({"format": "other"}))
    conversion = Conversion(LUMBAR11)
    assert read_results(tmp_path, conversion) == []
    (remark,) = conversion.left_out
    assert (remark.case, remark.code) == ("a", "unreadable_result")
    assert "landmarks.json must be" in remark.message


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must be a folder of `spine-monai localize`: .* holds"):
        read_results(tmp_path, Conversion(LUMBAR11))
