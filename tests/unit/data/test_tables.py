"""Other people's tables: read in every dialect, and each error says where."""

import pytest

from spine_monai.data.tables import read_table


def write(tmp_path, text, encoding="utf-8"):
    (tmp_path / "table.csv").write_text(text, encoding=encoding)
    return tmp_path / "table.csv"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_the_one_of_the_header(tmp_path, delimiter):
    text = "\n".join(delimiter.join(line) for line in (["case", "x"], ["a", " 1.5 "], ["b", ""]))
    rows = read_table(write(tmp_path, text, "utf-8-sig"), ["case", "x"])
    assert [(row["case"], row["x"], row.number) for row in rows] == [("a", "1.5", 2), ("b", "", 3)]
    assert rows[0].number_in("x") == 1.5


def test_empty_lines_count_but_are_no_rows(tmp_path):
    (row,) = read_table(write(tmp_path, "case,n\n\na,07\n"), ["case"])
    assert (row.number, row.digits_in("n")) == (3, "07")


@pytest.mark.parametrize("text", ["1,5", "a", "", "nan", "inf"])
def test_a_cell_that_is_no_number_is_named(tmp_path, text):
    (row,) = read_table(write(tmp_path, f"case;x\na;{text}\n"), ["x"])
    with pytest.raises(
        ValueError, match=rf"table\.csv row 2 must have in column 'x' a finite .*: got '{text}'"
    ):
        row.number_in("x")


@pytest.mark.parametrize("text", ["1.0", "-1", "", "one"])
def test_a_cell_that_is_no_whole_number_is_named(tmp_path, text):
    (row,) = read_table(write(tmp_path, f"case,x\na,{text}\n"), ["x"])
    with pytest.raises(ValueError, match=f"row 2 must have in column 'x' a whole .*: got '{text}'"):
        row.digits_in("x")


@pytest.mark.parametrize("text", ["", "case\na\n", "case,x,x\na,1,2\n"])
def test_a_table_without_its_columns_is_refused(tmp_path, text):
    with pytest.raises(
        ValueError, match=r"table\.csv must have the columns case, x, each once: got"
    ):
        read_table(write(tmp_path, text), ["case", "x"])


def test_a_table_without_rows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must have a row below its header: got none"):
        read_table(write(tmp_path, "case,x\n"), ["case", "x"])


def test_a_row_of_another_length_is_named(tmp_path):
    with pytest.raises(ValueError, match="row 3 must have 2 cells, as its header: got 3"):
        read_table(write(tmp_path, "case,x\na,1\nb,1,2\n"), ["case", "x"])


def test_another_encoding_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must be a CSV file in UTF-8: UnicodeDecodeError"):
        read_table(write(tmp_path, "case,x\nä,1\n", "latin-1"), ["case", "x"])
