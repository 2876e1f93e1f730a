"""``landmarks.csv``: one row a landmark, values equal to the records'."""

import csv
import re

import pytest

from spine_monai.writers import RESULT_FILE, case_content, case_text, write_table

HEADER = (
    "case,landmark,kind,status,x_lps_mm,y_lps_mm,z_lps_mm,column_px,row_px,confidence,radius95_mm,"
    "has_patient_geometry"
)


@pytest.fixture
def output(result, located, tmp_path):
    content = case_content(result, located, {}, {})
    for case in ("b", "a"):
        (tmp_path / case).mkdir()
        (tmp_path / case / RESULT_FILE).write_text(case_text(content | {"case": case}))
    (tmp_path / "unfinished").mkdir()
    write_table(tmp_path)
    return tmp_path / "landmarks.csv"


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_columns_have_their_names(output):
    assert output.read_text().splitlines()[0] == HEADER


def test_each_finished_case_has_a_row_a_landmark(output, landmarks):
    rows = rows_of(output)
    assert [row["case"] for row in rows] == ["a"] * 11 + ["b"] * 11
    assert [row["landmark"] for row in rows[:11]] == list(landmarks.registry.names)
    assert [row["kind"] for row in rows[:11]] == list(landmarks.registry.kinds)
    assert [row["status"] for row in rows[:11]] == list(landmarks.statuses)


def test_values_are_those_of_the_landmarks(output, landmarks):
    for index, row in enumerate(rows_of(output)[11:]):
        if row["status"] != "absent":
            point = [float(row[key]) for key in ("x_lps_mm", "y_lps_mm", "z_lps_mm")]
            assert point == landmarks.points_lps[index].tolist()
            assert float(row["confidence"]) == landmarks.confidence[index]
            assert float(row["radius95_mm"]) == landmarks.radius95_mm[index]


def test_column_and_row_are_not_exchanged(output, result, located):
    entries = case_content(result, located, {}, {})["landmarks"]
    for row, entry in zip(rows_of(output)[:11], entries, strict=True):
        if row["status"] != "absent":
            pixel = {"column": float(row["column_px"]), "row": float(row["row_px"])}
            assert pixel == entry["position_px"]


def test_an_absent_landmark_has_empty_cells(output):
    (row,) = [row for row in rows_of(output)[:11] if row["status"] == "absent"]
    assert row["landmark"] == "L3"
    assert set(list(row.values())[4:-1]) == {""}
    assert row["has_patient_geometry"] == "true"


def test_a_folder_without_cases_gives_an_empty_table(tmp_path):
    write_table(tmp_path)
    assert (tmp_path / "landmarks.csv").read_text() == HEADER + "\n"


def test_a_damaged_record_is_left_out_and_named(output, caplog):
    (output.parent / "a" / RESULT_FILE).write_text("{")
    write_table(output.parent)
    assert [row["case"] for row in rows_of(output)] == ["b"] * 11
    assert re.search(r"left out of landmarks\.csv: .*a/landmarks\.json must be", caplog.text)
