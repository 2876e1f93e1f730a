"""Images and series as values."""

import pickle
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement

from spine_monai.readers import StudyError
from spine_monai.readers.index import index_study
from spine_monai.readers.series import Instance, Series


def test_a_series_has_the_uids_of_its_header_and_a_label_without_description(pristine_folder):
    (series,) = index_study(pristine_folder)
    header = pydicom.dcmread(pristine_folder / "0001.dcm")
    assert series.uids == {
        "StudyInstanceUID": header.StudyInstanceUID,
        "SeriesInstanceUID": header.SeriesInstanceUID,
        "FrameOfReferenceUID": header.FrameOfReferenceUID,
    }
    assert series.label == f"series 1 ({header.SeriesInstanceUID})"
    assert series.name == series.uid == header.SeriesInstanceUID


def test_a_part_of_a_series_is_named_by_its_number(one_image):
    series = Series("1.2.3", (one_image(SeriesNumber="7"),), part=(2, 3))
    assert series.label == "series 7 (1.2.3, part 2 of 3)"
    assert series.name == "1.2.3:2"


@pytest.mark.parametrize("number", [None, ""])
def test_a_series_without_a_number_is_labelled_so(one_image, number):
    assert Series("1.2.3", (one_image(SeriesNumber=number),)).label == "series ? (1.2.3)"


def test_a_uid_that_is_none_is_left_out(one_image):
    with pytest.warns(UserWarning, match="UI"):
        series = Series("1.2.3", (one_image(FrameOfReferenceUID="Doe^Jane"),))
    assert series.uids == {"SeriesInstanceUID": "1.2.3"}


def test_a_file_of_several_frames_counts_once(one_image):
    header = one_image().header
    frames = tuple(Instance(Path("a.dcm"), header, frame=k) for k in (1, 0))
    series = Series("1.2.3", (*frames, Instance(Path("b.dcm"), header)))
    assert series.files == (Path("a.dcm"), Path("b.dcm"))


def test_messages_name_the_frame(one_image):
    instance = Instance(Path("a.dcm"), one_image(PixelSpacing=None).header, frame=4)
    with pytest.raises(StudyError, match=r"a.dcm \(frame 5\) must have 2 finite values of Pixel"):
        instance.numbers("PixelSpacing", 2)


@pytest.mark.parametrize(
    ("value", "said"), [([0.7], r"got \[0.7\]"), ([0.7, np.inf], r"got \[0.7, inf\]")]
)
def test_numbers_must_be_as_many_as_expected_and_finite(one_image, value, said):
    with pytest.raises(StudyError, match=f"must have 2 finite values of PixelSpacing: {said}"):
        one_image(PixelSpacing=value).numbers("PixelSpacing", 2)


def test_a_text_is_no_number_and_not_quoted(one_image):
    with pytest.raises(StudyError, match=r"1 finite values of SeriesDescription: got no numbers"):
        one_image(SeriesDescription="Jane Doe").numbers("SeriesDescription", 1)


@pytest.mark.parametrize("spacing", [[0, 0.7], [0.7, -0.7]])
def test_a_pixel_spacing_must_be_positive(one_image, spacing):
    with pytest.raises(StudyError, match=r"image.dcm must have a positive PixelSpacing: got"):
        _ = one_image(PixelSpacing=spacing).pixel_spacing_mm


def test_an_orientation_must_be_two_unit_vectors_at_right_angles(one_image):
    with pytest.raises(StudyError, match="must have two unit vectors at right angles"):
        _ = one_image(ImageOrientationPatient=[0, 1, 0, 0, 1, 0]).normal_lps


@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImagePositionPatient"])
def test_a_header_value_that_is_no_number_is_refused_without_quoting_it(
    dicom_folder, assert_refused, keyword
):
    file = dicom_folder / "0002.dcm"
    dataset, tag = pydicom.dcmread(file), pydicom.tag.Tag(keyword)
    dataset._dict[tag] = RawDataElement(tag, "DS", 8, b"Doe\\2.40", 0, False, True)
    dataset.save_as(file)
    assert_refused(dicom_folder, f"0002.dcm .*{keyword}")


def test_image_types_are_gathered_over_all_images(one_image):
    images = [one_image(ImageType=types) for types in (["ORIGINAL", "PRIMARY"], "DERIVED", None)]
    series = Series("1.2.3", tuple(images))
    assert series.image_types == {"ORIGINAL", "PRIMARY", "DERIVED"}
    assert series.is_derived


def test_a_series_can_be_sent_to_another_process(pristine_folder):
    (series,) = index_study(pristine_folder)
    copy = pickle.loads(pickle.dumps(series))
    assert copy.files == series.files
    assert copy.instances[1].height_mm == series.instances[1].height_mm


def test_the_bytes_of_an_image_are_those_of_its_file(pristine_folder):
    (series,) = index_study(pristine_folder)
    with series.instances[0].open() as stream:
        assert stream.read() == series.files[0].read_bytes()
