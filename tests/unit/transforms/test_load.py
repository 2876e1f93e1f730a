"""A study becomes a MetaTensor with its place and its source."""

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor

from spine_monai.readers import StudyError
from spine_monai.transforms import LoadSpineStudyd


def test_a_dicom_folder_becomes_a_volume_with_its_source(pristine_folder, itk_series):
    item = LoadSpineStudyd("image")({"image": pristine_folder, "id": "case-1"})
    image, oracle = item["image"], itk_series(pristine_folder)
    assert isinstance(image, MetaTensor)
    assert (image.shape, image.dtype) == ((1, 96, 80, 5), torch.float32)
    point_lps = nib.affines.apply_affine(image.affine.numpy(), (31, 17, 3)) * [-1, -1, 1]
    np.testing.assert_allclose(point_lps, oracle.TransformIndexToPhysicalPoint((17, 31, 3)))
    assert image[0, 31, 17, 3] == oracle[17, 31, 3]
    uids = [pydicom.dcmread(f).SOPInstanceUID for f in sorted(pristine_folder.iterdir())]
    assert item["image_instance_uids"] == uids
    assert item["image_source"]["kind"] == "dicom"
    assert item["id"] == "case-1"


def test_a_volume_file_has_no_instance_uids(study, tmp_path):
    path = study.write_nifti(tmp_path / "volume.nii.gz")
    item = LoadSpineStudyd("scan")({"scan": path})
    assert item["scan_instance_uids"] == []
    assert item["scan_source"] == {"kind": "file", "path": str(path)}
    np.testing.assert_allclose(item["scan"].affine, nib.load(path).affine)


def test_the_item_itself_is_not_changed(pristine_folder):
    item = {"image": pristine_folder}
    LoadSpineStudyd("image")(item)
    assert item == {"image": pristine_folder}


def test_a_missing_key_is_an_error_unless_allowed():
    assert LoadSpineStudyd("image", allow_missing_keys=True)({"id": "a"}) == {"id": "a"}
    with pytest.raises(KeyError, match="image"):
        LoadSpineStudyd("image")({"id": "a"})


def test_an_unusable_study_stays_a_study_error(tmp_path):
    with pytest.raises(StudyError, match="must hold DICOM images"):
        LoadSpineStudyd("image")({"image": tmp_path})
