"""Tables of points in; nibabel says what RAS means."""

import nibabel as nib
import numpy as np
import pytest

from spine_monai.data import datalist_from_csv
from spine_monai.data.csv_points import read_points
from spine_monai.landmarks import LUMBAR11

OURS = "case,landmark,kind,status,x_lps_mm,y_lps_mm,z_lps_mm,column_px,row_px,confidence"


@pytest.fixture
def table(tmp_path):
    def write(text):
        (tmp_path / "points.csv").write_text(text)
        return tmp_path / "points.csv"

    return write


@pytest.fixture
def images(even_study, tmp_path):
    (tmp_path / "images").mkdir()
    even_study.write_nifti(tmp_path / "images" / "a.nii.gz")
    return tmp_path / "images"


def lines(points, case="a"):
    return [f"{case},{name},{','.join(map(repr, p.tolist()))}" for name, p in points.items()]


def test_plain_columns_are_lps(table, images, even_study):
    path = table("\n".join(["case,landmark,x,y,z", *lines(even_study.points_lps)]))
    conversion = datalist_from_csv(path, images, LUMBAR11)
    (item,) = conversion.items
    assert not conversion.remarks
    assert item["points_lps"] == {n: p.tolist() for n, p in even_study.points_lps.items()}
    assert item["image"] == str(images / "a.nii.gz")


def test_ras_is_the_place_that_nibabel_means(table, images, even_study):
    affine = nib.load(images / "a.nii.gz").affine
    ras = {name: nib.affines.apply_affine(affine, (30 + n, 40, 2)) for n, name in enumerate("ab")}
    found = read_points(table("\n".join(["case,landmark,x,y,z", *lines(ras)])), "RAS")["a"]
    for name, point in ras.items():
        np.testing.assert_allclose(found[name], point * [-1, -1, 1])


def test_our_own_table_is_read_and_an_absent_landmark_stays_absent(table, images, even_study):
    rows = [
        f"a,{name},disc,found,{','.join(map(repr, p.tolist()))},1,2,0.9"
        for name, p in even_study.points_lps.items()
        if name != "L2"
    ]
    path = table("\n".join([OURS, *rows, "a,L2,vertebra,absent,,,,,,"]))
    conversion = datalist_from_csv(path, images, LUMBAR11)
    assert conversion.items[0]["points_lps"]["L2"] is None
    assert [remark.landmark for remark in conversion.remarks] == ["L2"]


def test_a_case_without_an_image_is_left_out(table, images, even_study):
    text = ["case,landmark,x,y,z", *lines(even_study.points_lps), "b,L1,1,2,3"]
    conversion = datalist_from_csv(table("\n".join(text)), images, LUMBAR11)
    (remark,) = conversion.left_out
    assert (remark.case, remark.code) == ("b", "image_not_found")
    assert len(conversion.items) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,L2,1,,3", "row 3 must have in column 'y' a finite number, .*: got ''"),
        ("a,L2,1,2,x", "row 3 must have in column 'z' a finite number, .*: got 'x'"),
        ("a,,1,2,3", "row 3 must have in column 'landmark' a name: got ''"),
        (",L2,1,2,3", "row 3 must have in column 'case' a name: got ''"),
        ("a,L1,1,2,3", "row 3 must have in column 'landmark' another landmark of a than row 2"),
    ],
)
def test_a_wrong_cell_is_named(table, row, message):
    with pytest.raises(ValueError, match=rf"points\.csv {message}"):
        read_points(table(f"case,landmark,x,y,z\na,L1,1,2,3\n{row}\n"))


@pytest.mark.parametrize(
    ("text", "system", "message"),
    [
        ("case,x,y,z\na,1,2,3\n", "LPS", "must have the columns case, landmark"),
        ("case,landmark,x\na,L1,1\n", "LPS", "must have the columns x, y and z, or x_lps_mm"),
        (OURS + "\n" + "a,L1,,,1,2,3,,,\n", "RAS", "must be read as LPS, as its columns say"),
        ("case,landmark,x,y,z\na,L1,1,2,3\n", "LAS", "coordinate system must be LPS or RAS"),
    ],
)
def test_other_tables_are_refused(table, text, system, message):
    with pytest.raises(ValueError, match=message):
        read_points(table(text), system)
