"""The files of one case: the formats there are, how they are written, when they are finished."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from spine_monai.files import write_text, write_whole
from spine_monai.viz import draw_overlay, require_matplotlib
from spine_monai.writers import MARKUPS_FILE, RESULT_FILE, Result, case_text, markups_text
from spine_monai.writers.json import read_case

OVERLAY_FILE = "overlay.png"
FORMATS = ("json", "csv", "markups", "overlay")
DEFAULT_FORMATS = ("json", "csv", "markups")
CASE_FILES = {"json": RESULT_FILE, "markups": MARKUPS_FILE, "overlay": OVERLAY_FILE}


def check_formats(formats: Sequence[str]) -> tuple[str, ...]:
    """Return the formats if each can be written here.

    Raises:
        ValueError: a format is unknown.
        ImportError: a format needs a package that is not installed.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        msg = f"formats must be among {', '.join(FORMATS)}: got {', '.join(unknown)}."
        raise ValueError(msg)
    if "overlay" in formats:
        require_matplotlib()
    return tuple(formats)


def write_case(
    folder: Path, formats: Sequence[str], content: Mapping[str, Any], result: Result
) -> None:
    """Write a case's files, each whole or not at all, ``landmarks.json`` last: it marks the end.

    Args:
        folder: of the case; made if need be.
        formats: kinds of files; JSON is always written.
        content: of ``landmarks.json``.
        result: the case's landmarks, source and slice.

    Raises:
        OSError: the folder cannot be written.
    """
    if "markups" in formats:
        write_text(folder / MARKUPS_FILE, markups_text(result.landmarks))
    if "overlay" in formats:
        write_whole(folder / OVERLAY_FILE, partial(draw_overlay, result))
    write_text(folder / RESULT_FILE, case_text(content))


def why_not_finished(
    folder: Path, digest: str, expected: Mapping[str, Any], formats: Sequence[str]
) -> str | None:
    """Say why a case must be done again, or ``None`` where its files are those of this job.

    Args:
        folder: of the case.
        digest: SHA-256 of the study as it is now.
        expected: ``bundle`` and ``options`` of the record, as this job would write them.
        formats: kinds of files that this job writes.
    """
    try:
        content = read_case(folder / RESULT_FILE)
    except (ValueError, FileNotFoundError):
        return f"it has no readable {RESULT_FILE}"
    if content["source"]["sha256"] != digest:
        return "its study has changed"
    changed = [key for key, value in expected.items() if content.get(key) != value]
    if changed:
        return f"it was done with another {' and '.join(changed)}"
    files = [CASE_FILES[name] for name in formats if name in CASE_FILES]
    missing = [name for name in files if not (folder / name).is_file()]
    return f"{', '.join(missing)} is missing" if missing else None
