"""What the tests of the DICOM results share: a record of the phantom's result, written objects."""

from dataclasses import replace

import pytest

from spine_monai.landmarks import LandmarkSet
from spine_monai.writers import case_content

WEIGHTS = {"model.pt": "ab" * 32, "model_coordinates.pt": "cd" * 32, "fusion.pt": "ef" * 32}
BUNDLE = {"name": "spine_landmarks", "version": "0.3.0", "weights_sha256": WEIGHTS}
OPTIONS = {"min_confidence": 0.5, "slices": "one"}


@pytest.fixture(scope="session")
def dicom_series(located):
    """The series of the phantom; its patient is called Doe^Jane."""
    return located.series


@pytest.fixture(scope="session")
def make_record(located):
    """Return a result's record, with other parts of the bundle or other options."""

    def make(result, *, options=OPTIONS, study=located, **bundle):
        return case_content(result, study, BUNDLE | bundle, options)

    return make


@pytest.fixture(scope="session")
def record(result, make_record):
    return make_record(result)


@pytest.fixture(scope="session")
def calibrated(result):
    """The phantom's result with calibrated confidence."""
    landmarks: LandmarkSet = replace(result.landmarks, calibrated=True)
    return replace(result, landmarks=landmarks)
