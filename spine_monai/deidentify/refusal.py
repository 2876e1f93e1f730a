"""What is not exported, whatever could be taken out of its header: it may show the name."""

from typing import Any

import pydicom
from pydicom.uid import UID

from spine_monai.readers.headers import MR_CLASSES
from spine_monai.readers.rules import GREY

# By the start of DICOM's name for the class.
KINDS = {
    "secondary capture": "secondary capture: its pixels may show a name",
    "grayscale softcopy presentation": "presentation state: it is free text on images",
    "presentation state": "presentation state: it is free text on images",
    "structured report": "structured report: it is text about the patient",
    " sr ": "structured report: it is text about the patient",
    "encapsulated": "encapsulated document: it cannot be looked into",
    "raw data": "raw data: it cannot be looked into",
}
NO_MR_IMAGE = "no MR image"
PICTURE_WORDS = frozenset({"SECONDARY", "SCREEN SAVE", "SCREENSAVE", "SCREENSHOT", "REPORT"})
PICTURE_WORDS |= {"CSA REPORT", "SCREEN CAPTURE", "SAVE SCREEN", "DISPLAY"}
OF_IMAGES = "ImageType says that it was made from images (SECONDARY): it may be a screen shot"
BURNED_IN = "BurnedInAnnotation says that its pixels hold text"
CONVERTED = "ConversionType says that its pixels come from a screen, film or document"
IN_COLOUR = "its pixels are not grey, as a scanner's are"
OVERLAID = "an overlay stands in its pixels"
OVERLAY_GROUPS = range(0x6000, 0x6020, 2)


class RefusedError(ValueError):
    """An object is not exported; the message is the reason, without its words or UIDs."""


def check_is_exported(dataset: pydicom.Dataset) -> None:
    """Check that an object is an MR image whose pixels are those of the scanner.

    Raises:
        RefusedError: it is not.
    """
    if reason := _reason(dataset):
        raise RefusedError(reason)


def kind_refused(class_uid: str) -> str:
    """Return why objects of a class are not exported; empty of the classes of MR images."""
    if class_uid in MR_CLASSES:
        return ""
    uid = UID(class_uid)
    name = f" {uid.name.lower()} " if uid != uid.name else ""
    return next((reason for word, reason in KINDS.items() if word in name), NO_MR_IMAGE)


def _reason(dataset: pydicom.Dataset) -> str:
    if kind := kind_refused(_text(dataset, "SOPClassUID")):
        return kind
    types = {word.strip().upper() for word in _text(dataset, "ImageType").split("\\")}
    reasons = {
        OF_IMAGES: bool(types & PICTURE_WORDS),
        BURNED_IN: _text(dataset, "BurnedInAnnotation").upper() not in ("", "NO"),
        CONVERTED: bool(_text(dataset, "ConversionType")),
        IN_COLOUR: _text(dataset, "SamplesPerPixel") not in ("", "1")
        or _text(dataset, "PhotometricInterpretation") not in GREY,
        OVERLAID: any(_is_in_pixels(dataset, group) for group in OVERLAY_GROUPS),
    }
    return next((reason for reason, is_so in reasons.items() if is_so), "")


def _is_in_pixels(dataset: pydicom.Dataset, group: int) -> bool:
    return (group, 0x0102) in dataset and (group, 0x3000) not in dataset


def _text(dataset: pydicom.Dataset, keyword: str) -> str:
    """The value as text, several ones with a backslash between; what cannot be read is a word."""
    try:
        value: Any = dataset.get(keyword)
    except Exception:  # of any kind, on damaged bytes; its text would quote the value
        return "unreadable"
    if value is None or isinstance(value, str | bytes | int | float):
        return "" if value is None else str(value).strip()
    try:
        return "\\".join(str(one) for one in value)
    except TypeError:
        return str(value)
