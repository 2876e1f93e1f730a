"""``spine-monai verify``."""

import argparse
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spine_monai.cli.codes import DONE, SOME_FAILED

if TYPE_CHECKING:
    from spine_monai.workflows.verification import Check

HEADS = ("file", "format", "landmarks", "largest difference", "tolerance", "")


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "verify",
        help="read results back and say whether they agree",
        description="Read results of every format back, and say whether the landmarks of each case "
        "agree with its landmarks.json. Exit code 0 where all do, 1 where not.",
    )
    command.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="landmarks.json, .mrk.json, landmarks.csv, report.html, DICOM SR, GSPS or SC; or a "
        "folder of a case or of `localize`",
    )
    command.set_defaults(command=_verify)


def _verify(options: argparse.Namespace) -> int:
    from spine_monai.workflows.verification import verify

    verification = verify(options.files)
    for case, checks in groupby(verification.checks, key=lambda check: check.reading.case):
        print(f"{case or 'of no case'}:")
        _print_table(list(checks))
    if verification.not_compared:
        print(f"{verification.not_compared} further cases have no other file and were left out")
    cases = {check.reading.case for check in verification.checks}
    wrong = {check.reading.case for check in verification.checks if check.problems}
    if verification.agrees:
        print(f"all files agree ({len(cases)} cases)")
        return DONE
    print(f"{len(wrong)} of {len(cases)} cases disagree")
    return SOME_FAILED


def _print_table(checks: list["Check"]) -> None:
    rows = [HEADS, *map(_row, checks)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  " + "  ".join(cells).rstrip())
    for check in checks:
        for problem in check.problems:
            print(f"  {check.reading.file}: {problem}")


def _row(check: "Check") -> tuple[str, ...]:
    reading, largest_mm, tolerance_mm = check.reading, check.largest_mm, check.tolerance_mm
    return (
        reading.file.name,
        reading.kind.value,
        str(check.count) if reading.points else "-",
        "-" if largest_mm is None else f"{largest_mm:.6f} mm",
        "-" if tolerance_mm is None else f"{tolerance_mm:g} mm",
        _verdict(check),
    )


def _verdict(check: "Check") -> str:
    if check.problems:
        return "CANNOT BE READ" if check.reading.error.startswith("cannot") else "DISAGREES"
    return "agrees" if check.reference else "reference"
