"""The phantom's truth, looked up by nibabel and SimpleITK in the files that it writes."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from spine_monai.data.synthetic import make_study
from spine_monai.landmarks import LUMBAR11

BRIGHTNESS = {"disc": 700, "vertebra": 350}


@pytest.mark.parametrize("options", [{}, {"oblique_deg": (8, -6, 12), "curve_mm": 6, "seed": 3}])
def test_each_landmark_lies_within_its_level_in_nifti(tmp_path, options):
    study = make_study(**options)
    image = nib.load(study.write_nifti(tmp_path / "study.nii.gz"))
    voxels = image.get_fdata()
    index_from_ras = np.linalg.inv(image.affine)
    for landmark in LUMBAR11.landmarks:
        ras = study.points_lps[landmark.name] * [-1, -1, 1]
        index = nib.affines.apply_affine(index_from_ras, ras).round().astype(int)
        assert voxels[tuple(index)] == BRIGHTNESS[landmark.kind]


def test_each_landmark_lies_within_its_level_in_dicom(study, pristine_folder, itk_series):
    image = itk_series(pristine_folder)
    for landmark in LUMBAR11.landmarks:
        index = image.TransformPhysicalPointToIndex(study.points_lps[landmark.name])
        assert image[index] == BRIGHTNESS[landmark.kind]


def test_landmarks_go_from_head_to_foot_a_pitch_apart(study):
    points = np.stack([study.points_lps[name] for name in LUMBAR11.names])
    assert (np.diff(points[:, 2]) < 0).all()
    rotation_free = make_study(seed=3)
    along = np.stack([rotation_free.points_lps[name] for name in LUMBAR11.names])[:, 2]
    np.testing.assert_allclose(np.diff(along), -16.0)


def test_the_affine_has_the_spacing_and_right_angles_and_is_turned(study):
    columns = study.ras_from_index[:3, :3]
    np.testing.assert_allclose(columns.T @ columns, np.diag([2.8, 2.4, 4.0]) ** 2, atol=1e-9)
    assert "".join(nib.aff2axcodes(study.ras_from_index)) == "IPR"
    away = np.degrees(np.arccos(columns[0, 2] / 4.0))
    assert 10 < away < 16


def test_the_spine_leaves_the_middle_slice_where_it_is_curved():
    def slices_of(study):
        ras = np.stack(list(study.points_lps.values())) * [-1, -1, 1]
        return nib.affines.apply_affine(np.linalg.inv(study.ras_from_index), ras)[:, 2]

    np.testing.assert_allclose(slices_of(make_study()), 2.0)
    curved = slices_of(make_study(curve_mm=6))
    assert (curved.min(), curved.max()) == pytest.approx((2.0, 3.5))
    assert LUMBAR11.names[curved.argmax()] == "L3"


def test_the_seed_decides_everything():
    first, again, other = make_study(seed=1), make_study(seed=1), make_study(seed=2)
    np.testing.assert_array_equal(first.volume, again.volume)
    assert not np.array_equal(first.volume, other.volume)
    assert not np.array_equal(first.points_lps["L3"], other.points_lps["L3"])


def test_a_study_can_be_listed(study, tmp_path):
    item = study.datalist_item(tmp_path / "a.nii", case="a", fold=2)
    assert (item["id"], item["subject"], item["fold"]) == ("a", "a", 2)
    assert item["image"] == str(tmp_path / "a.nii")
    assert item["points_lps"]["L5-S1"] == study.points_lps["L5-S1"].tolist()


def test_the_dicom_study_is_an_original_t2_unless_told_otherwise(tmp_path):
    small = make_study(shape=(12, 10, 2))
    (file, _) = small.write_dicom(tmp_path, seed="a", EchoTime="20")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    reader.ReadImageInformation()
    assert reader.GetMetaData("0008|0008").strip() == "ORIGINAL\\PRIMARY"
    assert float(reader.GetMetaData("0018|0080")) == 3000
    assert float(reader.GetMetaData("0018|0081")) == 20
