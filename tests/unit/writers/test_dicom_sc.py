"""``overlay.dcm``: the picture as a secondary capture."""

import numpy as np
import pydicom
import pytest
from pydicom.uid import SecondaryCaptureImageStorage

from spine_monai.writers.dicom_sc import sc_reference, write_capture


@pytest.fixture(scope="module")
def picture():
    """H != W, and no channel like another."""
    return np.random.default_rng(0).integers(0, 256, (37, 24, 3), dtype=np.uint8)


@pytest.fixture
def file(picture, result, record, dicom_series, tmp_path):
    write_capture(picture, result, record, dicom_series, tmp_path / "overlay.dcm")
    return tmp_path / "overlay.dcm"


def test_the_pixels_are_those_of_the_picture(file, picture):
    dataset = pydicom.dcmread(file)
    np.testing.assert_array_equal(dataset.pixel_array, picture)
    assert dataset.PhotometricInterpretation == "RGB"
    assert dataset.SOPClassUID == SecondaryCaptureImageStorage


def test_the_picture_says_what_it_is(file):
    dataset = pydicom.dcmread(file)
    assert (dataset.BurnedInAnnotation, dataset.BodyPartExamined) == ("YES", "LSPINE")
    assert list(dataset.PatientOrientation) == ["P", "F"]
    assert "Research only" in dataset.DerivationDescription
    assert "DateOfSecondaryCapture" not in dataset


def test_the_picture_lies_in_the_study_and_names_its_slice(file, pristine_folder):
    dataset, source = pydicom.dcmread(file), pydicom.dcmread(pristine_folder / "0003.dcm")
    assert dataset.StudyInstanceUID == source.StudyInstanceUID
    assert dataset.PatientName == "Doe^Jane"
    assert dataset.SeriesInstanceUID != source.SeriesInstanceUID
    assert sc_reference(file) == (source.SOPInstanceUID,)


def test_the_same_picture_gives_the_same_bytes(
    file, picture, result, record, dicom_series, tmp_path
):
    write_capture(picture, result, record, dicom_series, tmp_path / "again.dcm")
    assert (tmp_path / "again.dcm").read_bytes() == file.read_bytes()


def test_a_file_that_is_no_picture_of_landmarks_is_refused(pristine_folder):
    with pytest.raises(ValueError, match=r"0001\.dcm must be a secondary capture of landmarks"):
        sc_reference(pristine_folder / "0001.dcm")
