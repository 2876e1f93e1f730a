"""Mutations of volume files, zips and pictures that know their headers."""

import gzip
import re
import struct
import zlib
from random import Random

from fuzz.blocks import BLOCK_MUTATIONS, Mutation

# Fields of the NIfTI-1 header: offset, how ``struct`` packs one, how many there are.
NIFTI_FIELDS = {
    "sizeof_hdr": (0, "i", 1),
    "dim": (40, "h", 8),
    "datatype": (70, "h", 1),
    "bitpix": (72, "h", 1),
    "pixdim": (76, "f", 8),
    "vox_offset": (108, "f", 1),
    "scl_slope": (112, "f", 1),
    "scl_inter": (116, "f", 1),
    "xyzt_units": (123, "B", 1),
    "qform_code": (252, "h", 1),
    "sform_code": (254, "h", 1),
    "quatern": (256, "f", 3),
    "qoffset": (268, "f", 3),
    "srow": (280, "f", 12),
    "magic": (344, "i", 1),
}
REALS = (0.0, -1.0, 1.0, 0.5, 2.0, 352.0, 1e-30, 1e30, float("nan"), float("inf"))
WHOLES = (0, 1, 2, 3, 4, 8, 16, 32, 64, 128, 255, 256, 512, 768, 1024, 2304, 32767, -1, -32768)
TEXT_HEADER_BYTES = 1024
LINE_WORDS = (b"0", b"-1", b"nan", b"1e300", b"", b"3", b"2", b"short", b"MET_UCHAR", b"gzip")
LINE_WORDS += (b"none", b"True", b"False", b"LOCAL", b"left-posterior-superior", b"big", b"(0,0,0)")
ZIP_SIGNATURES = (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06")


def change_nifti_field(data: bytes, random: Random) -> bytes:
    """Write another number into a header field."""
    offset, code, count = NIFTI_FIELDS[random.choice(list(NIFTI_FIELDS))]
    at = offset + struct.calcsize(code) * random.randrange(count)
    if len(data) < at + struct.calcsize(code):
        return data
    (was,) = struct.unpack_from(f"<{code}", data, at)
    number = random.choice(REALS if code == "f" else WHOLES)
    if random.random() < 0.5:
        number = was * random.choice((1.001, 2.0, -1.0)) if code == "f" else was + 1
    field = struct.pack(f"<{code}", number) if code == "f" else _whole(code, int(number))
    return data[:at] + field + data[at + len(field) :]


def _whole(code: str, number: int) -> bytes:
    size = struct.calcsize(code)
    return (number % (1 << 8 * size)).to_bytes(size, "little")


def inside_gzip(mutation: Mutation) -> Mutation:
    """Return a mutation of what is compressed, so that the checksum stays right."""

    def mutate(data: bytes, random: Random) -> bytes:
        return gzip.compress(mutation(gzip.decompress(data), random), 1, mtime=0)

    mutate.__name__ = f"{mutation.__name__} inside"
    return mutate


def change_header_line(data: bytes, random: Random) -> bytes:
    """Change, drop, double or move a line of the text header of an MHA or NRRD file."""
    head, rest = data[:TEXT_HEADER_BYTES], data[TEXT_HEADER_BYTES:]
    end = _header_end(head)
    lines = head[:end].split(b"\n")
    at = random.randrange(len(lines))
    how = random.choice(
        (_change_word, _change_word, _change_word, _drop, _double, _swap, _misspell)
    )
    how(lines, at, random)
    return b"\n".join(lines) + head[end:] + rest


def _header_end(head: bytes) -> int:
    """Where the last line of the header begins: MHA names it, after NRRD's it is empty."""
    ends = [head.find(b"ElementDataFile"), head.find(b"\n\n")]
    return next((end for end in ends if end > 0), len(head))


def _change_word(lines: list[bytes], at: int, random: Random) -> None:
    words = re.split(rb"([ ,()]+)", lines[at])
    words[random.randrange(len(words))] = random.choice(LINE_WORDS)
    lines[at] = b"".join(words)


def _drop(lines: list[bytes], at: int, random: Random) -> None:
    del lines[at]


def _double(lines: list[bytes], at: int, random: Random) -> None:
    lines.insert(at, lines[at])


def _swap(lines: list[bytes], at: int, random: Random) -> None:
    other = random.randrange(len(lines))
    lines[at], lines[other] = lines[other], lines[at]


def _misspell(lines: list[bytes], at: int, random: Random) -> None:
    lines[at] = b"x" + lines[at][1:]


def change_zip_record(data: bytes, random: Random) -> bytes:
    """Write noise into a record of a zip's directory, or of a member's head."""
    starts = [m.start() for sign in ZIP_SIGNATURES for m in re.finditer(re.escape(sign), data)]
    if not starts:
        return data
    at = random.choice(starts) + random.randrange(46)
    noise = random.choice((b"\0", b"\xff", b"\0\0", b"\xff\xff", random.randbytes(4)))
    return data[:at] + noise + data[at + len(noise) :]


def change_png_chunk(data: bytes, random: Random) -> bytes:
    """Change a byte of a chunk, and set its checksum right."""
    starts = [m.start() for m in re.finditer(rb"IHDR|IDAT|IEND", data)]
    if not starts:
        return data
    at = random.choice(starts)
    (length,) = struct.unpack(">I", data[at - 4 : at])
    chunk = bytearray(data[at : at + 4 + length])
    chunk[random.randrange(len(chunk))] = random.choice(
        (0, 1, 2, 8, 16, 255, random.randrange(256))
    )
    checksum = struct.pack(">I", zlib.crc32(chunk))
    return data[:at] + bytes(chunk) + checksum + data[at + 8 + length :]


NIFTI_MUTATIONS: tuple[Mutation, ...] = (change_nifti_field,) * 6
MUTATIONS_OF_SUFFIX: dict[str, tuple[Mutation, ...]] = {
    ".nii": NIFTI_MUTATIONS,
    ".gz": tuple(map(inside_gzip, (*NIFTI_MUTATIONS, *BLOCK_MUTATIONS[:4]))),
    ".mha": (change_header_line,) * 6,
    ".nrrd": (change_header_line,) * 6,
    ".zip": (change_zip_record,) * 6,
    ".png": (change_png_chunk,) * 6,
}
