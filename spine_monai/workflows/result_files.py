"""Every result file as readings: the landmarks that one file gives for one case."""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError

from spine_monai.data import read_markups
from spine_monai.data.markups import MARKUPS_SUFFIX
from spine_monai.files import place_of
from spine_monai.viz.report_page import read_page_data
from spine_monai.writers.dicom_gsps import points_xy_by_image
from spine_monai.writers.dicom_sc import sc_reference
from spine_monai.writers.dicom_sr import points_lps_of_sr
from spine_monai.writers.dicom_study import quiet
from spine_monai.writers.json import RESULT_FILE, read_case
from spine_monai.writers.read_back import (
    EXPECTED,
    NAMES,
    Kind,
    Points,
    check_whole,
    finite_point,
    points_of_record,
    read_table,
    result_kind,
)

# What damaged files provoke in the readers of other libraries, besides what ours raise.
DAMAGE = (
    *(ValueError, OSError, EOFError, LookupError, TypeError, AttributeError, RuntimeError),
    *(struct.error, InvalidDicomError),
)
OF_MANY_CASES = (Kind.TABLE, Kind.PAGE)


@dataclass(frozen=True)
class Reading:
    """What one file says of one case.

    Args:
        file: where it was read.
        kind: of the file.
        case: id; empty where a file of many cases cannot be read.
        points: LPS points in mm by landmark, ``None`` where absent; for a GSPS (column, row) pixels
            of the slice, whole numbers at pixel centres; none for a picture.
        images: SOPInstanceUIDs that the file refers to.
        record: content of ``landmarks.json``; ``None`` of other kinds.
        error: why the file cannot be read; empty where it can.
    """

    file: Path
    kind: Kind
    case: str
    points: Points = field(default_factory=dict)
    images: tuple[str, ...] = ()
    record: Mapping[str, Any] | None = None
    error: str = ""


def read_result(path: Path, case: str) -> list[Reading]:
    """Read a result file, one reading a case.

    Args:
        path: of any kind.
        case: id, for kinds that do not name it themselves.

    Returns:
        Readings; one with ``error`` where the file cannot be read.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is of no known kind.
    """
    kind = result_kind(path)
    try:
        return READERS[kind](path, case)
    except DAMAGE as error:
        said = str(error) if isinstance(error, ValueError) else type(error).__name__
        owner = "" if kind in OF_MANY_CASES else case
        return [Reading(path, kind, owner, error=f"cannot be read: {said}")]


def find_results(paths: Sequence[Path]) -> list[Path]:
    """Return the result files that paths name, and the ``landmarks.json`` beside each of them.

    Args:
        paths: files; folders of a case or of a run, whose files that are no results are passed by.

    Raises:
        FileNotFoundError: a path does not exist.
        ValueError: a file is of no known kind, or a folder holds none.
    """
    found: dict[Path, None] = {}
    for path in paths:
        for file in _in_folder(path) if path.is_dir() else [path]:
            beside = file.parent / RESULT_FILE
            if result_kind(file) not in OF_MANY_CASES and beside.is_file():
                found.setdefault(beside)
            found.setdefault(file)
    return list(found)


def case_at(path: Path, known: Sequence[str]) -> str:
    """Return the case of a file that does not name it: by the record beside it, or the only one.

    Args:
        path: of the file.
        known: cases of the records at hand.
    """
    beside = _case_of_record(path.parent / RESULT_FILE)
    return beside or (known[0] if len(known) == 1 else place_of(path).parent.name)


def known_cases(files: Sequence[Path]) -> list[str]:
    """Return the cases of the records among the files."""
    records = [file for file in files if result_kind(file) is Kind.RECORD]
    return [case for file in records if (case := _case_of_record(file))]


def _case_of_record(path: Path) -> str | None:
    try:
        return str(read_case(path)["case"])
    except (ValueError, OSError):
        return None


def _in_folder(folder: Path) -> list[Path]:
    """Results in a folder and in its folders."""
    files = [f for f in sorted([*folder.iterdir(), *folder.glob("*/*")]) if _may_be_result(f)]
    results = [file for file in files if _is_result(file)]
    if not results:
        msg = f"{folder} must hold results of spine_monai: expected {EXPECTED}, got none of them. "
        raise ValueError(msg + "Name a folder that `spine-monai localize` wrote.")
    return results


def _may_be_result(path: Path) -> bool:
    is_named = path.name in NAMES or path.name.endswith((MARKUPS_SUFFIX, ".dcm"))
    return is_named and path.is_file()


def _is_result(path: Path) -> bool:
    try:
        result_kind(path)
    except ValueError:
        return False
    return True


def _record(path: Path, _case: str) -> list[Reading]:
    content = read_case(path)
    points = points_of_record(content)
    return [Reading(path, Kind.RECORD, str(content["case"]), points, record=content)]


def _markups(path: Path, case: str) -> list[Reading]:
    return [Reading(path, Kind.MARKUPS, case, read_markups(path))]


def _table(path: Path, _case: str) -> list[Reading]:
    return [Reading(path, Kind.TABLE, case, points) for case, points in read_table(path).items()]


def _page(path: Path, _case: str) -> list[Reading]:
    readings = []
    for case, positions in read_page_data(path).items():
        points = {n: None if p is None else finite_point(p) for n, p in positions.items()}
        readings.append(Reading(path, Kind.PAGE, case, points))
    return readings


def _report(path: Path, case: str) -> list[Reading]:
    check_whole(path, Kind.SR)
    points: Points = {n: finite_point(p) for n, p in points_lps_of_sr(path).items()}
    return [Reading(path, Kind.SR, case, points)]


def _presentation(path: Path, case: str) -> list[Reading]:
    check_whole(path, Kind.GSPS)
    by_image = points_xy_by_image(path)
    found = [pair for image in by_image.values() for pair in image.items()]
    points: Points = {name: finite_point(xy, 2) for name, xy in found}
    return [Reading(path, Kind.GSPS, case, points, images=tuple(by_image))]


def _capture(path: Path, case: str) -> list[Reading]:
    check_whole(path, Kind.CAPTURE)
    images = sc_reference(path)
    with quiet():
        pixels = pydicom.dcmread(path).pixel_array
    if pixels.min() == pixels.max():
        msg = f"{path} must show a picture: all its pixels are {pixels.min()}."
        raise ValueError(msg)
    return [Reading(path, Kind.CAPTURE, case, images=images)]


READERS: dict[Kind, Callable[[Path, str], list[Reading]]] = {
    Kind.RECORD: _record,
    Kind.MARKUPS: _markups,
    Kind.TABLE: _table,
    Kind.PAGE: _page,
    Kind.SR: _report,
    Kind.GSPS: _presentation,
    Kind.CAPTURE: _capture,
}
