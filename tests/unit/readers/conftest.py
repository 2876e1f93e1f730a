"""Small studies for the tests of index and choice."""

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from spine_monai.data.synthetic import make_study
from spine_monai.readers.series import Instance, Series

SAGITTAL = [0, 1, 0, 0, 0, -1]


@pytest.fixture(scope="session")
def write_series():
    """Write a small sagittal T2 series of one study; keywords set attributes, None removes one."""
    small = make_study(shape=(24, 20, 3), spacing_mm=(2.8, 2.4, 4.0))

    def write(folder, seed, **attributes):
        study = {"StudyInstanceUID": "2.25.1001", "FrameOfReferenceUID": "2.25.1002"}
        return small.write_dicom(folder, seed=seed, **(study | attributes))

    return write


@pytest.fixture(scope="session")
def one_image():
    """Make an image without a file, sagittal T2 unless attributes say otherwise."""

    def make(path="image.dcm", **attributes):
        values = {
            "SeriesInstanceUID": "1.2.3",
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4",
            "SOPInstanceUID": f"1.2.3.{abs(hash(path))}",
            "Rows": 448,
            "Columns": 384,
            "PixelSpacing": [0.625, 0.75],
            "ImageOrientationPatient": SAGITTAL,
            "ImagePositionPatient": [10, -20, 30],
            "EchoTime": 100,
            "RepetitionTime": 3000,
        }
        header = Dataset()
        for keyword, value in (values | attributes).items():
            if value is not None:
                setattr(header, keyword, value)
        return Instance(Path(path), header)

    return make


@pytest.fixture(scope="session")
def stack(one_image):
    """Make images 4.5 mm apart, in order along their normal, which points to the right."""

    def make(count=3, name="slice", start_mm=10.0, **attributes):
        return [
            one_image(
                f"{name}-{number}.dcm",
                **{"ImagePositionPatient": [start_mm - 4.5 * number, -20, 30]} | attributes,
            )
            for number in range(count)
        ]

    return make


@pytest.fixture(scope="session")
def one_series(stack):
    """Make a series without files."""

    def make(count=3, uid="1.2.3", **attributes):
        return Series(uid, tuple(stack(count, SeriesInstanceUID=uid, **attributes)))

    return make
