"""The size that a compressed frame itself names.

Decoders take Rows and Columns from the DICOM header and reshape what they decode in silence.
"""

import struct

JPEG_START, FILL = b"\xff\xd8", 0xFF
# Start-of-frame markers of JPEG (ITU-T T.81, table B.1), and the one of JPEG-LS (T.87, C.1.1).
START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
START_OF_SCAN = 0xDA
# JPEG 2000: start of codestream and SIZ marker (ITU-T T.800, A.5.1), at the start or in a wrapper.
JPEG_2000_START, WRAPPER_BYTES = b"\xff\x4f\xff\x51", 4096


def frame_size(data: bytes) -> tuple[int, int] | None:
    """Return rows and columns of a JPEG, JPEG-LS or JPEG 2000 frame, or ``None`` if it names none.

    Args:
        data: the encoded frame; run-length code names no size.
    """
    try:
        if data.startswith(JPEG_START):
            return _jpeg_size(data)
        start = data.find(JPEG_2000_START, 0, WRAPPER_BYTES)
        return _jpeg_2000_size(data, start) if start >= 0 else None
    except (struct.error, IndexError):  # it ends within its header
        return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    position = len(JPEG_START)
    while data[position] == FILL:
        marker = data[position + 1]
        if marker in START_OF_FRAME:
            rows, columns = struct.unpack_from(">HH", data, position + 5)
            return (rows, columns) if rows and columns else None
        if marker == START_OF_SCAN:
            return None
        (length,) = struct.unpack_from(">H", data, position + 2)
        position += 1 if marker == FILL else 2 + length
    return None


def _jpeg_2000_size(data: bytes, start: int) -> tuple[int, int]:
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    return bottom - top, right - left
