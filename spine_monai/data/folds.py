"""Subjects and folds: which cases belong to one patient, and in which part of the data they are.

A patient is never in two folds. Where the patient is known from DICOM, the subject's name in the
datalist is a keyed digest (HMAC-SHA256, 64 bits of it) of PatientID: the same for all studies of
the patient, whatever is converted and when. Identifiers are few and short, so whoever has the key
can try them all, and the key that is used where none is given is public: give a secret one wherever
the datalist leaves your hands.
"""

import csv
import hmac
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pydicom

from spine_monai.data.checks import check_one_fold_a_subject
from spine_monai.data.datalists import Item, assign_folds
from spine_monai.readers.quiet import silence_pydicom

PUBLIC_KEY = b"spine_monai subjects"
LEAST_KEY_BYTES = 16
DIGEST_DIGITS = 16  # hexadecimal: of a million patients no two share one, but for one chance in 1e7


def read_folds(path: Path) -> dict[str, int]:
    """Read the fold of each case from a CSV with the columns ``case`` and ``fold``.

    Raises:
        ValueError: a column is missing, or a fold is no whole number.
    """
    return _read_column(path, "fold", int, "a whole number")


def read_subjects(path: Path) -> dict[str, str]:
    """Read the subject of each case from a CSV with the columns ``case`` and ``subject``.

    Raises:
        ValueError: a column is missing, or a subject has no name.
    """
    return _read_column(path, "subject", _name, "a name")


def with_subjects(items: Sequence[Item], subjects_file: Path | None) -> list[Item]:
    """Return the items with the subjects of a file; without a file, as they are.

    Raises:
        ValueError: the file is wrong, or does not name a case.
    """
    if subjects_file is None:
        return list(items)
    return _with_column(items, "subject", read_subjects(subjects_file), subjects_file)


def with_folds(items: Sequence[Item], folds_file: Path | None, *, seed: int = 0) -> list[Item]:
    """Return the items with the folds of a file; without a file, with four folds by subject.

    Args:
        items: datalist items with ``id`` and ``subject``.
        folds_file: CSV with the columns ``case`` and ``fold``.
        seed: of the folds that are drawn.

    Raises:
        ValueError: the file is wrong, does not name a case, or puts a subject into two folds.
    """
    if folds_file is None:
        return assign_folds(items, seed=seed)
    folded = _with_column(items, "fold", read_folds(folds_file), folds_file)
    check_one_fold_a_subject(folded, folds_file)
    return folded


def read_subject_key(path: Path | None) -> bytes:
    """Read the key of the subjects' digests; without a file it is the public one.

    Raises:
        ValueError: the file holds fewer than 16 bytes.
        OSError: the file cannot be read.
    """
    if path is None:
        return PUBLIC_KEY
    key = path.read_bytes().strip()
    if len(key) < LEAST_KEY_BYTES:
        msg = f"{path} must hold a secret of at least {LEAST_KEY_BYTES} bytes: got {len(key)}. "
        msg += "Make one with `openssl rand -hex 32`."
        raise ValueError(msg)
    return key


def subject_of_dicom(stream: IO[bytes], key: bytes = PUBLIC_KEY) -> str | None:
    """Return the digest of a DICOM file's PatientID; ``None`` where it has none.

    Args:
        stream: the bytes of any file of the study.
        key: see ``read_subject_key``.
    """
    silence_pydicom()
    header = pydicom.dcmread(
        stream, stop_before_pixels=True, force=True, specific_tags=["PatientID"]
    )
    patient = str(header.get("PatientID") or "").strip()
    if not patient:
        return None
    return f"patient-{hmac.new(key, patient.encode(), 'sha256').hexdigest()[:DIGEST_DIGITS]}"


def _name(text: str) -> str:
    if not text.strip():
        msg = "an empty name"
        raise ValueError(msg)
    return text.strip()


def _read_column(
    path: Path, column: str, parse: Callable[[str], Any], expected: str
) -> dict[str, Any]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:  # Excel begins with a BOM
            rows = list(csv.DictReader(stream))
        values = {row["case"]: parse(row[column]) for row in rows}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        msg = f"{path} must have the columns 'case' and '{column}' ({expected}): {error!r}."
        raise ValueError(msg) from error
    if len(values) < len(rows):
        msg = f"{path} must name each case once: got {len(rows)} rows for {len(values)} cases."
        raise ValueError(msg)
    return values


def _with_column(
    items: Sequence[Item], column: str, values: Mapping[str, Any], path: Path
) -> list[Item]:
    missing = [item["id"] for item in items if item["id"] not in values]
    if missing:
        msg = f"{path} must name a {column} for each case: {', '.join(missing)} is missing."
        raise ValueError(msg)
    return [item | {column: values[item["id"]]} for item in items]
