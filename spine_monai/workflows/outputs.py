"""The files of one case: the formats there are, how they are written, when they are finished."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from spine_monai.files import write_all_whole
from spine_monai.readers import LocatedStudy
from spine_monai.viz import draw_overlay, require_matplotlib
from spine_monai.viz.report_page import PAGE_FILE, write_report_page
from spine_monai.viz.secondary_capture import write_sc
from spine_monai.viz.thumbnails import THUMBNAIL_FILE, thumbnail_jpeg
from spine_monai.writers import (
    MARKUPS_FILE,
    RESULT_FILE,
    Result,
    case_text,
    markups_text,
    write_table,
)
from spine_monai.writers.dicom_gsps import write_gsps
from spine_monai.writers.dicom_reference import check_is_dicom, require_highdicom
from spine_monai.writers.dicom_sr import write_sr
from spine_monai.writers.json import read_case
from spine_monai.writers.table import TABLE_FILE

OUTDATED = ".outdated"  # after the name of a file that an earlier run left of a case that failed
Writer = Callable[[Path], object]

FORMATS = ("json", "csv", "markups", "overlay", "report", "sr", "sc", "gsps")
DEFAULT_FORMATS = ("json", "csv", "markups")
DICOM_FORMATS = ("sr", "sc", "gsps")
PICTURE_FORMATS = ("overlay", "report", "sc")
CASE_FILES = {
    "json": RESULT_FILE,
    "markups": MARKUPS_FILE,
    "overlay": "overlay.png",
    "report": THUMBNAIL_FILE,
    "sr": "landmarks.dcm",
    "sc": "overlay.dcm",
    "gsps": "presentation.dcm",
}


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
    if set(formats) & set(PICTURE_FORMATS):
        require_matplotlib()
    if set(formats) & set(DICOM_FORMATS):
        require_highdicom()
    return tuple(formats)


def check_source(formats: Sequence[str], study: LocatedStudy) -> None:
    """Refuse a study that the formats cannot be written for, before any work on it.

    Raises:
        ValueError: results as DICOM are wanted, and the study is not DICOM.
    """
    if set(formats) & set(DICOM_FORMATS):
        check_is_dicom(study, in_patient_space="sr" in formats)


def write_case(
    folder: Path,
    formats: Sequence[str],
    content: Mapping[str, Any],
    result: Result,
    study: LocatedStudy,
) -> None:
    """Write a case's files, all or, if one cannot be made, none.

    ``landmarks.json`` appears last: it marks the end. Files of other formats that an earlier run
    left are written anew, so that all of them agree; those that were set aside are removed.

    Args:
        folder: of the case; made if need be.
        formats: kinds of files; JSON is always written.
        content: of ``landmarks.json``.
        result: the case's landmarks, source and slice.
        study: what the case was read from.

    Raises:
        OSError: the folder cannot be written.
    """
    text = case_text(content)
    writers = _plain_writers(result) | _dicom_writers(result, content, study)
    paths = {name: folder / CASE_FILES[name] for name in writers}
    wanted = [name for name, path in paths.items() if name in formats or path.is_file()]
    files = {paths[name]: writers[name] for name in wanted}
    files[folder / RESULT_FILE] = lambda path: path.write_text(text, encoding="utf-8")
    write_all_whole(files)
    for name in CASE_FILES.values():
        (folder / f"{name}{OUTDATED}").unlink(missing_ok=True)


def set_aside(folder: Path) -> bool:
    """Rename a case's files of an earlier run, so that nobody takes them for those of this one.

    ``landmarks.json`` goes first, for it is what marks the others as finished.

    Args:
        folder: of the case.

    Returns:
        Whether there were any.

    Raises:
        OSError: the folder cannot be written.
    """
    files = [path for name in CASE_FILES.values() if (path := folder / name).is_file()]
    for file in files:
        file.replace(file.with_name(f"{file.name}{OUTDATED}"))
    return bool(files)


def was_set_aside(folder: Path) -> bool:
    """Whether a case's ``landmarks.json`` was renamed by ``set_aside`` and not written again."""
    result = folder / RESULT_FILE
    return result.with_name(f"{RESULT_FILE}{OUTDATED}").is_file() and not result.is_file()


def write_run(output_dir: Path, formats: Sequence[str]) -> None:
    """Write the files that hold all cases, those asked for and those there: table, report's page.

    Raises:
        OSError: the folder cannot be written.
    """
    if "csv" in formats or (output_dir / TABLE_FILE).is_file():
        write_table(output_dir)
    if "report" in formats or (output_dir / PAGE_FILE).is_file():
        write_report_page(output_dir)


def _plain_writers(result: Result) -> dict[str, Writer]:
    return {
        "markups": lambda path: path.write_text(_markups(result), encoding="utf-8"),
        "overlay": lambda path: draw_overlay(result, path),
        "report": lambda path: path.write_bytes(thumbnail_jpeg(result)),
    }


def _markups(result: Result) -> str:
    return markups_text(result.landmarks, has_patient_geometry=result.source["kind"] != "picture")


def _dicom_writers(
    result: Result, content: Mapping[str, Any], study: LocatedStudy
) -> dict[str, Writer]:
    if study.series is None:
        return {}
    writers = {"sr": write_sr, "sc": write_sc, "gsps": write_gsps}
    return {name: partial(write, result, content, study.series) for name, write in writers.items()}


def why_not_finished(
    folder: Path, digest: str | None, expected: Mapping[str, Any], formats: Sequence[str]
) -> str | None:
    """Say why a case must be done again, or ``None`` where its files are those of this job.

    Args:
        folder: of the case.
        digest: SHA-256 of the study as it is now; ``None``, if not known, is not compared.
        expected: ``bundle`` and ``options`` of the record, as this job would write them.
        formats: kinds of files that this job writes.
    """
    try:
        content = read_case(folder / RESULT_FILE)
    except (ValueError, FileNotFoundError):
        return f"it has no readable {RESULT_FILE}"
    if digest is not None and content["source"]["sha256"] != digest:
        return "its study has changed"
    changed = [key for key, value in expected.items() if content.get(key) != value]
    if changed:
        return f"it was done with another {' and '.join(changed)}"
    files = [CASE_FILES[name] for name in formats if name in CASE_FILES]
    missing = [name for name in files if not (folder / name).is_file()]
    return f"{', '.join(missing)} is missing" if missing else None
