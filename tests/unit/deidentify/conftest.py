"""An image with everything that may stay, and a patient."""

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from spine_monai.deidentify.pseudonyms import Patient, Pseudonyms
from spine_monai.readers.quiet import silence_pydicom

KEY = bytes(range(32))


@pytest.fixture
def pseudonyms():
    return Pseudonyms(KEY)


@pytest.fixture
def patient(pseudonyms):
    return Patient("id\x0061020-77\0", pseudonyms)


def make_image(**attributes):
    """An MR image of 4 x 6 pixels in one file."""
    image = Dataset()
    image.SOPClassUID = MRImageStorage
    image.SOPInstanceUID, image.SeriesInstanceUID = "1.2.3.4", "1.2.3"
    image.StudyInstanceUID, image.FrameOfReferenceUID = "1.2", "1.2.9"
    image.PatientID, image.PatientName, image.Modality = "61020-77", "Mustermann^Erika", "MR"
    image.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    image.Rows, image.Columns, image.SamplesPerPixel = 4, 6, 1
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelRepresentation, image.PhotometricInterpretation = 0, "MONOCHROME2"
    image.PixelSpacing, image.SliceThickness = [0.7, 0.6], 4.4
    image.ImagePositionPatient, image.ImageOrientationPatient = [1, -2, 3.5], [0, 1, 0, 0, 0, -1]
    image.PixelData = bytes(range(48))
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = MRImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    for keyword, value in attributes.items():
        setattr(image, keyword, value)
    return image


@pytest.fixture
def image():
    return make_image


@pytest.fixture
def again(tmp_path):
    """Write an object and read it, so that its values are bytes as in any file."""

    def write(dataset, name="image.dcm"):
        dataset.save_as(tmp_path / name, enforce_file_format=True)
        return pydicom.dcmread(tmp_path / name)

    return write


@pytest.fixture(autouse=True)
def _silent():
    """As in the program: else pydicom's warnings, errors here, would drop what it lets pass."""
    silence_pydicom()
