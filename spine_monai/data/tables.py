"""Tables that others wrote: CSV whose every error names the file, the row and the column."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Args:
        file: the table.
        number: of its line, as a spreadsheet counts: the header is row 1.
        cells: text by column.
    """

    file: Path
    number: int
    cells: dict[str, str]

    @property
    def place(self) -> str:
        """File and row, for messages."""
        return f"{self.file} row {self.number}"

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def number_in(self, column: str) -> float:
        """Return a cell as a finite number.

        Raises:
            ValueError: it is none.
        """
        try:
            value = float(self[column])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            expected = "a finite number, with a decimal point"
            raise self.error(expected, column)
        return value

    def digits_in(self, column: str) -> str:
        """Return a cell that is a whole number from 0, as it is written.

        Raises:
            ValueError: it is none.
        """
        if not self[column].isdecimal():
            expected = "a whole number"
            raise self.error(expected, column)
        return self[column]

    def error(self, expected: str, column: str) -> ValueError:
        """Return the error of a cell that is not as expected."""
        return ValueError(
            f"{self.place} must have in column '{column}' {expected}: got {self[column]!r}."
        )


def read_table(file: Path, columns: Sequence[str]) -> list[Row]:
    """Read a CSV file with a header; the delimiter is the one of ``,``, ``;`` and tab it shows.

    Args:
        file: the table, in UTF-8.
        columns: which it must have; others are kept too.

    Raises:
        ValueError: it is no such table, lacks a column, is empty, or a row is of another length.
        OSError: it cannot be read.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")  # Excel begins with a BOM
        delimiter = max(DELIMITERS, key=text.partition("\n")[0].count)
        lines = list(csv.reader(io.StringIO(text), delimiter=delimiter))
    except (UnicodeDecodeError, csv.Error) as error:
        msg = f"{file} must be a CSV file in UTF-8: {type(error).__name__}. Save it anew as such."
        raise ValueError(msg) from error
    names = [name.strip() for name in lines[0]] if lines else []
    _check_columns(file, names, columns)
    rows = [_row(file, number, names, line) for number, line in enumerate(lines[1:], 2) if line]
    if not rows:
        msg = f"{file} must have a row below its header: got none."
        raise ValueError(msg)
    return rows


def _check_columns(file: Path, names: Sequence[str], columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in names]
    if missing or len(set(names)) < len(names):
        msg = f"{file} must have the columns {', '.join(columns)}, each once: got "
        msg += f"{', '.join(names) or 'none'}."
        raise ValueError(msg)


def _row(file: Path, number: int, names: Sequence[str], line: Sequence[str]) -> Row:
    if len(line) != len(names):
        msg = f"{file} row {number} must have {len(names)} cells, as its header: got {len(line)}."
        raise ValueError(msg)
    return Row(file, number, dict(zip(names, (cell.strip() for cell in line), strict=True)))
