"""The pixels as they are stored, and nothing beside them: no bytes too many, no comments."""

import struct
from collections.abc import Iterator

import pydicom
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from spine_monai.deidentify.refusal import RefusedError

NATIVE = (
    *(ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian),
    DeflatedExplicitVRLittleEndian,
)
COMPRESSED = (
    *(RLELossless, HTJ2KLossless, HTJ2KLosslessRPCL),
    *(*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes),
)
SHORT = "it ends within its pixels"
JPEG, JPEG_2000 = b"\xff\xd8", b"\xff\x4f"
END = b"\xff\xd9"
SCAN, COMMENT, APPLICATION = 0xDA, 0xFE, range(0xE0, 0xF0)
RESTARTS = range(0xD0, 0xD8)
TILE, TILE_DATA, TILE_COMMENT = 0x90, 0x93, 0x64


def stored_pixels(dataset: pydicom.Dataset, syntax: UID) -> bytes:
    """Return the value of PixelData for the export.

    Args:
        dataset: an object as it was read.
        syntax: its transfer syntax, which the export has too.

    Raises:
        RefusedError: there are no pixels, or fewer than the image needs.
    """
    value = dataset.get("PixelData")
    if not isinstance(value, bytes) or not value:
        msg = "it has no PixelData"
        raise RefusedError(msg)
    count = int(dataset.get("NumberOfFrames") or 1)
    if syntax in COMPRESSED:
        return _compressed(value, count)
    size = int(dataset.Rows) * int(dataset.Columns) * int(dataset.BitsAllocated) // 8 * count
    if len(value) < size or size <= 0:
        raise RefusedError(SHORT)
    return value[:size] + b"\0" * (size % 2)


def without_words(frame: bytes) -> bytes:
    """Return a compressed frame of the same length whose comments hold zeros.

    Args:
        frame: JPEG, JPEG-LS, JPEG 2000 or run-length code.
    """
    blocks = _jpeg_words if frame.startswith(JPEG) else _jpeg_2000_words
    if not frame.startswith((JPEG, JPEG_2000)):
        return frame
    blank = bytearray(frame)
    for start, end in blocks(frame):
        blank[start:end] = bytes(max(min(end, len(frame)) - start, 0))
    last = frame.rfind(END) + len(END)
    if last >= len(END):
        blank[last:] = bytes(len(frame) - last)
    return bytes(blank)


def _compressed(value: bytes, count: int) -> bytes:
    try:
        frames = [without_words(one) for one in generate_frames(value, number_of_frames=count)]
    except (ValueError, struct.error, IndexError):
        raise RefusedError(SHORT) from None
    if len(frames) != count:
        raise RefusedError(SHORT)
    return bytes(encapsulate(frames))


def _jpeg_words(frame: bytes) -> Iterator[tuple[int, int]]:
    """Where comments and data of applications stand (ITU-T T.81, B.1.1)."""
    position = len(JPEG)
    while 0 <= position < len(frame) - 3:
        marker = frame[position + 1]
        length = struct.unpack_from(">H", frame, position + 2)[0]
        if marker == COMMENT or marker in APPLICATION:
            yield position + 4, position + 2 + length
        position += 2 + length
        if marker == SCAN:
            position = _next_marker(frame, position)


def _next_marker(frame: bytes, position: int) -> int:
    """Where the marker after a scan stands; bytes of the scan after FF are below 80 or restarts."""
    while (position := frame.find(b"\xff", position)) >= 0 and position + 1 < len(frame):
        following = frame[position + 1]
        if following >= 0x80 and following not in RESTARTS and following != 0xFF:
            return position
        position += 1
    return -1


def _jpeg_2000_words(frame: bytes) -> Iterator[tuple[int, int]]:
    """Where comments stand in the headers of the image and its tiles (ITU-T T.800, A.9.2)."""
    position, tile_end = len(JPEG_2000), len(frame)
    while position < len(frame) - 3 and frame[position] == 0xFF:
        marker = frame[position + 1]
        if marker == TILE_DATA:
            position = tile_end
            continue
        length = struct.unpack_from(">H", frame, position + 2)[0]
        if marker == TILE:
            size = struct.unpack_from(">I", frame, position + 6)[0]
            tile_end = position + size if size else len(frame)
        if marker == TILE_COMMENT:
            yield position + 6, position + 2 + length
        position += 2 + length
