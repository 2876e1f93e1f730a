"""One object: read, checked, cleaned, and written whole."""

import io
from collections import Counter
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from spine_monai.deidentify.cleaning import Cleaner
from spine_monai.deidentify.pixels import COMPRESSED, NATIVE, stored_pixels
from spine_monai.deidentify.pseudonyms import Patient, Pseudonyms
from spine_monai.deidentify.refusal import RefusedError, check_is_exported
from spine_monai.files import write_whole
from spine_monai.readers.archive import Source
from spine_monai.readers.deflated import check_inflated_size, is_deflated
from spine_monai.readers.errors import StudyError
from spine_monai.readers.quiet import silence_pydicom

NEEDED = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
OTHER_PATIENT = "it names another patient than the first image of the series"


def read_object(source: Source) -> Dataset:
    """Read all of an object.

    Raises:
        RefusedError: it cannot be read, or is no image that is exported.
    """
    silence_pydicom()
    try:
        with source.open() as stream:
            content = stream.read()
        if is_deflated(content):
            check_inflated_size(content)
        dataset = pydicom.dcmread(io.BytesIO(content), force=True)
        check_is_exported(dataset)
    except (RefusedError, StudyError):
        raise
    except Exception as error:  # of any kind, on damaged bytes; its text would quote a value
        msg = f"it cannot be read ({type(error).__name__})"
        raise RefusedError(msg) from None
    return dataset


def patient_of(dataset: Dataset, pseudonyms: Pseudonyms) -> Patient:
    """Return whose images they are: by PatientID and its issuer, else by the study.

    Raises:
        RefusedError: neither can be read.
    """
    try:
        number, issuer, study = (
            str(dataset.get(keyword) or "").strip()
            for keyword in ("PatientID", "IssuerOfPatientID", "StudyInstanceUID")
        )
    except Exception as error:  # of any kind, on damaged bytes; its text would quote a value
        msg = f"its PatientID cannot be read ({type(error).__name__})"
        raise RefusedError(msg) from None
    return Patient(f"id\0{number}\0{issuer}" if number else f"study\0{study}", pseudonyms)


def export_object(
    dataset: Dataset, patient: Patient, description: str, folder: Path
) -> Counter[str]:
    """Write what may stay of an object as ``<new SOPInstanceUID>.dcm``.

    Args:
        dataset: as it was read.
        patient: of the series.
        description: of the series, in our words.
        folder: of the series.

    Returns:
        How often which attribute was dropped.

    Raises:
        RefusedError: it is another patient's, or its pixels or UIDs cannot be taken over.
        OSError: the folder cannot be written.
    """
    if patient_of(dataset, patient.pseudonyms) != patient:
        raise RefusedError(OTHER_PATIENT)
    cleaner = Cleaner(patient, description)
    try:
        cleaned = _cleaned(dataset, cleaner)
    except RefusedError:
        raise
    except Exception as error:  # of any kind, on damaged bytes; its text would quote a value
        msg = f"its header cannot be taken over ({type(error).__name__})"
        raise RefusedError(msg) from None
    path = _free_name(folder, str(cleaned.SOPInstanceUID))
    write_whole(path, lambda aside: cleaned.save_as(aside, enforce_file_format=True))
    return cleaner.dropped


def _cleaned(dataset: Dataset, cleaner: Cleaner) -> Dataset:
    syntax = _syntax_of(dataset)
    pixels = stored_pixels(dataset, syntax)
    cleaned = cleaner.clean(dataset)
    missing = [keyword for keyword in NEEDED if not cleaned.get(keyword)]
    if missing:
        msg = f"it has no valid {', '.join(missing)}"
        raise RefusedError(msg)
    is_words = syntax in COMPRESSED or cleaned.BitsAllocated <= 8
    cleaned.add_new("PixelData", "OB" if is_words else "OW", pixels)
    cleaned["PixelData"].is_undefined_length = syntax in COMPRESSED
    cleaned.file_meta = FileMetaDataset()
    cleaned.file_meta.TransferSyntaxUID = syntax
    return cleaned


def _syntax_of(dataset: Dataset) -> UID:
    """The transfer syntax, of a file without one that in which it could be parsed.

    Raises:
        RefusedError: it is none that DICOM defines for images like these.
    """
    is_implicit, is_little = dataset.original_encoding
    plain = ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian
    guess = plain if is_little else ExplicitVRBigEndian
    syntax = UID(str(dataset.file_meta.get("TransferSyntaxUID") or guess))
    if syntax not in (*NATIVE, *COMPRESSED):
        msg = "its transfer syntax is none of DICOM's for grey images"
        raise RefusedError(msg)
    return syntax


def _free_name(folder: Path, uid: str) -> Path:
    """A file of that UID; where several images have one, as bad copies do, with a number."""
    number, path = 1, folder / f"{uid}.dcm"
    while path.exists():
        number += 1
        path = folder / f"{uid}_{number}.dcm"
    return path
