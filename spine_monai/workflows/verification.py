"""Verify: read result files of every format back, and say whether their landmarks agree.

Files of one case are compared with its ``landmarks.json``, or with the first file where there is
none. Points are compared in patient space, in mm. A presentation state (GSPS) holds pixels of the
slice: they are compared with those of ``landmarks.json``, and the difference is given in mm, too;
it holds no landmark outside the image. A picture (SC) holds no points: it must open and refer to a
slice of ``landmarks.json``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spine_monai.geometry import LPS_FROM_RAS, apply_affine
from spine_monai.workflows.result_files import (
    OF_MANY_CASES,
    Reading,
    case_at,
    find_results,
    known_cases,
    read_result,
)
from spine_monai.writers.read_back import EXPECTED, Kind, Points

Known = Mapping[str, NDArray[np.float64]]
# Text formats hold all digits (the report four decimals), DICOM 32 bits: 0.00002 mm at 300 mm.
TOLERANCE_MM = 1e-3
# landmarks.json has the frame of one slice; the corners of the others may lie a little beside it.
OTHER_SLICE_MM = 1.0
WITHOUT_LPS = (Kind.GSPS, Kind.CAPTURE)
LACKING = "does not hold the case"
ALONE = "there is nothing to compare it with: name the case's other files"


@dataclass(frozen=True)
class Check:
    """How one file compares with the reference of its case.

    Args:
        reading: what the file says.
        reference: file it was compared with; ``None`` where it was not compared.
        largest_mm: largest difference of a landmark; ``None`` where none was measured.
        tolerance_mm: what may differ; ``None`` where no points are compared.
        problems: what disagrees, naming the landmark where there is one.
    """

    reading: Reading
    reference: Path | None = None
    largest_mm: float | None = None
    tolerance_mm: float | None = None
    problems: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many landmarks the file has, absent ones left out."""
        return sum(point is not None for point in self.reading.points.values())


@dataclass(frozen=True)
class Verification:
    """All checks, case by case.

    Args:
        checks: of every file, for every case.
        not_compared: how many cases of tables and reports no other file belongs to.
    """

    checks: list[Check]
    not_compared: int = 0

    @property
    def agrees(self) -> bool:
        """Whether every file could be read and agrees."""
        return not any(check.problems for check in self.checks)


def verify(paths: Sequence[str | Path]) -> Verification:
    """Read result files back and compare them, case by case.

    Args:
        paths: result files, case folders, or folders of ``localize``. The ``landmarks.json``
            beside a file is taken, too.

    Raises:
        FileNotFoundError: a path does not exist.
        ValueError: a file is of no known kind, or there is nothing to compare.
    """
    files = find_results([Path(path) for path in paths])
    known = known_cases(files)
    by_file = [read_result(file, case_at(file, known)) for file in files]
    readings = [one for of_file in by_file for one in of_file]
    cases = _cases(readings)
    groups = [[r for f in by_file if (r := _reading_of(f, case))] for case in cases]
    checks = [check for group in groups for check in _checks(group)]
    checks += [Check(one, problems=(one.error,)) for one in readings if not one.case]
    if all(check.reference is None and not _is_broken(check) for check in checks):
        msg = f"files must be at least two of one case: expected {EXPECTED}, got "
        msg += f"{', '.join(map(str, files))}. Name the folder of the results instead."
        raise ValueError(msg)
    return Verification(checks, len({one.case for one in readings} - {*cases, ""}))


def _is_broken(check: Check) -> bool:
    return bool(check.reading.error)


def _cases(readings: Sequence[Reading]) -> list[str]:
    """The cases to compare: those that a file of their own belongs to, else those of the tables."""
    own = [one.case for one in readings if one.kind not in OF_MANY_CASES]
    return list(dict.fromkeys(own or [one.case for one in readings if one.case]))


def _reading_of(of_file: Sequence[Reading], case: str) -> Reading | None:
    """What a file says of a case; that a table or report lacks it is an error."""
    found = [one for one in of_file if one.case == case]
    if found:
        return found[0]
    is_many = all(one.kind in OF_MANY_CASES and not one.error for one in of_file)
    if not of_file or not is_many:
        return None
    return Reading(of_file[0].file, of_file[0].kind, case, error=LACKING)


def _checks(group: Sequence[Reading]) -> list[Check]:
    """Compare the files of one case; the reference comes first."""
    usable = [one for one in group if not one.error and one.kind not in WITHOUT_LPS]
    usable.sort(key=lambda one: one.kind is not Kind.RECORD)
    if not usable:
        return [Check(one, problems=(one.error or ALONE,)) for one in group]
    reference = usable[0]
    others = [_check(one, reference) for one in group if one is not reference]
    return [Check(reference, problems=() if others else (ALONE,)), *others]


