"""The structured report of a phantom in a real viewer; `ohif_viewer` says what it needs.

The demo study's report is shown by the tutorial's test, in test_pacs_tutorial.py.
"""

import numpy as np
import pytest
from ohif_viewer import ohif_missing, shown_in_ohif
from pacs_servers import Orthanc

from spine_monai.data.synthetic import make_study
from spine_monai.landmarks import LUMBAR11, LandmarkSet
from spine_monai.readers import locate_study
from spine_monai.transforms import LoadSpineStudyd, SagittalSliced
from spine_monai.writers import Result, case_content
from spine_monai.writers.dicom_sr import write_sr

BUNDLE = {"name": "spine_landmarks", "version": "0.3.0", "weights_sha256": {"model.pt": "ab" * 32}}

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(ohif_missing() is not None, reason=str(ohif_missing())),
]


@pytest.fixture(scope="module")
def phantom():
    """An oblique spine that stays in the middle slice; pixels are not square."""
    return make_study(oblique_deg=(8, -6, 12), seed=3)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    with Orthanc(tmp_path_factory.mktemp("orthanc")) as orthanc:
        yield orthanc


@pytest.fixture(scope="module")
def study_uid(archive, phantom, tmp_path_factory):
    """The phantom and its report, in the archive."""
    folder = tmp_path_factory.mktemp("study")
    files = phantom.write_dicom(folder / "images", seed="ohif", PatientID="1")
    study = locate_study(folder / "images")
    item = SagittalSliced("image")(LoadSpineStudyd("image")({"image": folder / "images"}))
    points_lps = np.stack([phantom.points_lps[name] for name in LUMBAR11.names])
    sure = LandmarkSet(LUMBAR11, points_lps, np.full(11, 0.9), np.full(11, 3.0), calibrated=True)
    result = Result("ohif", sure, item["image_source"], item["slice"], item["native_image"])
    write_sr(result, case_content(result, study, BUNDLE, {}), study.series, folder / "sr.dcm")
    archive.upload(*files, folder / "sr.dcm")
    return study.series.uids["StudyInstanceUID"]


@pytest.fixture(scope="module")
def shown(archive, study_uid, tmp_path_factory):
    return shown_in_ohif(archive, study_uid, tmp_path_factory.mktemp("browser"))


def test_ohif_has_the_eleven_points_at_their_places(shown, phantom):
    assert [point["label"] for point in shown["points"]] == [
        f"{name} (confidence 90 %)" for name in LUMBAR11.names
    ]
    for point, name in zip(shown["points"], LUMBAR11.names, strict=True):
        np.testing.assert_allclose(point["lps"], phantom.points_lps[name], atol=1e-5)
    assert shown["points"][1]["site"] == "L1 vertebra"


def test_ohif_draws_the_eleven_points_on_their_slice(shown, phantom):
    """A circle's place on the screen, taken back to the patient through the viewport's camera."""
    expected = np.stack([phantom.points_lps[name] for name in LUMBAR11.names])
    np.testing.assert_allclose(shown["circles"], expected, atol=0.01)
