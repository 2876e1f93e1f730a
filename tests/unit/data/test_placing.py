"""Points and their image become one item; nibabel says where the slices lie."""

import nibabel as nib
import numpy as np
import pydicom
import pytest

from spine_monai.data.conversion import Conversion, LeftOutError
from spine_monai.data.placing import placed_item
from spine_monai.landmarks import LUMBAR11
from spine_monai.readers import StudyError


@pytest.fixture
def conversion():
    return Conversion(LUMBAR11)


@pytest.fixture
def image(even_study, tmp_path):
    return even_study.write_nifti(tmp_path / "t2.nii.gz")


def codes(conversion):
    return [(remark.code, remark.landmark) for remark in conversion.remarks]


def test_the_item_holds_the_points_and_the_slice_nearest_to_them(even_study, image, conversion):
    item = placed_item("a", image, even_study.points_lps, conversion)
    ras = np.stack(list(even_study.points_lps.values())) * [-1, -1, 1]
    slices = nib.affines.apply_affine(np.linalg.inv(even_study.ras_from_index), ras)[:, 2]
    assert item["slice_index"] == round(slices.mean()) == 4
    assert (item["id"], item["subject"], item["image"]) == ("a", "a", str(image))
    assert item["points_lps"]["L3"] == even_study.points_lps["L3"].tolist()
    assert not conversion.remarks


def test_slices_are_counted_to_the_right_whatever_the_file_stores(
    even_study, image, conversion, tmp_path
):
    mirrored = even_study.ras_from_index @ np.diag([1, 1, -1, 1.0])
    mirrored[:3, 3] += even_study.ras_from_index[:3, 2] * 5
    nib.save(nib.Nifti1Image(even_study.volume[..., ::-1], mirrored), tmp_path / "m.nii")
    one = placed_item("a", image, even_study.points_lps, conversion)
    other = placed_item("a", tmp_path / "m.nii", even_study.points_lps, conversion)
    assert one["slice_index"] == other["slice_index"] == 4


def test_levels_outside_the_set_are_kept_and_missing_ones_are_null(even_study, image, conversion):
    points = {name: even_study.points_lps[name] for name in ("L1", "L2")}
    points["T12"] = even_study.points_lps["L1"] + [0, 0, 32]
    item = placed_item("a", image, points, conversion)
    known = [name for name, point in item["points_lps"].items() if point is not None]
    assert known == ["L1", "L2", "T12"]
    assert len(item["points_lps"]) == 12
    assert codes(conversion) == [
        ("landmark_missing", name) for name in LUMBAR11.names if name not in points
    ]


def test_a_point_outside_the_picture_is_told_and_kept(even_study, image, conversion):
    points = dict(even_study.points_lps)
    points["L5-S1"] = points["L5-S1"] - [0, 0, 300.0]
    item = placed_item("a", image, points, conversion)
    assert codes(conversion) == [("point_outside_image", "L5-S1")]
    assert item["points_lps"]["L5-S1"] == points["L5-S1"].tolist()


def test_points_that_all_lie_elsewhere_are_of_another_image(even_study, image, conversion):
    points = {name: point + 1000 for name, point in even_study.points_lps.items()}
    with pytest.raises(LeftOutError, match=r"none does in .*Is it the right image") as caught:
        placed_item("a", image, points, conversion)
    assert caught.value.code == "points_outside_image"


def test_names_in_the_wrong_order_are_told(even_study, image, conversion):
    points = dict(even_study.points_lps)
    points["L1"], points["L2"] = points["L2"], points["L1"]
    placed_item("a", image, points, conversion)
    assert ("landmarks_out_of_order", "L1") in codes(conversion)


def test_points_of_other_landmarks_only_are_left_out(even_study, image, conversion):
    with pytest.raises(LeftOutError, match="a must have a point named as one of lumbar11: got S2"):
        placed_item("a", image, {"S2": even_study.points_lps["L5"]}, conversion)


@pytest.fixture
def two_series(even_study, write_series, tmp_path):
    """A T2 and a T1 series in one folder; gives the folder and their SOPInstanceUIDs."""
    files = [
        *write_series(even_study, tmp_path / "dicom" / "t2", seed="t2"),
        *write_series(even_study, tmp_path / "dicom" / "t1", seed="t1", EchoTime="10"),
    ]
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    return tmp_path / "dicom", headers[0], headers[-1]


def test_the_annotated_series_is_used_and_named_whatever_it_is(even_study, two_series, conversion):
    folder, t2, t1 = two_series
    for header, expected in ((t2, []), (t1, ["overruled_choice"])):
        conversion.remarks.clear()
        named = {"series_uid": header.SeriesInstanceUID, "instance_uids": [header.SOPInstanceUID]}
        item = placed_item("a", folder, even_study.points_lps, conversion, **named)
        assert item["series_uid"] == header.SeriesInstanceUID
        assert [remark.code for remark in conversion.remarks] == expected


def test_an_annotated_slice_of_another_series_is_told(even_study, two_series, conversion):
    folder, t2, t1 = two_series
    named = {"series_uid": t2.SeriesInstanceUID}
    named["instance_uids"] = [t2.SOPInstanceUID, t1.SOPInstanceUID]
    with pytest.raises(LeftOutError, match=f"all slices .* {t1.SOPInstanceUID} is of") as caught:
        placed_item("a", folder, even_study.points_lps, conversion, **named)
    assert caught.value.code == "slice_not_in_series"


def test_an_image_that_cannot_be_read_is_an_error(even_study, image, conversion):
    image.write_bytes(b"")
    with pytest.raises(StudyError, match=r"t2\.nii\.gz"):
        placed_item("a", image, even_study.points_lps, conversion)


@pytest.mark.parametrize(("patient", "subject"), [("ID-7", "patient-"), ("", "2.25.")])
def test_the_subject_of_dicom_is_the_patient_else_the_study(
    even_study, write_series, conversion, tmp_path, patient, subject
):
    write_series(even_study, tmp_path / "dicom", seed="a", PatientID=patient)
    item = placed_item("a", tmp_path / "dicom", even_study.points_lps, conversion)
    assert item["subject"].startswith(subject)
