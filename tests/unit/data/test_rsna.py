"""RSNA's canal points: each where SimpleITK places it, on its own slice."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from spine_monai.data import datalist_from_rsna, training_items
from spine_monai.landmarks import RSNA_CANAL5
from spine_monai.transforms import LoadSpineStudyd

HEADER = "study_id,series_id,instance_number,condition,level,x,y\n"
CANAL = "Spinal Canal Stenosis"
POINTS = {  # level: instance, x, y
    "L1/L2": (2, 30.25, 20.5),
    "L2/L3": (3, 31.5, 35.25),
    "L3/L4": (3, 33.0, 50.0),
    "L4/L5": (3, 35.75, 64.5),
    "L5/S1": (4, 40.0, 78.25),
}


@pytest.fixture
def images(tmp_path, write_series, even_study):
    """train_images with one series, its files named by their instance number."""
    for file in write_series(
        even_study, tmp_path / "img" / "100" / "200", seed="r", PatientID="100"
    ):
        file.rename(file.with_name(f"{int(file.stem)}.dcm"))
    return tmp_path / "img"


@pytest.fixture
def write_table(tmp_path):
    def write(*rows):
        lines = [",".join(map(str, row)) for row in rows]
        (tmp_path / "coordinates.csv").write_text(HEADER + "\n".join(lines) + "\n")
        return tmp_path / "coordinates.csv"

    return write


def rows(points=POINTS, condition=CANAL):
    return [(100, 200, n, condition, level, x, y) for level, (n, x, y) in points.items()]


def test_each_point_lies_where_simpleitk_places_it(images, write_table):
    conversion = datalist_from_rsna(write_table(*rows()), images)
    (item,) = conversion.items
    assert not conversion.remarks
    assert tuple(item["points_lps"]) == RSNA_CANAL5.names
    for level, (number, x, y) in POINTS.items():
        image = sitk.ReadImage(str(images / "100" / "200" / f"{number}.dcm"))
        expected = image.TransformContinuousIndexToPhysicalPoint((x, y, 0.0))
        found = item["points_lps"][f"canal {level.replace('/', '-')}"]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_item_is_the_series_and_its_slice_the_nearest(images, write_table):
    (item,) = datalist_from_rsna(write_table(*rows()), images).items
    header = pydicom.dcmread(images / "100" / "200" / "1.dcm")
    assert item["id"] == header.SeriesInstanceUID
    assert item["image"] == str(images / "100" / "200" / "2.dcm")
    assert item["slice_index"] == 2  # instances 2, 3, 3, 3, 4 are slices 1, 2, 2, 2, 3
    assert item["subject"].startswith("patient-")


def test_headers_as_bare_as_the_challenges_are_enough(images, write_table, edit_all):
    """Its files say neither TE and TR nor what they are; the annotation names the series."""
    bare = dict.fromkeys(("EchoTime", "RepetitionTime", "ImageType", "SequenceVariant"))
    edit_all(images / "100" / "200", **bare)
    conversion = datalist_from_rsna(write_table(*rows()), images)
    (item,) = conversion.items
    assert [remark.code for remark in conversion.remarks] == ["overruled_choice"]
    loaded = LoadSpineStudyd("image")(training_items([item], RSNA_CANAL5)[0])
    assert loaded["image"].shape[1:] == (96, 80, 6)


def test_other_conditions_are_counted_and_left_out(images, write_table):
    other = rows({"L1/L2": (1, 1.0, 2.0), "L2/L3": (1, 1.0, 2.0)}, "Left Subarticular Stenosis")
    conversion = datalist_from_rsna(write_table(*rows(), *other), images)
    (remark,) = conversion.remarks
    assert remark.code == "other_condition"
    assert "2 points of Left Subarticular Stenosis" in remark.message
    assert len(conversion.items) == 1


def test_a_missing_level_is_told(images, write_table):
    conversion = datalist_from_rsna(write_table(*rows()[1:]), images)
    (remark,) = conversion.remarks
    assert (remark.code, remark.landmark) == ("landmark_missing", "canal L1-L2")
    assert conversion.items[0]["points_lps"]["canal L1-L2"] is None


def test_a_series_without_a_folder_is_left_out(images, write_table):
    lost = [(100, 201, 1, CANAL, "L1/L2", 1, 2)]
    conversion = datalist_from_rsna(write_table(*rows(), *lost), images)
    (remark,) = conversion.left_out
    assert (remark.code, remark.case) == ("series_not_found", "100/201")
    assert "coordinates.csv row 7" in remark.message
    assert len(conversion.items) == 1


def test_a_missing_instance_is_told_and_the_others_stay(images, write_table):
    (images / "100" / "200" / "1.dcm").unlink()
    points = POINTS | {"L1/L2": (1, 30.0, 20.0)}
    conversion = datalist_from_rsna(write_table(*rows(points)), images)
    assert [remark.code for remark in conversion.remarks] == [
        *("instance_not_found", "landmark_missing"),
    ]
    assert "1.dcm" in conversion.remarks[0].message


def test_a_series_without_any_annotated_instance_is_left_out(images, write_table):
    (remark,) = datalist_from_rsna(write_table(*rows({"L1/L2": (99, 1, 2)})), images).left_out
    assert remark.code == "instance_not_found"


def test_a_level_at_two_places_is_used_at_neither(images, write_table):
    again = rows({"L3/L4": (3, 60.0, 50.0)})
    conversion = datalist_from_rsna(write_table(*rows(), *again), images)
    assert [remark.code for remark in conversion.remarks] == [
        *("annotated_twice", "annotated_twice", "landmark_missing"),
    ]
    assert conversion.items[0]["points_lps"]["canal L3-L4"] is None


def test_a_point_outside_the_picture_is_told(images, write_table):
    points = POINTS | {"L5/S1": (3, 80.0, 50.0)}
    conversion = datalist_from_rsna(write_table(*rows(points)), images)
    assert "point_outside_image" in [remark.code for remark in conversion.remarks]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((100, 200, 1, CANAL, "L6/S1", 1, 2), "row 2 must have in column 'level' one of L1/L2"),
        ((100, 200, 1, CANAL, "L1/L2", "a", 2), "row 2 must have in column 'x' a finite number"),
        ((100, 200, 1.5, CANAL, "L1/L2", 1, 2), "row 2 must have in column 'instance_number'"),
        (("../x", 200, 1, CANAL, "L1/L2", 1, 2), "row 2 must have in column 'study_id' a whole"),
    ],
)
def test_a_wrong_cell_is_named(images, write_table, row, message):
    with pytest.raises(ValueError, match=rf"coordinates\.csv {message}"):
        datalist_from_rsna(write_table(row), images)


def test_a_table_without_its_columns_is_refused(images, tmp_path):
    (tmp_path / "other.csv").write_text("study_id,x,y\n1,2,3\n")
    with pytest.raises(ValueError, match=r"other\.csv must have the columns study_id, series_id"):
        datalist_from_rsna(tmp_path / "other.csv", images)
