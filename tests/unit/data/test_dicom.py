"""Written DICOM, as pydicom and SimpleITK read it."""

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from spine_monai.data.dicom import write_dicom_series


@pytest.fixture
def files(study, tmp_path):
    return write_dicom_series(study.volume, study.ras_from_index, tmp_path / "new", seed="one")


def test_pixels_and_places_are_those_that_were_given(files, study, itk_series):
    image = itk_series(files[0].parent)
    array = sitk.GetArrayFromImage(image).transpose(1, 2, 0)
    np.testing.assert_array_equal(array, study.volume)
    for row, column, number in ((0, 0, 0), (95, 0, 0), (0, 79, 0), (0, 0, 4), (50, 20, 2)):
        ras = nib.affines.apply_affine(study.ras_from_index, (row, column, number))
        got = image.TransformIndexToPhysicalPoint((column, row, number))
        np.testing.assert_allclose(got, ras * [-1, -1, 1], atol=1e-6)


def test_each_file_is_a_classic_mr_image(files):
    assert [file.name for file in files] == [f"{n:04d}.dcm" for n in range(1, 6)]
    for number, file in enumerate(files, start=1):
        dataset = pydicom.dcmread(file)
        assert dataset.SOPClassUID == dataset.file_meta.MediaStorageSOPClassUID == MRImageStorage
        assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert dataset.InstanceNumber == number
        assert (dataset.Rows, dataset.Columns) == (96, 80)
        assert [float(x) for x in dataset.PixelSpacing] == pytest.approx([2.8, 2.4])
        assert float(dataset.SpacingBetweenSlices) == pytest.approx(4.0)
        assert (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit) == (16, 16, 15)


def test_eight_bits_are_said_to_be_eight_bits(study, tmp_path):
    (file, *_) = write_dicom_series(study.volume // 20, study.ras_from_index, tmp_path, seed="low")
    dataset = pydicom.dcmread(file)
    assert (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit) == (16, 8, 7)
    np.testing.assert_array_equal(dataset.pixel_array, study.volume[..., 0] // 20)


def test_nobody_is_named(files):
    dataset = pydicom.dcmread(files[0])
    empty = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "ReferringPhysicianName")
    assert all(not dataset[keyword].value for keyword in empty)
    assert dataset.PatientIdentityRemoved == "YES"


def test_the_same_seed_gives_the_same_files(files, study, tmp_path):
    again, other = (
        write_dicom_series(study.volume, study.ras_from_index, tmp_path / seed, seed=seed)
        for seed in ("one", "two")
    )
    assert [f.read_bytes() for f in files] == [f.read_bytes() for f in again]
    uids = [pydicom.dcmread(f).SOPInstanceUID for f in (*files, *other)]
    assert len(set(uids)) == 10
    assert all(uid.is_valid for uid in uids)


def test_slices_share_series_study_and_frame(files):
    headers = [pydicom.dcmread(file) for file in files]
    for keyword in ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert len({header[keyword].value for header in headers}) == 1


def test_attributes_are_set_and_removed_at_the_end(study, tmp_path):
    attributes = {"EchoTime": "99", "PixelSpacing": None, "ImageType": ["ORIGINAL", "PRIMARY"]}
    (file, *_) = write_dicom_series(
        study.volume, study.ras_from_index, tmp_path, seed="a", attributes=attributes
    )
    dataset = pydicom.dcmread(file)
    assert dataset.EchoTime == 99
    assert "PixelSpacing" not in dataset
    assert list(dataset.ImageType) == ["ORIGINAL", "PRIMARY"]


@pytest.mark.parametrize(
    ("volume", "got"),
    [
        (np.zeros((4, 3)), r"got shape \(4, 3\), 0.0 to 0.0"),
        (np.full((4, 3, 2), -1), r"got shape \(4, 3, 2\), -1 to -1"),
        (np.full((4, 3, 2), 65536), "65536 to 65536"),
    ],
)
def test_what_does_not_fit_into_16_bits_is_refused(tmp_path, volume, got):
    with pytest.raises(ValueError, match=f"volume must be .rows, columns, slices. .*{got}"):
        write_dicom_series(volume, np.eye(4), tmp_path, seed="bad")
    assert not list(tmp_path.iterdir())
