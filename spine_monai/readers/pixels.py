"""Pixels of DICOM images in the modality's units.

Values are ``stored * RescaleSlope + RescaleIntercept`` of each image, in float32. MONOCHROME1, in
which small values are bright, is turned over afterwards, so that bright stays bright: each value
becomes the sum of the lowest and the highest value that the stored bits can give in the series,
minus itself. Where all images have one rescale, that is the rescaled ``2 ** BitsStored - 1 -
stored`` (``-1 - stored`` for signed pixels).

Uncompressed pixels are unpacked here, within the bytes that the file has; compressed frames go to
the decoder process one by one. Headers and order come from elsewhere, so a decoder's own idea of
geometry or rescale is never seen.
"""

import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder
from pydicom.pixels.common import PhotometricInterpretation
from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from spine_monai.readers.codestream import frame_size
from spine_monai.readers.decoding import MAX_VOXELS, DecodingError, decode_frame
from spine_monai.readers.deflated import check_inflated_size, is_deflated
from spine_monai.readers.errors import StudyError
from spine_monai.readers.keywords import is_uid
from spine_monai.readers.quiet import silence_pydicom
from spine_monai.readers.series import Instance

UNCOMPRESSED = (
    *(ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian),
    DeflatedExplicitVRLittleEndian,
)
# By whether the values have implicit VR, and whether they are little endian.
SYNTAX_OF_ENCODING = {
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}
# What decoders need to know of a frame; nothing that could name a patient.
FRAME_KEYWORDS = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)
KINDS: dict[str, type] = dict.fromkeys(FRAME_KEYWORDS, int) | {"PhotometricInterpretation": str}
# All voxels that are read, in 16 bits, and a long header.
MAX_FILE_BYTES = 2 * MAX_VOXELS + (64 << 20)
ITEM, END_OF_SEQUENCE = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"
GREY = ("MONOCHROME1", "MONOCHROME2")
PHOTOMETRIC = {one.value for one in PhotometricInterpretation}
DARK_IS_HIGH = GREY[0]
PIXEL_TAGS = [
    *(*FRAME_KEYWORDS, "NumberOfFrames", "PixelData"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
]


def read_pixels(instances: Sequence[Instance]) -> NDArray[np.float32]:
    """Read the pixels of images of one size.

    Args:
        instances: files or frames, in any order; each file is read once.

    Returns:
        (rows, columns, images) values in the modality's units, in the order of the instances.

    Raises:
        StudyError: an image is damaged, not grey, of another size, or they are too large together.
    """
    pixels = np.empty((*_grid(instances), len(instances)), dtype=np.float32)
    places = defaultdict(list)
    for place, instance in enumerate(instances):
        places[instance.path].append(place)
    for of_file in places.values():
        images = [instances[place] for place in of_file]
        silence_pydicom()
        for place, stored in zip(of_file, _stored(images), strict=True):
            slope, intercept = _rescale(instances[place])
            pixels[..., place] = stored.astype(np.float32) * slope + intercept
    if _photometric(instances) == DARK_IS_HIGH:
        np.subtract(_lowest_plus_highest(instances), pixels, out=pixels)
    return pixels


def _grid(instances: Sequence[Instance]) -> tuple[int, int]:
    """Rows and columns, the same for all and not too many."""
    sizes = {(int(i.header.Rows), int(i.header.Columns)) for i in instances}
    if len(sizes) != 1:
        msg = f"{instances[0].name} and the others must be slices of one size, Rows x Columns: "
        msg += f"got {sorted(sizes)}."
        raise StudyError(msg)
    rows, columns = sizes.pop()
    if rows * columns * len(instances) > MAX_VOXELS:
        msg = f"{instances[0].name} and the others must have at most {MAX_VOXELS} pixels: got "
        msg += f"Rows {rows}, Columns {columns} in {len(instances)} slices. Is the header damaged?"
        raise StudyError(msg)
    return rows, columns


def _photometric(instances: Sequence[Instance]) -> str:
    found = sorted({str(i.header.get("PhotometricInterpretation")) for i in instances})
    if len(found) > 1:
        msg = f"{instances[0].name} and the others must have one PhotometricInterpretation: "
        msg += f"got {sorted(map(_grey_word, found))}."
        raise StudyError(msg)
    return found[0]


def _grey_word(photometric: str) -> str:
    """A PhotometricInterpretation as messages may quote it: any other word may be a name."""
    return str(photometric) if str(photometric) in PHOTOMETRIC else "another word"


def _rescale(instance: Instance) -> tuple[np.float32, np.float32]:
    """Slope and intercept; 1 and 0 where there are none."""
    keywords = {"RescaleSlope": 1.0, "RescaleIntercept": 0.0}
    slope, intercept = (
        absent if instance.header.get(key) is None else instance.numbers(key, 1)[0]
        for key, absent in keywords.items()
    )
    if slope == 0:
        msg = f"{instance.name} must have a RescaleSlope that is not zero: got {slope:g}."
        raise StudyError(msg)
    return np.float32(slope), np.float32(intercept)


def _lowest_plus_highest(instances: Sequence[Instance]) -> np.float32:
    ends = []
    for instance in instances:
        slope, intercept = _rescale(instance)
        count, is_signed = 2 ** int(instance.header.BitsStored), instance.header.PixelRepresentation
        lowest = -count // 2 if is_signed else 0
        ends += [lowest * slope + intercept, (lowest + count - 1) * slope + intercept]
    return np.float32(min(ends) + max(ends))


def _stored(images: Sequence[Instance]) -> Iterator[NDArray[Any]]:
    """Stored values of images of one file, in their order."""
    dataset, syntax = _read(images[0])
    _check(dataset, images[0])
    if syntax in UNCOMPRESSED:
        unpack = _unpacked
    elif syntax in AllTransferSyntaxes:
        unpack = _decoded
    else:
        named = f" {syntax}" if is_uid(syntax) else ""
        _refuse(images[0], f"its TransferSyntaxUID{named} is private or unknown")
    for image, stored in zip(images, unpack(dataset, syntax, images), strict=True):
        if stored.shape != (dataset.Rows, dataset.Columns) or stored.dtype.kind not in "iu":
            _refuse(image, f"it holds {stored.dtype} of shape {stored.shape}")
        yield stored


def _read(image: Instance) -> tuple[Dataset, UID]:
    """The attributes that pixels need, and the transfer syntax; guessed as pydicom does."""
    try:
        if image.path.is_file() and image.path.stat().st_size > MAX_FILE_BYTES:  # as of no zip
            _refuse(image, f"the file has more than {MAX_FILE_BYTES} bytes")
        with image.open() as stream:
            content = stream.read()
        if is_deflated(content):
            check_inflated_size(content)
        dataset = _parse(content)
        if "PixelData" not in dataset:  # pydicom drops all of a data set whose end it misses
            dataset = _parse(content + END_OF_SEQUENCE)
        missing = [key for key in (*FRAME_KEYWORDS, "PixelData") if _is_empty(dataset, key)]
        _frame_count(dataset)  # which may be no number
        guessed = SYNTAX_OF_ENCODING.get(dataset.original_encoding, "")
        syntax = UID(dataset.file_meta.get("TransferSyntaxUID") or guessed)
        dataset.file_meta.TransferSyntaxUID = syntax
    except Exception as error:  # of any kind on damaged bytes, and its text would quote them
        if isinstance(error, StudyError):
            raise
        _refuse(image, type(error).__name__)
    if missing:
        _refuse(image, f"it has no {', '.join(missing)}")
    return dataset, syntax


def _parse(content: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(content), force=True, specific_tags=PIXEL_TAGS)


def _is_empty(dataset: Dataset, keyword: str) -> bool:
    return dataset.get(keyword) in (None, "", b"")


def _check(dataset: Dataset, image: Instance) -> None:
    invalid = [key for key in FRAME_KEYWORDS if not isinstance(dataset[key].value, KINDS[key])]
    if invalid:
        _refuse(image, f"it has no valid {', '.join(invalid)}")
    frames, got = _frame_count(dataset), dataset.PhotometricInterpretation
    if got not in GREY or dataset.SamplesPerPixel != 1:
        msg = f"{image.name} must be grey, PhotometricInterpretation MONOCHROME1 or MONOCHROME2: "
        msg += f"got {_grey_word(got)}, SamplesPerPixel {dataset.SamplesPerPixel}."
        raise StudyError(msg)
    if image.frame is None and frames != 1:
        msg = f"{image.path} must say where its frames lie: got NumberOfFrames {frames} without "
        msg += "PerFrameFunctionalGroupsSequence."
        raise StudyError(msg)
    if dataset.HighBit != dataset.BitsStored - 1 or dataset.BitsStored > dataset.BitsAllocated:
        msg = f"{image.name} must store its bits from the lowest on: got BitsAllocated "
        msg += f"{dataset.BitsAllocated}, BitsStored {dataset.BitsStored}, HighBit "
        msg += f"{dataset.HighBit}."
        raise StudyError(msg)


def _unpacked(dataset: Dataset, syntax: UID, images: Sequence[Instance]) -> Iterator[NDArray[Any]]:
    decoder = get_decoder(syntax)
    expected, got = _length(dataset), len(dataset.PixelData)
    if got < expected or any(dataset.PixelData[expected:]):  # zeros may fill it up
        _refuse(images[0], f"it holds {got} bytes, not {expected}")
    for image in images:
        try:
            yield decoder.as_array(dataset, index=image.frame or 0, raw=True)[0]
        except (AttributeError, ValueError, TypeError, RuntimeError, NotImplementedError) as error:
            _refuse(image, type(error).__name__)


def _length(dataset: Dataset) -> int:
    """Bytes that uncompressed pixels must have."""
    frames, pixels = _frame_count(dataset), int(dataset.Rows) * int(dataset.Columns)
    return frames * pixels * int(dataset.BitsAllocated) // 8


def _frame_count(dataset: Dataset) -> int:
    return int(dataset.get("NumberOfFrames") or 1)


def _decoded(dataset: Dataset, syntax: UID, images: Sequence[Instance]) -> Iterator[NDArray[Any]]:
    attributes = {key: _plain(dataset[key].value) for key in FRAME_KEYWORDS}
    description = {"syntax": str(syntax), "attributes": attributes}
    encoded = _encoded_frames(dataset, images[0])
    for image in images:
        number = image.frame or 0
        if number >= len(encoded):
            _refuse(image, f"it holds {len(encoded)} frames")
        size = frame_size(encoded[number])
        if size not in (None, (dataset.Rows, dataset.Columns)):
            _refuse(image, f"its frame is {size} in size, not Rows x Columns")
        try:
            yield decode_frame(description, encoded[number])
        except DecodingError as error:
            _refuse(image, f"{syntax.name}: {error}")


def _plain(value: Any) -> int | str:
    return str(value) if isinstance(value, str) else int(value)


def _encoded_frames(dataset: Dataset, image: Instance) -> list[bytes]:
    table, lengths = (
        dataset.get(key) for key in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
    )
    offsets = (table, lengths) if table and lengths else None
    frames = _frame_count(dataset)
    if not _is_whole(dataset.PixelData):
        _refuse(image, "it ends within a compressed frame")
    try:
        return list(
            generate_frames(dataset.PixelData, number_of_frames=frames, extended_offsets=offsets)
        )
    except Exception as error:  # of any kind on damaged bytes
        _refuse(image, type(error).__name__)


def _is_whole(fragments: bytes) -> bool:
    """Whether compressed pixel data consist of whole items (PS3.5 A.4)."""
    position = 0
    while fragments[position : position + len(ITEM)] == ITEM:
        start = position + len(ITEM) + 4
        position = start + int.from_bytes(fragments[start - 4 : start], "little")
    return position == len(fragments)


def _refuse(image: Instance, reason: str) -> NoReturn:
    msg = f"{image.name} must have readable PixelData: {reason}. The file may be cut short or "
    msg += "damaged; copy it again."
    raise StudyError(msg) from None
