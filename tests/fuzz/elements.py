"""Mutations of DICOM that know where attributes lie: lengths, VRs, and numbers that readers trust.

An attribute is found by its tag's bytes, in nested sequences too, so no parser is needed that might
trip over what an earlier mutation did.
"""

import re
import struct
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import AllTransferSyntaxes, EnhancedMRImageStorage, MRImageStorage

NUMBERS = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored"),
    *("HighBit", "PixelRepresentation", "PixelSpacing", "ImagePositionPatient"),
    *("ImageOrientationPatient", "SliceThickness", "SpacingBetweenSlices", "RescaleSlope"),
    *("RescaleIntercept", "EchoTime", "RepetitionTime", "InversionTime", "SeriesNumber"),
    *("AcquisitionNumber", "EchoNumbers", "EffectiveEchoTime"),
)
UIDS = ("TransferSyntaxUID", "SOPClassUID", "SeriesInstanceUID", "SOPInstanceUID")
WORDS = ("PhotometricInterpretation", "ImageType", "AcquisitionTime", "SpecificCharacterSet")
OTHERS = ("PixelData", "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
KEYWORDS = (*NUMBERS, *UIDS, *WORDS, *OTHERS)
LONG_VRS = (b"OB", b"OW", b"OF", b"OD", b"OL", b"SQ", b"UC", b"UR", b"UT", b"UN")
VRS = (*LONG_VRS, b"AE", b"CS", b"DA", b"DS", b"IS", b"LO", b"PN", b"UI", b"US", b"SS", b"FD")
VRS += (b"??", b"\0\0", b"Ds")
DECIMALS = (
    *("0", "-1", "1", "nan", "inf", "-inf", "1e400", "1e-300", "1E5", "", "abc", "0.0001"),
    *("99999999", "65536", "-0", "1.5", "1,5", "0x10", " 1 ", "1_0", "\u0661", "1\\2\\3\\4"),
)
WHOLE = (0, 1, 2, 3, 7, 8, 12, 16, 17, 32, 64, 255, 256, 1000, 32767, 32768, 40000, 65535)
ANY_WORD = ("", "RGB", "MONOCHROME1", "PALETTE COLOR", "DERIVED", "LOCALIZER", "\\", "GB18030")
LENGTHS = (0, 1, 2, 3, 7, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0")


class Place(NamedTuple):
    """Where an attribute lies in a file.

    Args:
        keyword: its name.
        start: of its tag.
        length_at: of the field that holds its length; two bytes where ``is_short``, else four.
        value_at: of its value.
        order: ``<`` or ``>``, as ``struct`` calls the byte order.
        is_short: its length has two bytes.
    """

    keyword: str
    start: int
    length_at: int
    value_at: int
    order: str
    is_short: bool

    def length(self, data: bytes) -> int:
        """Return the length that the file says."""
        (length,) = struct.unpack_from(self.order + "IH"[self.is_short], data, self.length_at)
        return int(length)


def find_elements(data: bytes, keywords: Sequence[str] = KEYWORDS) -> list[Place]:
    """Return where attributes lie, explicit or implicit, in either byte order."""
    return [
        place
        for keyword in keywords
        for order in "<>"
        for match in re.finditer(re.escape(_tag_bytes(keyword, order)), data)
        if (place := _place(data, keyword, match.start(), order)) is not None
    ]


def _tag_bytes(keyword: str, order: str) -> bytes:
    tag = tag_for_keyword(keyword) or 0
    return struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)


def _place(data: bytes, keyword: str, start: int, order: str) -> Place | None:
    vr = data[start + 4 : start + 6]
    if vr in LONG_VRS and data[start + 6 : start + 8] == b"\0\0" and len(data) >= start + 12:
        return Place(keyword, start, start + 8, start + 12, order, is_short=False)
    if vr.isalpha() and vr.isupper() and len(data) >= start + 8:
        return Place(keyword, start, start + 6, start + 8, order, is_short=True)
    is_plausible = data[start + 6 : start + 8] == b"\0\0" or keyword in OTHERS
    if order == "<" and is_plausible and len(data) >= start + 8:
        return Place(keyword, start, start + 4, start + 8, order, is_short=False)
    return None


def with_value(data: bytes, keyword: str, value: str, *, vr: bytes = b"") -> bytes:
    """Return the file with other bytes as an attribute's value, whatever they are, and another VR.

    Args:
        data: explicit VR, and every sequence about the attribute of undefined length.
        keyword: of an attribute with a short length field.
        value: whose length may be odd.
        vr: the one that it has, if empty.

    Raises:
        ValueError: there is no such attribute.
    """
    places = [place for place in find_elements(data, [keyword]) if place.is_short]
    if not places:
        msg = f"{keyword} must be in the file"
        raise ValueError(msg)
    content = _even(value.encode())
    for place in reversed(places):
        end = place.value_at + place.length(data)
        head = data[: place.start + 4] + (vr or data[place.start + 4 : place.start + 6])
        data = head + struct.pack(f"{place.order}H", len(content)) + content + data[end:]
    return data


def change_length(data: bytes, random: Random) -> bytes:
    """Say another length of one attribute than it has."""
    place = _one_of(data, random)
    if place is None:
        return data
    limit = 0xFFFF if place.is_short else 0xFFFFFFFF
    near = place.length(data) + random.choice((-2, -1, 1, 2, 8))
    length = (near if random.random() < 0.5 else random.choice(LENGTHS)) & limit
    field = struct.pack(place.order + "IH"[place.is_short], length)
    return data[: place.length_at] + field + data[place.length_at + len(field) :]


def change_vr(data: bytes, random: Random) -> bytes:
    """Say another VR of one attribute than it has."""
    place = _one_of(data, random)
    if place is None:
        return data
    return data[: place.start + 4] + random.choice(VRS) + data[place.start + 6 :]


def change_value(data: bytes, random: Random) -> bytes:
    """Write another value of one attribute: mostly one that is valid, or nearly."""
    place = _one_of(data, random, (*NUMBERS, *NUMBERS, *UIDS, *WORDS))
    if place is None:
        return data
    end = place.value_at + place.length(data)
    value = _other_value(place, data[place.value_at : end], random)
    limit = 0xFFFF if place.is_short else 0xFFFFFFFF
    field = struct.pack(place.order + "IH"[place.is_short], min(len(value), limit))
    return data[: place.length_at] + field + value + data[end:]


def remove_element(data: bytes, random: Random) -> bytes:
    """Take one attribute out, in nested items too, whose length then is wrong."""
    place = _one_of(data, random)
    if place is None:
        return data
    return data[: place.start] + data[place.value_at + place.length(data) :]


def double_element(data: bytes, random: Random) -> bytes:
    """Write one attribute twice."""
    place = _one_of(data, random)
    if place is None:
        return data
    end = place.value_at + min(place.length(data), len(data))
    return data[:end] + data[place.start : end] + data[end:]


def change_item(data: bytes, random: Random) -> bytes:
    """Change the length of an item of a sequence or of compressed pixels, or an end marker."""
    starts = [m.start() for tag in ITEM_TAGS for m in re.finditer(re.escape(tag), data)]
    if not starts:
        return data
    at = random.choice(starts)
    length = int.from_bytes(data[at + 4 : at + 8], "little")
    near = length + random.choice((-8, -2, -1, 1, 2, 8))
    length = (near if random.random() < 0.5 else random.choice(LENGTHS)) & 0xFFFFFFFF
    return data[: at + 4] + length.to_bytes(4, "little") + data[at + 8 :]


def _one_of(data: bytes, random: Random, keywords: Sequence[str] = KEYWORDS) -> Place | None:
    """One attribute; the keyword is drawn first, so that no repeated one drowns the others."""
    for keyword in random.sample(keywords, len(keywords)):
        if places := find_elements(data, [keyword]):
            return random.choice(places)
    return None


def _other_value(place: Place, value: bytes, random: Random) -> bytes:
    vr = dictionary_VR(tag_for_keyword(place.keyword) or 0)
    if vr == "US":
        return _other_whole(place, value, random)
    if vr == "FD":
        return struct.pack(f"{place.order}d", random.choice((0.0, -1.0, 1e300, float("nan"), 40.0)))
    if vr in ("DS", "IS"):
        return _even(_other_decimals(value, random))
    if vr == "UI":
        return _even(_other_uid(value, random).encode(), b"\0")
    return _even(random.choice(ANY_WORD).encode())


def _other_whole(place: Place, value: bytes, random: Random) -> bytes:
    was = int.from_bytes(value[:2], "little" if place.order == "<" else "big")
    near = was + random.choice((-2, -1, 1, 2, was, -(was // 2)))
    number = (near if random.random() < 0.5 else random.choice(WHOLE)) & 0xFFFF
    return struct.pack(f"{place.order}H", number)


def _other_decimals(value: bytes, random: Random) -> bytes:
    """Another text for one of the numbers, or one number more or less."""
    numbers = value.split(b"\\")
    at = random.randrange(len(numbers))
    how = random.random()
    if how < 0.4:
        numbers[at] = random.choice(DECIMALS).encode()
    elif how < 0.8:
        numbers[at] = _scaled(numbers[at], random.choice((-1.0, 0.5, 0.999, 1.001, 1.1, 2.0, 1e6)))
    elif how < 0.9:
        numbers.pop(at)
    else:
        numbers.insert(at, numbers[at])
    return b"\\".join(numbers)


def _scaled(number: bytes, factor: float) -> bytes:
    try:
        return f"{float(number) * factor:.9g}".encode()
    except ValueError:
        return b"7"


def _other_uid(value: bytes, random: Random) -> str:
    known = [*map(str, AllTransferSyntaxes), str(MRImageStorage), str(EnhancedMRImageStorage)]
    return random.choice([*known, "1.2.3", "Mustermann", "", value.decode("latin-1")[:-2] + "9"])


def _even(value: bytes, padding: bytes = b" ") -> bytes:
    return value + padding * (len(value) % 2)


ELEMENT_MUTATIONS = (
    *(change_value, change_value, change_value, change_length, change_vr, remove_element),
    *(double_element, change_item),
)
