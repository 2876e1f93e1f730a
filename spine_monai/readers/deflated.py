"""Deflated DICOM files (PS3.5 A.5): pydicom unpacks them whole, so their size is asked first.

A few kilobytes may unpack to gigabytes; no image of a spine does.
"""

import zlib

from pydicom.uid import DeflatedExplicitVRLittleEndian

MAX_INFLATED_BYTES = 512 << 20
STEP_BYTES = 1 << 20
META_START = 132
LENGTH_TAG, LENGTH_END = b"\x02\x00\x00\x00UL\x04\x00", META_START + 12


def is_deflated(start: bytes) -> bool:
    """Whether a file's first bytes name the deflated transfer syntax."""
    return DeflatedExplicitVRLittleEndian.encode() in start[: META_START + 1024]


def check_inflated_size(content: bytes) -> None:
    """Refuse a deflated file that unpacks to too much; its data may be damaged in other ways.

    Args:
        content: the whole file.

    Raises:
        ValueError: it unpacks to more than 512 MiB, or does not say where its data begin.
    """
    if content[META_START : LENGTH_END - 4] != LENGTH_TAG:
        msg = "a deflated file must begin with FileMetaInformationGroupLength: got another element."
        raise ValueError(msg)
    meta_bytes = int.from_bytes(content[LENGTH_END - 4 : LENGTH_END], "little")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    rest, size = content[LENGTH_END + meta_bytes :], 0
    while rest and not inflater.eof:
        size += len(inflater.decompress(rest, STEP_BYTES))
        rest = inflater.unconsumed_tail
        if size > MAX_INFLATED_BYTES:
            msg = f"a deflated file must unpack to at most {MAX_INFLATED_BYTES} bytes: got more."
            raise ValueError(msg)
