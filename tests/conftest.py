"""Shared fixtures: a synthetic study on disk, how to break it, and what other libraries say."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import torch

from spine_monai.data.synthetic import make_study
from spine_monai.landmarks import LUMBAR11, LandmarkSet
from spine_monai.readers import StudyError, locate_study, read_study
from spine_monai.transforms import LoadSpineStudyd, SagittalSliced
from spine_monai.writers import Result

ROOT = Path(__file__).parents[1]
# No message may hold any of these words.
IDENTITY = {"PatientName": "Doe^Jane", "SeriesDescription": "Jane Doe sag T2"}


@pytest.fixture(autouse=True)
def as_many_threads_after():
    """Leave the number of threads as it was: another one rounds otherwise in the tests to come."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def demo_study():
    """The bundled real study: a DICOM folder of five sagittal slices."""
    return ROOT / "bundles" / "spine_landmarks" / "sample" / "sub-034"


@pytest.fixture(scope="session")
def study():
    """A phantom with H != W, three spacings, an oblique scan and a spine that leaves the slice."""
    return make_study(oblique_deg=(8, -6, 12), curve_mm=6, seed=3)


@pytest.fixture(scope="session")
def pristine_folder(study, tmp_path_factory):
    """The phantom as DICOM, for tests that do not change it."""
    folder = tmp_path_factory.mktemp("pristine")
    study.write_dicom(folder, seed="pristine", **IDENTITY)
    return folder


@pytest.fixture
def dicom_folder(pristine_folder, tmp_path):
    """The phantom as DICOM, for tests that break it."""
    return shutil.copytree(pristine_folder, tmp_path / "dicom")


@pytest.fixture(scope="session")
def edit():
    """Change attributes of a DICOM file in place; ``None`` removes one."""

    def change(file, **attributes):
        dataset = pydicom.dcmread(file)
        for keyword, value in attributes.items():
            if value is None:
                del dataset[keyword]
            else:
                setattr(dataset, keyword, value)
        dataset.save_as(file)

    return change


@pytest.fixture(scope="session")
def edit_all(edit):
    """Change attributes of all DICOM files of a folder."""

    def change(folder, **attributes):
        for file in sorted(folder.glob("*.dcm")):
            edit(file, **attributes)

    return change


@pytest.fixture(scope="session")
def assert_refused():
    """Check that a study is refused for the right reason and that the message names nobody."""

    def check(path, match):
        with pytest.raises(StudyError, match=match) as caught:
            read_study(path)
        assert not re.search(r"\bdoe\b|jane", str(caught.value), re.IGNORECASE)

    return check


@pytest.fixture(scope="session")
def itk_series():
    """Read a folder with SimpleITK: it orders the slices and places them by itself."""

    def read(folder):
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
        return reader.Execute()

    return read


@pytest.fixture(scope="session")
def landmarks(study):
    """Landmarks of the phantom; L3 is absent, L5 uncertain."""
    points_lps = np.stack([study.points_lps[name] for name in LUMBAR11.names])
    confidence = np.linspace(0.99, 0.79, len(LUMBAR11))
    radius95_mm = np.linspace(2.0, 7.0, len(LUMBAR11))
    absent, uncertain = LUMBAR11.names.index("L3"), LUMBAR11.names.index("L5")
    points_lps[absent] = confidence[absent] = radius95_mm[absent] = np.nan
    confidence[uncertain] = 0.25
    return LandmarkSet(LUMBAR11, points_lps, confidence, radius95_mm)


@pytest.fixture(scope="session")
def located(pristine_folder):
    return locate_study(pristine_folder)


@pytest.fixture(scope="session")
def result(pristine_folder, landmarks):
    """The phantom's result, as the writers and pictures take it."""
    item = SagittalSliced("image")(LoadSpineStudyd("image")({"image": pristine_folder}))
    return Result("case-1", landmarks, item["image_source"], item["slice"], item["native_image"])


@pytest.fixture(scope="session")
def moved_out(result):
    """Return the phantom's result with some landmarks moved up, out of the image."""

    def move(*names):
        points_lps = result.landmarks.points_lps.copy()
        points_lps[[LUMBAR11.names.index(name) for name in names], 2] += 500
        return replace(result, landmarks=replace(result.landmarks, points_lps=points_lps))

    return move
