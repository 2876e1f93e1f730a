"""Phantoms as DICOM, and annotations of them whose truth SimpleITK gives."""

import json

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from spine_monai.data.datalists import points_tensor
from spine_monai.data.dicom import write_dicom_series
from spine_monai.data.synthetic import make_study
from spine_monai.landmarks import LUMBAR11, LandmarkSet
from spine_monai.readers import locate_study
from spine_monai.transforms import LoadSpineStudyd, SagittalSliced
from spine_monai.writers import Result, case_content, case_text

T2 = {"EchoTime": "100", "RepetitionTime": "3000", "ImageType": ["ORIGINAL", "PRIMARY"]}
T1 = T2 | {"EchoTime": "10", "RepetitionTime": "500"}


@pytest.fixture(scope="session")
def even_study():
    """A phantom with six slices, which have no middle one, and H != W."""
    return make_study(shape=(96, 80, 6), oblique_deg=(8, -6, 12), curve_mm=5, seed=4)


@pytest.fixture(scope="session")
def write_series():
    """Write a phantom as DICOM; mirrored, its columns run to anterior, its slices to the left."""

    def write(study, folder, *, seed, mirrored=False, **attributes):
        volume, affine = study.volume, study.ras_from_index.copy()
        if mirrored:
            volume = volume[:, ::-1]
            affine[:3, 3] += affine[:3, 1] * (volume.shape[1] - 1)
            affine[:3, 1] *= -1
        return write_dicom_series(volume, affine, folder, seed=seed, attributes=T2 | attributes)

    return write


@pytest.fixture(scope="session")
def pixels_of():
    """The whole pixels (column, row) of LPS points on a DICOM file, as SimpleITK counts them."""

    def find(file, points_lps):
        image = sitk.ReadImage(str(file))
        found = {}
        for name, point in points_lps.items():
            column, row, _ = image.TransformPhysicalPointToContinuousIndex(point.tolist())
            found[name] = (round(column), round(row))
        return found

    return find


@pytest.fixture(scope="session")
def places_of():
    """The LPS points of pixels (column, row) of a DICOM file, as SimpleITK places them."""

    def find(file, pixels):
        image = sitk.ReadImage(str(file))
        return {
            name: np.array(image.TransformIndexToPhysicalPoint((column, row, 0)))
            for name, (column, row) in pixels.items()
        }

    return find


@pytest.fixture(scope="session")
def record_of():
    """A study's record in the challenge's layout, with whatever the test changes."""

    def make(file, pixels, **changes):
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(file))
        reader.ReadImageInformation()
        study, series, instance = (
            reader.GetMetaData(tag) for tag in ("0020|000d", "0020|000e", "0008|0018")
        )
        grades = {True: {"disc": "v1,v5"}, False: {"vertebra": "v2"}}
        points = [
            {
                "tag": {"identification": name, **grades["-" in name]},
                "coord": list(pixel),
                "zIndex": 3,
            }
            for name, pixel in pixels.items()
        ]
        image = {
            "seriesUid": series,
            "instanceUid": instance,
            "annotation": [{"annotator": 7, "data": {"point": points}}],
        }
        return {"studyUid": study, "version": "v0.1", "data": [image | changes]}

    return make


@pytest.fixture
def write_json(tmp_path):
    def write(content, name="annotation.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


@pytest.fixture(scope="session")
def challenge(even_study, write_series, pixels_of, tmp_path_factory):
    """A folder as the challenge gives it, T2 and T1 in one; the annotated file; its points."""
    folder = tmp_path_factory.mktemp("challenge")
    identity = {"PatientID": "ID-4711", "PatientName": "Doe^Jane"}
    files = write_series(even_study, folder / "study0", seed="first", **identity)
    study = {"StudyInstanceUID": pydicom.dcmread(files[0]).StudyInstanceUID}
    for file in write_series(even_study, folder / "t1", seed="t1", **(T1 | identity | study)):
        file.rename(folder / "study0" / f"t1_{file.name}")
    (folder / "t1").rmdir()
    return folder, files[1], pixels_of(files[1], even_study.points_lps)


@pytest.fixture
def annotate(even_study, write_series, pixels_of, record_of, write_json):
    """Write a study and annotate one of its files; gives the files and the annotation."""

    def write(folder, number, **options):
        files = write_series(even_study, folder, seed="annotated", **options)
        record = record_of(files[number], pixels_of(files[number], even_study.points_lps))
        return files, write_json([record])

    return write


@pytest.fixture(scope="session")
def write_result():
    """Write the ``landmarks.json`` of a datalist's item as if its points had been found."""

    def write(item, folder, *, absent=(), uncertain=()):
        study = locate_study(item["image"])
        loaded = LoadSpineStudyd("image")(item | {"image": study})
        loaded = SagittalSliced("image")(loaded)
        points = points_tensor(item["points_lps"], LUMBAR11).numpy()
        points[[LUMBAR11.names.index(name) for name in absent]] = np.nan
        radius = np.where(np.isnan(points[:, 0]), np.nan, 1.0)
        confidence = np.array([0.1 if name in uncertain else 0.9 for name in LUMBAR11.names])
        found = LandmarkSet(LUMBAR11, points, confidence * radius, radius)
        result = Result(
            item["id"], found, loaded["image_source"], loaded["slice"], loaded["native_image"]
        )
        content = case_content(result, study, {}, {})
        (folder / item["id"]).mkdir(parents=True)
        (folder / item["id"] / "landmarks.json").write_text(case_text(content))
        return content

    return write
