"""Result files read back: which kind a file is, by its content, and the points of the plain ones.

The kind is told by how a file begins, so that a file which breaks off later is still known, and its
own reader says what is wrong with it. A file whose beginning tells nothing is known by its name.
"""

import csv
import io
import struct
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from spine_monai.writers.dicom_gsps import GSPS_FILE
from spine_monai.writers.dicom_sc import SC_FILE
from spine_monai.writers.dicom_sr import SR_FILE
from spine_monai.writers.dicom_study import quiet
from spine_monai.writers.json import FORMAT, RESULT_FILE
from spine_monai.writers.markups import MARKUPS_FILE
from spine_monai.writers.table import TABLE_FILE

# LPS point in mm by landmark; None marks an absent one.
Points = dict[str, NDArray[np.float64] | None]
HEAD_BYTES = 4096
UNDEFINED_LENGTH = 0xFFFFFFFF  # DICOM PS3.5, section 7.1.1
# What pydicom raises where a file breaks off.
BREAKS = (EOFError, OSError, ValueError, AttributeError, struct.error)
MAGIC = slice(128, 132)  # DICOM PS3.10, section 7.1
POSITION_COLUMNS = ("x_lps_mm", "y_lps_mm", "z_lps_mm")


class Kind(StrEnum):
    """The kinds of result files, by the name that users know them by."""

    RECORD = "JSON"
    MARKUPS = "markups"
    TABLE = "CSV"
    PAGE = "report"
    SR = "DICOM SR"
    GSPS = "DICOM GSPS"
    CAPTURE = "DICOM SC"


EXPECTED = "landmarks.json, .mrk.json, landmarks.csv, report.html, or a DICOM SR, GSPS or SC"
SOP_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.88.34": Kind.SR,
    "1.2.840.10008.5.1.4.1.1.11.1": Kind.GSPS,
    "1.2.840.10008.5.1.4.1.1.7": Kind.CAPTURE,
}
NAMES = {
    RESULT_FILE: Kind.RECORD,
    MARKUPS_FILE: Kind.MARKUPS,
    TABLE_FILE: Kind.TABLE,
    "report.html": Kind.PAGE,
    SR_FILE: Kind.SR,
    GSPS_FILE: Kind.GSPS,
    SC_FILE: Kind.CAPTURE,
}
# What stands last in a whole file of each class, by its definition.
LAST_KEYWORDS = {
    Kind.SR: ("ContentSequence",),
    Kind.GSPS: ("PresentationLUTShape", "PresentationLUTSequence"),
    Kind.CAPTURE: ("PixelData",),
}


def result_kind(path: Path) -> Kind:
    """Return which kind of result a file is.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none; the message names the kinds there are.
    """
    if not path.is_file():
        msg = f"{path} must be a file or folder of results: there is none. Check the path."
        raise FileNotFoundError(msg)
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    kind = _dicom_kind(path) if head[MAGIC] == b"DICM" else _text_kind(head)
    kind = kind or NAMES.get(path.name)
    if kind is None:
        msg = f"{path} must be a result of spine_monai: expected {EXPECTED}, got another file. "
        raise ValueError(msg + "Name only result files, or their folders.")
    return kind


def read_table(path: Path) -> dict[str, Points]:
    """Read the points of a ``landmarks.csv``, by case.

    Raises:
        ValueError: the file is no such table, or breaks off.
    """
    table: dict[str, Points] = {}
    try:
        text = path.read_text(encoding="utf-8-sig")
        if not text.endswith("\n"):
            msg = "it breaks off"
            raise ValueError(msg)
        for row in csv.DictReader(io.StringIO(text), strict=True):
            points = table.setdefault(row["case"], {})
            _check_new(row["landmark"], points)
            points[row["landmark"]] = _position(row)
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        msg = f"{path} must be a whole table of landmarks: {error!r}. Write it again."
        raise ValueError(msg) from error
    return table


def points_of_record(content: Mapping[str, Any]) -> Points:
    """Return the points of a ``landmarks.json``."""
    points: Points = {}
    for entry in content["landmarks"]:
        _check_new(entry["name"], points)
        position = entry["position_lps_mm"]
        points[entry["name"]] = None if position is None else finite_point(position)
    return points


def check_whole(path: Path, kind: Kind) -> None:
    """Check that a DICOM result does not break off: pydicom reads what is left without a word.

    Raises:
        ValueError: its last element does not end where the file ends, or required ones are missing.
    """
    try:
        with quiet():
            dataset = pydicom.dcmread(path)
            last = dataset.get_item(max(dataset.keys(), default=pydicom.tag.Tag(0)))
    except (*BREAKS, pydicom.errors.InvalidDicomError) as error:
        msg = f"{path} must be a whole {kind.value} file: {type(error).__name__}. Write it again."
        raise ValueError(msg) from error
    length = getattr(last, "length", UNDEFINED_LENGTH)
    ends = None if length == UNDEFINED_LENGTH else last.value_tell + length
    is_there = any(keyword in dataset for keyword in LAST_KEYWORDS[kind])
    if not is_there or ends not in (None, path.stat().st_size):
        msg = f"{path} must be a whole {kind.value} file: it breaks off. Write it again."
        raise ValueError(msg)


def finite_point(values: Any, size: int = 3) -> NDArray[np.float64]:
    """Return the coordinates of a point as an array.

    Raises:
        ValueError: they are not so many finite numbers.
    """
    point = np.asarray(values, dtype=np.float64)
    if point.shape != (size,) or not np.isfinite(point).all():
        msg = f"a position must be {size} finite numbers: got {values!r}."
        raise ValueError(msg)
    return point


def _dicom_kind(path: Path) -> Kind | None:
    try:
        with quiet():
            meta = pydicom.filereader.read_file_meta_info(path)
    except BREAKS:
        return None
    return SOP_CLASSES.get(str(meta.get("MediaStorageSOPClassUID")))


def _text_kind(head: bytes) -> Kind | None:
    text = head.decode("utf-8-sig", errors="ignore").lstrip()
    signs = {
        Kind.RECORD: text.startswith("{") and f'"{FORMAT}"' in text,
        Kind.MARKUPS: text.startswith("{") and '"@schema"' in text and "markups" in text,
        Kind.TABLE: text.startswith("case,landmark,"),
        Kind.PAGE: text.lower().startswith("<!doctype html") and "<title>spine_monai" in text,
    }
    return next((kind for kind, is_it in signs.items() if is_it), None)


def _position(row: Mapping[str, str]) -> NDArray[np.float64] | None:
    cells = [row[column] for column in POSITION_COLUMNS]
    if not any(cells) and row["status"] == "absent":
        return None
    return finite_point([float(cell) for cell in cells])


def _check_new(name: str, points: Points) -> None:
    if name in points:
        msg = f"each landmark must be named once: got {name!r} twice."
        raise ValueError(msg)
