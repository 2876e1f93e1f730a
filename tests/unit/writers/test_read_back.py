"""Kinds of result files, and the plain ones read back."""

import numpy as np
import pydicom
import pytest

from spine_monai.writers import case_content, case_text, markups_text, write_table
from spine_monai.writers.read_back import (
    Kind,
    check_whole,
    finite_point,
    points_of_record,
    read_table,
    result_kind,
)

HEADER = (
    "case,landmark,kind,status,x_lps_mm,y_lps_mm,z_lps_mm,column_px,row_px,confidence,radius95_mm\n"
)
L4 = "one,L4,vertebra,found,1.5,-2,3e1,0,0,0.9,2.0\n"


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_text_files_are_known_by_how_they_begin(tmp_path, result, located, landmarks):
    content = case_content(result, located, {}, {})
    texts = {
        Kind.RECORD: case_text(content),
        Kind.MARKUPS: markups_text(landmarks),
        Kind.TABLE: HEADER,
        Kind.PAGE: "<!DOCTYPE html>\n<html><head><title>spine_monai: quality report</title>",
    }
    for kind, text in texts.items():
        assert result_kind(written(tmp_path / "any.txt", text)) is kind
        assert result_kind(written(tmp_path / "any.txt", "\ufeff" + text[:400])) is kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("landmarks.json", Kind.RECORD),
        ("landmarks.mrk.json", Kind.MARKUPS),
        ("landmarks.csv", Kind.TABLE),
        ("report.html", Kind.PAGE),
        ("landmarks.dcm", Kind.SR),
        ("presentation.dcm", Kind.GSPS),
        ("overlay.dcm", Kind.CAPTURE),
    ],
)
def test_a_file_whose_beginning_is_lost_is_known_by_its_name(tmp_path, name, kind):
    assert result_kind(written(tmp_path / name, "")) is kind


@pytest.mark.parametrize(
    "text", ["", "{}", "{" + "x" * 200, "\x00" * 128 + "DICM", "case;landmark"]
)
def test_other_files_are_of_no_kind(tmp_path, text):
    with pytest.raises(
        ValueError, match=r"must be a result of spine_monai: expected landmarks\.json"
    ):
        result_kind(written(tmp_path / "file", text))


def test_images_are_of_no_kind(pristine_folder):
    with pytest.raises(ValueError, match="must be a result of spine_monai"):
        result_kind(pristine_folder / "0001.dcm")


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is none"):
        result_kind(tmp_path / "landmarks.json")


def test_the_table_gives_back_what_was_written(tmp_path, result, located, landmarks):
    (tmp_path / "one").mkdir()
    content = case_content(result, located, {}, {})
    (tmp_path / "one" / "landmarks.json").write_text(case_text(content))
    write_table(tmp_path)
    points = read_table(tmp_path / "landmarks.csv")["case-1"]
    assert tuple(points) == landmarks.registry.names
    assert points["L3"] is None
    rows = [[np.nan] * 3 if point is None else point for point in points.values()]
    np.testing.assert_array_equal(rows, landmarks.points_lps)
    assert str(points_of_record(content)) == str(points)


def test_cases_with_any_name_keep_their_rows(tmp_path):
    text = HEADER + L4.replace("one", '"a,""b""\nc"') + L4
    table = read_table(written(tmp_path / "t.csv", text))
    assert set(table) == {'a,"b"\nc', "one"}
    np.testing.assert_array_equal(table["one"]["L4"], [1.5, -2.0, 30.0])


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEADER + L4[:-1],
        HEADER + "one,L4\n",
        HEADER + L4 + L4,
        HEADER + L4.replace("1.5", "nan"),
        HEADER + L4.replace("1.5", "one"),
        HEADER + L4.replace("1.5,-2,3e1", ",,"),
        HEADER.replace("landmark", "name") + L4,
        HEADER + L4.replace("one", '"one'),
    ],
)
def test_a_table_that_is_not_whole_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match=r"t\.csv must be a whole table of landmarks"):
        read_table(written(tmp_path / "t.csv", text))


@pytest.mark.parametrize("values", [[1, 2], [1, 2, np.inf], [[1, 2, 3]]])
def test_a_point_is_three_finite_numbers(values):
    with pytest.raises(ValueError, match="must be 3 finite numbers"):
        finite_point(values)


def test_records_name_each_landmark_once():
    entry = {"name": "L4", "position_lps_mm": [1, 2, 3]}
    with pytest.raises(ValueError, match="'L4' twice"):
        points_of_record({"landmarks": [entry, entry]})


@pytest.fixture
def picture(tmp_path):
    """A DICOM file whose last element is its pixels."""
    dataset = pydicom.Dataset()
    dataset.Rows, dataset.PixelData = 4, bytes(range(16))
    dataset["PixelData"].VR = "OB"
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = "1.2.3"
    dataset.save_as(tmp_path / "picture.dcm", enforce_file_format=True)
    return tmp_path / "picture.dcm"


def test_a_whole_dicom_file_is_whole(picture):
    assert result_kind(picture) is Kind.CAPTURE
    check_whole(picture, Kind.CAPTURE)


@pytest.mark.parametrize("lost", [1, 16, 20, 28])
def test_a_dicom_file_that_breaks_off_is_refused(picture, lost):
    """In the value, at its start, in the element's head, and before it."""
    picture.write_bytes(picture.read_bytes()[:-lost])
    with pytest.raises(ValueError, match="must be a whole DICOM SC file"):
        check_whole(picture, Kind.CAPTURE)
