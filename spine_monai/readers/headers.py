"""The header of one DICOM file, read from its first bytes.

Most files of a study are told apart without being parsed: DICOM has its prefix at byte 128, or, in
files without it, begins with an attribute of group 2 or 8.
"""

import io
from enum import Enum
from typing import IO

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import (
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MediaStorageDirectoryStorage,
    MRImageStorage,
)

from spine_monai.readers.deflated import check_inflated_size, is_deflated
from spine_monai.readers.elements import convert
from spine_monai.readers.enhanced import Frame, frames_of
from spine_monai.readers.keywords import GROUP_KEYWORDS, GROUP_TAGS, TAGS, is_uid

CHUNK_BYTES = 1 << 17
PREFIX_END = 132
SHORTEST_ELEMENT = 8  # bytes
MR_CLASSES = (MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage)


class Ignored(Enum):
    """Why a file gives no image."""

    NOT_DICOM = "not DICOM"
    DICOMDIR = "DICOMDIR"
    DAMAGED = "damaged"
    NO_IMAGE = "no image"


def looks_like_dicom(start: bytes) -> bool:
    """Whether a file's first bytes are those of DICOM, with the prefix or without it."""
    if start[PREFIX_END - 4 : PREFIX_END] == b"DICM":
        return True
    little, big = start[:2], start[1:2] + start[:1]
    is_first_group = b"\x02\x00" in (little, big) or b"\x08\x00" in (little, big)
    is_explicit = start[4:6].isalpha() and start[4:6].isupper()
    is_implicit = len(start) > SHORTEST_ELEMENT and start[6:8] == b"\x00\x00"
    return is_first_group and (is_explicit or is_implicit)


def is_dicomdir(start: bytes) -> bool:
    """Whether a file's first bytes are those of a DICOMDIR."""
    return looks_like_dicom(start) and MediaStorageDirectoryStorage.encode() in start[:512]


def read_images(stream: IO[bytes]) -> list[Frame] | Ignored:
    """Read the headers of the images in a file; pydicom must be silenced before.

    Args:
        stream: the file, at its start.

    Returns:
        One header an image, or why there is none.
    """
    start = stream.read(CHUNK_BYTES)
    if not looks_like_dicom(start):
        return Ignored.NOT_DICOM
    if is_dicomdir(start):
        return Ignored.DICOMDIR
    try:
        dataset = _parse(start, stream)
        elements, unreadable = convert(dataset, TAGS)
        if reason := _why_ignored(Dataset(elements)):
            return reason
        shared, per_frame = (dataset.get(keyword) or () for keyword in GROUP_KEYWORDS)
        return frames_of(elements, unreadable, shared, per_frame)
    except Exception:  # on damaged bytes pydicom raises errors of any kind
        return Ignored.DAMAGED


def _parse(start: bytes, stream: IO[bytes]) -> Dataset:
    """The data set up to its pixels."""
    dataset = _parse_start(start)
    if dataset is None:
        if is_deflated(start):
            check_inflated_size(start + stream.read())
        stream.seek(0)
        dataset = _dcmread(stream)
    return dataset


def _parse_start(start: bytes) -> Dataset | None:
    """The data set if its pixels begin within the first bytes of the file."""
    source = io.BytesIO(start)
    try:
        dataset = _dcmread(source)
    except Exception:  # the first bytes of a long header may end anywhere
        return None
    return dataset if source.tell() + SHORTEST_ELEMENT <= len(start) else None


def _dcmread(source: IO[bytes]) -> Dataset:
    wanted = [*TAGS, *GROUP_TAGS]
    return pydicom.dcmread(source, force=True, stop_before_pixels=True, specific_tags=wanted)


def _why_ignored(root: Dataset) -> Ignored | None:
    if not is_uid(root.get("SeriesInstanceUID")):
        return Ignored.DAMAGED
    if root.get("Rows") and root.get("Columns"):
        return None
    return Ignored.DAMAGED if root.get("SOPClassUID") in MR_CLASSES else Ignored.NO_IMAGE