def _check(one: Reading, reference: Reading) -> Check:
    if one.error:
        return Check(one, reference.file, problems=(one.error,))
    if one.kind not in WITHOUT_LPS:
        return _compare(one, reference, one.points, reference.points, TOLERANCE_MM)
    if reference.record is None:
        message = "can only be compared with the landmarks.json of the case: name it, too"
        return Check(one, reference.file, problems=(message,))
    strange = _strange_images(one, reference.record)
    if one.kind is Kind.CAPTURE:
        return Check(one, reference.file, problems=strange)
    return _compare_pixels(one, reference, strange)


def _strange_images(one: Reading, record: Any) -> tuple[str, ...]:
    """Images that a file refers to and that are not slices of the record."""
    known = {record["source"].get("SOPInstanceUID")}
    known |= {entry.get("slice", {}).get("SOPInstanceUID") for entry in record["landmarks"]}
    strange = sorted(set(one.images) - known)
    if strange or not one.images:
        named = ", ".join(strange) or "none"
        return (f"must refer to the slice of the record: it refers to the image {named}",)
    return ()


def _compare_pixels(one: Reading, reference: Reading, strange: tuple[str, ...]) -> Check:
    """Compare pixels of the slice, as vectors in mm along its plane."""
    record = reference.record or {}
    plane = np.array(record["slice"]["lps_from_column_row"], dtype=np.float64)[:3, :2]
    expected: Points = {name: plane @ xy for name, xy in _drawn_xy(record).items()}
    points: Points = {name: None if p is None else plane @ p for name, p in one.points.items()}
    is_one_slice = set(one.images) <= {record["source"].get("SOPInstanceUID")}
    tolerance_mm = TOLERANCE_MM if is_one_slice else OTHER_SLICE_MM
    check = _compare(one, reference, points, expected, tolerance_mm)
    return Check(one, reference.file, check.largest_mm, tolerance_mm, strange + check.problems)


def _drawn_xy(record: Mapping[str, Any]) -> Known:
    """The pixels of a record's landmarks that lie inside its slice."""
    size = np.array([record["slice"]["columns"], record["slice"]["rows"]])
    pixels = {entry["name"]: entry["position_px"] for entry in record["landmarks"]}
    places = {n: np.array([px["column"], px["row"]]) for n, px in pixels.items() if px}
    return {n: xy for n, xy in places.items() if ((xy >= -0.5) & (xy <= size - 0.5)).all()}


def _compare(
    one: Reading, reference: Reading, points: Points, expected: Points, tolerance_mm: float
) -> Check:
    here = {name: point for name, point in points.items() if point is not None}
    there = {name: point for name, point in expected.items() if point is not None}
    differences_mm = {
        name: float(np.linalg.norm(here[name] - there[name])) for name in there if name in here
    }
    problems = _misplaced(here, there, differences_mm, tolerance_mm)
    problems += [f"{name} is missing" for name in there if name not in here]
    without = f"has a point, and none in {reference.file.name}"
    problems += [f"{name} {without}" for name in here if name not in there]
    largest_mm = max(differences_mm.values(), default=None)
    return Check(one, reference.file, largest_mm, tolerance_mm, tuple(problems))


def _misplaced(
    here: Known, there: Known, differences_mm: Mapping[str, float], tolerance_mm: float
) -> list[str]:
    """Say of each landmark that lies elsewhere how far, and what may have happened."""
    wrong = {name: mm for name, mm in differences_mm.items() if mm > tolerance_mm}
    problems = [
        f"{name} lies {mm:.3f} mm away{_place_of(here[name], there, tolerance_mm)}"
        for name, mm in wrong.items()
    ]
    if wrong and _is_mirrored(here, there, list(differences_mm), tolerance_mm):
        problems.insert(0, "x and y have the other sign: its points are RAS, not LPS")
    return problems


def _place_of(point: NDArray[np.float64], there: Known, tolerance_mm: float) -> str:
    """Which landmark lies where the point is; empty where none does."""
    for name, wanted in there.items():
        if np.linalg.norm(point - wanted) <= tolerance_mm:
            return f": it lies where {name} belongs"
    return ""


def _is_mirrored(here: Known, there: Known, names: Sequence[str], tolerance_mm: float) -> bool:
    """Whether the points would agree as RAS."""
    flipped = apply_affine(LPS_FROM_RAS, [here[name] for name in names])
    wanted = np.array([there[name] for name in names])
    return bool((np.linalg.norm(flipped - wanted, axis=-1) <= tolerance_mm).all())
