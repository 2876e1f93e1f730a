"""Any study to one volume."""

import hashlib

import nibabel as nib
import numpy as np
import pydicom
import pytest

from spine_monai.data.synthetic import make_study
from spine_monai.readers import StudyError, locate_study, read_study


def save_nifti(path, array, affine):
    nib.save(nib.Nifti1Image(np.asarray(array, np.float32), affine), path)
    return path


def test_a_study_that_does_not_exist_is_refused(tmp_path, assert_refused):
    assert_refused(tmp_path / "nothing", "study must exist: .*nothing does not. Check the path")


def test_a_study_is_named_by_its_folder_or_file(pristine_folder, study, tmp_path):
    assert locate_study(pristine_folder).stem == pristine_folder.name
    assert locate_study(pristine_folder / "0002.dcm").stem == "0002"
    assert locate_study(str(study.write_nifti(tmp_path / "sub.t2.nii.gz"))).stem == "sub.t2"


def test_a_dicom_volume_says_where_it_came_from(pristine_folder, located):
    volume = read_study(located)
    headers = [pydicom.dcmread(file) for file in sorted(pristine_folder.iterdir())]
    assert volume.instance_uids == tuple(header.SOPInstanceUID for header in headers)
    assert volume.source == {
        "kind": "dicom",
        "path": str(pristine_folder),
        "StudyInstanceUID": headers[0].StudyInstanceUID,
        "SeriesInstanceUID": headers[0].SeriesInstanceUID,
        "FrameOfReferenceUID": headers[0].FrameOfReferenceUID,
    }


def test_a_file_volume_has_no_uids(study, tmp_path):
    path = study.write_nifti(tmp_path / "volume.nii.gz")
    volume = read_study(path)
    assert (volume.source, volume.instance_uids) == ({"kind": "file", "path": str(path)}, ())
    assert locate_study(path).reason == "the file holds one volume"


def test_dicom_and_nifti_of_a_study_are_one_volume(pristine_folder, study, tmp_path):
    by_dicom = read_study(pristine_folder).image
    by_nifti = read_study(study.write_nifti(tmp_path / "volume.nii.gz")).image
    assert by_dicom.shape == (1, 96, 80, 5)
    np.testing.assert_array_equal(by_dicom.numpy(), by_nifti.numpy())
    np.testing.assert_allclose(by_dicom.affine, by_nifti.affine, atol=1e-4)


def test_the_digest_is_of_the_files_that_are_read(located, dicom_folder):
    lines = sorted(hashlib.sha256(f.read_bytes()).hexdigest() for f in located.files)
    assert located.digest == hashlib.sha256("\n".join(lines).encode()).hexdigest()
    (dicom_folder / "notes.txt").write_text("not part of the series")
    (dicom_folder / "0001.dcm").rename(dicom_folder / "renamed.dcm")
    assert locate_study(dicom_folder).digest == located.digest
    (dicom_folder / "0002.dcm").write_bytes((dicom_folder / "0002.dcm").read_bytes()[:-2] + b"!!")
    assert locate_study(dicom_folder).digest != located.digest


def test_a_derived_series_comes_with_a_warning(demo_study, located):
    (warning,) = locate_study(demo_study).warnings
    assert warning["code"] == "derived_series"
    assert located.warnings == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_are_refused(study, tmp_path, assert_refused, value):
    array = study.volume.astype(np.float32)
    array[3, 5, 2] = array[4, 5, 2] = value
    path = save_nifti(tmp_path / "holes.nii.gz", array, study.ras_from_index)
    assert_refused(path, "must hold finite pixels: got 2 that are NaN or infinite")


def test_an_image_of_one_value_is_refused(dicom_folder, edit_all, assert_refused):
    edit_all(dicom_folder, PixelData=b"\x07\x00" * (96 * 80))
    assert_refused(dicom_folder, "must hold an image: all its pixels have the value 7")


def test_an_axis_without_length_is_refused(study, tmp_path, assert_refused):
    affine = study.ras_from_index.copy()
    affine[:3, 1] = 0
    path = save_nifti(tmp_path / "flat.nii", study.volume, np.eye(4))
    image = nib.load(path)
    image.header["srow_x"], image.header["srow_y"], image.header["srow_z"] = affine[:3]
    with path.open("r+b") as stream:
        image.header.write_to(stream)
    assert_refused(path, r"must have a positive spacing: got \[2.8, 0.0, 4.0\] mm")


def test_skewed_axes_are_refused(study, tmp_path, assert_refused):
    affine = study.ras_from_index.copy()
    affine[:3, 1] = 3 * affine[:3, 0] + affine[:3, 1]
    path = save_nifti(tmp_path / "skewed.nii", study.volume, affine)
    assert_refused(path, "must have three axes at right angles: its directions are skewed")


def test_no_message_quotes_what_the_header_says_about_the_patient(dicom_folder):
    (dicom_folder / "0002.dcm").unlink()
    with pytest.raises(StudyError, match="series 1 ") as caught:
        read_study(dicom_folder)
    header = pydicom.dcmread(dicom_folder / "0001.dcm")
    assert (str(header.PatientName), header.SeriesDescription) == ("Doe^Jane", "Jane Doe sag T2")
    assert "Jane" not in str(caught.value)


def test_a_volume_of_one_sagittal_slice_is_refused(tmp_path):
    path = make_study(shape=(24, 20, 1)).write_nifti(tmp_path / "one.nii.gz")
    with pytest.raises(StudyError, match="must have at least 2 sagittal slices: got 1"):
        read_study(path)


def test_an_axial_volume_is_refused(tmp_path):
    path = make_study(shape=(24, 40, 30), spacing_mm=(6, 1, 1)).write_nifti(tmp_path / "ax.nii.gz")
    with pytest.raises(StudyError, match=r"its sagittal pixels are 6.0 mm long, its slices 1.0 mm"):
        read_study(path)
