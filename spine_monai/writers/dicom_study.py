"""How a DICOM result joins the study of its images: identity, UIDs, dates, and marks of origin.

An object is the same, byte for byte, whenever it is made of the same images with the same weights
and options on as many threads (another number rounds otherwise): its UIDs are derived from them,
and its dates are the images' own. When the program ran stands in ``report.json``.
"""

import hashlib
import json
import logging
import re
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

from pydicom.datadict import dictionary_VR
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag

from spine_monai.readers.errors import StudyError
from spine_monai.readers.quiet import silence_pydicom
from spine_monai.readers.series import Series

ObjectKind = Literal["sr", "sc", "gsps"]
SOFTWARE = "spine_monai"
SERIES_NUMBERS: dict[ObjectKind, int] = {"sr": 9701, "sc": 9702, "gsps": 9703}
DESCRIPTIONS: dict[ObjectKind, str] = {
    "sr": "Spine landmarks, SR (research only, unverified)",
    "sc": "Spine landmarks, picture (research only, unverified)",
    "gsps": "Spine landmarks, GSPS (research only, unverified)",
}
NO_DATE, NO_TIME = "19000101", "000000"
DATE_KEYWORDS = ("Content", "Acquisition", "Series", "Study")
# Patient, General Study, Patient Study and Clinical Trial modules: what must agree in a study.
IDENTITY_KEYWORDS = (
    *("SpecificCharacterSet", "TimezoneOffsetFromUTC"),
    *("PatientName", "PatientID", "IssuerOfPatientID", "TypeOfPatientID", "PatientBirthDate"),
    *("PatientBirthTime", "PatientSex", "OtherPatientIDs", "OtherPatientIDsSequence"),
    *("IssuerOfPatientIDQualifiersSequence", "OtherPatientNames", "EthnicGroup"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription"),
    *("AccessionNumber", "IssuerOfAccessionNumberSequence", "ReferringPhysicianName"),
    *("PatientAge", "PatientSize", "PatientWeight"),
    *("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName"),
    *("ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSubjectID"),
    *("ClinicalTrialSubjectReadingID", "ClinicalTrialTimePointID"),
)
# The moment of writing, which highdicom stamps.
MOMENTS = (
    *("InstanceCreationDate", "InstanceCreationTime"),
    *("DateOfSecondaryCapture", "TimeOfSecondaryCapture"),
)
NOT_READABLE = (
    *(InvalidDicomError, AttributeError, LookupError, TypeError, ValueError),
    *(NotImplementedError, EOFError, StopIteration),
)
TEXT_VRS = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")
DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
TIME = re.compile(r"([01]\d|2[0-3])[0-5]\d[0-5]\d(\.\d{1,6})?")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the DICOM libraries, whose messages quote values and UIDs."""
    logger = logging.getLogger("highdicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            silence_pydicom()
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def building(series: Series) -> Iterator[None]:
    """Build an object of a series' headers, quietly; what goes wrong is told without their words.

    Raises:
        ValueError: a header holds what cannot be taken over.
    """
    with quiet():
        try:
            yield
        except (OSError, StudyError):
            raise
        except Exception as error:  # of any kind, from libraries that quote values
            msg = f"{series.label} must have headers that can be taken over to get results as "
            msg += f"DICOM: {type(error).__name__}. Leave out the formats sr, sc and gsps for it."
            raise ValueError(msg) from None


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Read back an object, quietly; what goes wrong is told without the object's own words.

    Raises:
        ValueError: the file is no such object.
    """
    with quiet():
        try:
            yield
        except NOT_READABLE as error:
            msg = f"{path} must be {what}: {type(error).__name__}."
            raise ValueError(msg) from error


def result_uid(content: Mapping[str, Any], series: Series, *words: str) -> str:
    """Return a UID that depends on the images, weights and options, and on nothing else.

    Args:
        content: of ``landmarks.json``.
        series: the images.
        *words: which thing of the result it names.

    Source: DICOM PS3.5 B.2, UUID derived UID.
    """
    made_of = {
        "series": [series.uid, sorted({one.sop_instance_uid for one in series.instances})],
        "slice": [content["source"]["SOPInstanceUID"], content["slice"]["index"]],
        "made_by": [content["software"], content["bundle"], content["options"]],
        "landmark_set": content["landmark_set"],
        "words": words,
    }
    name = json.dumps(made_of, sort_keys=True)
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}"


def weights_digest(content: Mapping[str, Any]) -> str:
    """Return one SHA-256 for all weights of the bundle."""
    weights = json.dumps(content["bundle"]["weights_sha256"], sort_keys=True)
    return hashlib.sha256(weights.encode()).hexdigest()


def object_arguments(
    kind: ObjectKind, content: Mapping[str, Any], series: Series
) -> dict[str, Any]:
    """Return what highdicom's constructors take alike: UIDs, numbers, and the software's marks."""
    bundle = content["bundle"]
    return {
        "series_instance_uid": result_uid(content, series, kind, "series"),
        "sop_instance_uid": result_uid(content, series, kind, "instance"),
        "series_number": SERIES_NUMBERS[kind],
        "instance_number": 1,
        "series_description": DESCRIPTIONS[kind],
        "manufacturer": SOFTWARE,
        "manufacturer_model_name": str(bundle["name"]),
        "software_versions": (content["software"]["version"], f"bundle {bundle['version']}"),
        "device_serial_number": weights_digest(content),
    }


def save_in_study(dataset: Any, header: Any, path: Path) -> None:
    """Give an object the identity and the dates of its images, and write it.

    Args:
        dataset: as highdicom built it.
        header: of one of the images.
        path: file to write.
    """
    is_ascii = _is_ascii(dataset)
    for keyword in IDENTITY_KEYWORDS:
        element = identity_element(header, keyword)
        if element is not None:
            dataset.add(element)
    if not is_ascii:  # else the images' own character set holds everything
        dataset.SpecificCharacterSet = "ISO_IR 192"
    _date(dataset, header)
    dataset.save_as(path, enforce_file_format=True)


def _is_ascii(dataset: Any) -> bool:
    texts = (element for element in dataset.iterall() if element.VR in TEXT_VRS)
    return all(str(element.value).isascii() for element in texts)


def identity_element(header: Any, keyword: str) -> Any | None:
    """Return an attribute as it stands in the images, without private ones in its items.

    Returns:
        ``None`` where it is absent, no such value, or of another VR.
    """
    try:
        element = deepcopy(header.get(Tag(keyword)))
    except Exception:  # pydicom converts now, and raises whatever the value provokes
        return None
    if element is None or dictionary_VR(keyword) != element.VR:
        return None
    for item in element.value if element.VR == "SQ" else ():
        item.remove_private_tags()
    return element


def _date(dataset: Any, header: Any) -> None:
    date, time = _date_and_time(header)
    for keyword in ("Content", "PresentationCreation"):
        if f"{keyword}Date" in dataset:
            setattr(dataset, f"{keyword}Date", date)
            setattr(dataset, f"{keyword}Time", time)
    for keyword in MOMENTS:
        dataset.pop(keyword, None)
    for item in dataset.get("ContributingEquipmentSequence", []):
        item.pop("ContributionDateTime", None)


def _date_and_time(header: Any) -> tuple[str, str]:
    """The first valid date of the images, and its time."""
    for keyword in DATE_KEYWORDS:
        date, time = (str(header.get(keyword + part) or "") for part in ("Date", "Time"))
        if DATE.fullmatch(date):
            return date, time if TIME.fullmatch(time) else NO_TIME
    return NO_DATE, NO_TIME
