"""Pixels of single DICOM files to patient space, as SimpleITK and highdicom place them."""

import zipfile
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from highdicom.spatial import ImageToReferenceTransformer, PixelToReferenceTransformer

from spine_monai.data.conversion import LeftOutError
from spine_monai.data.instances import (
    index_instances,
    is_in_picture,
    points_lps_from_pixels,
)
from spine_monai.readers import StudyError

PIXELS = [(0, 0), (79, 0), (0, 95), (41, 17), (13, 88)]


@pytest.fixture
def oblique(write_series, even_study, tmp_path):
    """Two series: as usual, and one whose columns run to anterior."""
    write_series(even_study, tmp_path / "a", seed="a")
    write_series(even_study, tmp_path / "b", seed="b", mirrored=True)
    return tmp_path


def uids_of(file):
    header = pydicom.dcmread(file, stop_before_pixels=True)
    return header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID


@pytest.mark.parametrize("name", ["a/0001.dcm", "a/0005.dcm", "b/0002.dcm"])
def test_pixels_lie_where_simpleitk_and_highdicom_place_them(oblique, name):
    instance = index_instances(oblique).find(*uids_of(oblique / name)).instance
    assert instance.path == oblique / name
    found = points_lps_from_pixels(PIXELS, instance)
    image, header = sitk.ReadImage(str(oblique / name)), pydicom.dcmread(oblique / name)
    expected = [image.TransformIndexToPhysicalPoint((*pixel, 0)) for pixel in PIXELS]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    geometry = {
        "image_position": header.ImagePositionPatient,
        "image_orientation": header.ImageOrientationPatient,
        "pixel_spacing": header.PixelSpacing,
    }
    whole = PixelToReferenceTransformer(**geometry)(np.array(PIXELS))
    np.testing.assert_allclose(found, whole, atol=1e-5)
    corners = ImageToReferenceTransformer(**geometry)(np.array(PIXELS) + 0.5)
    np.testing.assert_allclose(found, corners, atol=1e-5)


def test_a_fraction_of_a_pixel_counts(oblique):
    instance = index_instances(oblique).find(*uids_of(oblique / "b" / "0001.dcm")).instance
    image = sitk.ReadImage(str(oblique / "b" / "0001.dcm"))
    expected = image.TransformContinuousIndexToPhysicalPoint((12.25, 30.75, 0.0))
    found = points_lps_from_pixels((12.25, 30.75), instance)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("pixel", "inside"),
    [
        ((0, 0), True),
        ((79.4, 95.4), True),
        ((79.6, 95), False),
        ((79, 95.6), False),
        ((-0.6, 3), False),
        ((90, 85), False),
        ((float("nan"), 3), False),
    ],
)
def test_a_picture_ends_half_a_pixel_beyond_its_outermost_centres(oblique, pixel, inside):
    instance = index_instances(oblique).find(*uids_of(oblique / "a" / "0001.dcm")).instance
    assert is_in_picture(pixel, instance) is inside


@pytest.mark.parametrize(
    ("place", "code", "keyword"),
    [
        (0, "study_not_found", "StudyInstanceUID"),
        (1, "series_not_found", "SeriesInstanceUID"),
        (2, "instance_not_found", "SOPInstanceUID"),
    ],
)
def test_the_first_uid_that_is_not_there_is_named(oblique, place, code, keyword):
    uids = list(uids_of(oblique / "a" / "0001.dcm"))
    uids[place] = "1.2.3"
    with pytest.raises(LeftOutError, match=rf"must hold {keyword} 1\.2\.3: it does not") as caught:
        index_instances(oblique).find(*uids)
    assert caught.value.code == code


def test_an_instance_of_another_series_is_not_found(oblique):
    (study, series, _), other = uids_of(oblique / "a/0001.dcm"), uids_of(oblique / "b/0001.dcm")
    with pytest.raises(LeftOutError, match="must hold SOPInstanceUID"):
        index_instances(oblique).find(study, series, other[2])


def test_a_copy_of_a_file_does_not_count(oblique):
    (oblique / "copy.dcm").write_bytes((oblique / "a" / "0001.dcm").read_bytes())
    found = index_instances(oblique).find(*uids_of(oblique / "a" / "0001.dcm"))
    assert found.study in (oblique / "a" / "0001.dcm", oblique / "copy.dcm")


def test_an_image_in_a_zip_is_read_from_the_zip(oblique):
    uids = uids_of(oblique / "a" / "0001.dcm")
    with zipfile.ZipFile(oblique / "study.zip", "w") as archive:
        for file in sorted((oblique / "a").iterdir()):
            archive.write(file, f"deep/{file.name}")
            file.unlink()
    assert index_instances(oblique).find(*uids).study == oblique / "study.zip"


def test_an_image_of_several_frames_says_too_little(oblique):
    uids = uids_of(oblique / "a" / "0001.dcm")
    found = index_instances(oblique)
    frames = [found.find(*uids)] * 2
    several = replace(found, by_uids={**found.by_uids, uids: frames})
    with pytest.raises(LeftOutError, match=r"0001\.dcm must have one frame: got 2") as caught:
        several.find(*uids)
    assert caught.value.code == "several_frames"


def test_a_file_that_is_cut_short_is_told(oblique):
    file = oblique / "a" / "0003.dcm"
    file.write_bytes(file.read_bytes()[:400])
    assert index_instances(oblique).damaged == (file,)


@pytest.mark.parametrize(
    ("keyword", "value", "message"),
    [
        ("PixelSpacing", None, "must have 2 finite values of PixelSpacing"),
        ("PixelSpacing", ["0", "1"], r"must have a positive PixelSpacing: got \[0.0, 1.0\]"),
        ("ImagePositionPatient", None, "must have 3 finite values of ImagePositionPatient"),
        ("ImageOrientationPatient", None, "must have 6 finite values of ImageOrientationPatient"),
    ],
)
def test_an_image_without_a_place_is_refused(oblique, edit, keyword, value, message):
    file = oblique / "a" / "0002.dcm"
    edit(file, **{keyword: value})
    instance = index_instances(oblique).find(*uids_of(file)).instance
    with pytest.raises(StudyError, match=message):
        points_lps_from_pixels((1, 2), instance)
