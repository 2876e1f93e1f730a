"""MHA, MHD and NRRD files: what ITK passes over in silence.

Where a header does not state spacing, directions or origin, or states them behind a damaged line,
ITK supposes 1 mm, straight axes and 0; a word in place of a number is 0; of damaged compressed
values it gives those before the damage, of too many values the first ones. Here such files are
refused.
"""

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from spine_monai.readers.errors import StudyError

FloatArray = NDArray[np.float64]
# Headers have some ten lines.
MAX_HEADER_BYTES = 1 << 16
CHUNK_BYTES = 1 << 20
ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS
LOCAL = "LOCAL"
# Spacing, directions and origin: the names of each, and how many numbers it has.
MHA_PLACE = (
    (("ElementSpacing", "ElementSize"), 3),
    (("TransformMatrix", "Rotation", "Orientation"), 9),
    (("Offset", "Position", "Origin"), 3),
)
NRRD_PLACE = ((("space directions",), 9), (("space origin",), 3))
DATA_FILE_LINE = re.compile(rb"^ElementDataFile\s*[=:]([^\n]*)(\n|\Z)", re.MULTILINE)
LPS, RAS, LAS = (1.0, 1.0, 1.0), (-1.0, -1.0, 1.0), (1.0, -1.0, 1.0)
# Signs of x, y and z in LPS.
NRRD_SPACES = {
    "left-posterior-superior": LPS,
    "right-anterior-superior": RAS,
    "left-anterior-superior": LAS,
    "lps": LPS,
    "ras": RAS,
    "las": LAS,
}
NRRD_ENCODINGS = ("raw", "gzip", "gz")
MM = "mm"
# ITK keeps double precision; a part of the largest number.
SAME_PLACE = 1e-6


@dataclass(frozen=True)
class TextHeader:
    """What a header says.

    Args:
        fields: its lines by their names.
        data_file: the file that holds the values.
        data_at: where they begin in it.
        is_compressed: whether they are.
        steps_lps: (3, 3), the step along each axis in mm, one a row.
        origin_lps: (3,) centre of the first voxel.
    """

    fields: Mapping[str, str]
    data_file: Path
    data_at: int
    is_compressed: bool
    steps_lps: FloatArray
    origin_lps: FloatArray


def check_text_header(path: Path, info: Mapping[str, Any]) -> None:
    """Refuse a file that does not say where it lies, or does not hold just the values it says.

    Args:
        path: an MHA, MHD or NRRD file that ITK can read.
        info: what ITK says of it: ``origin``, ``direction``, ``spacing``, ``value_bytes``.

    Raises:
        StudyError: it is such a file; the message names it.
    """
    header = _nrrd_header(path) if path.suffix.lower() == ".nrrd" else _mha_header(path)
    _check_same_place(path, header, info)
    _check_values(path, header, info["value_bytes"])


def files_of_mhd(path: Path) -> tuple[Path, ...]:
    """Return an MHD file, and the file of its values where its header names another."""
    end = DATA_FILE_LINE.search(_start_of(path))
    values = path.parent / end[1].decode("latin-1").strip() if end else path
    return (path, values) if values.is_file() and values != path else (path,)


def _check_same_place(path: Path, header: TextHeader, info: Mapping[str, Any]) -> None:
    """Refuse a header that ITK has understood otherwise."""
    steps = (np.reshape(info["direction"], (3, 3)) * info["spacing"]).T
    for ours, theirs in ((header.steps_lps, steps), (header.origin_lps, info["origin"])):
        if not np.allclose(ours, theirs, rtol=0, atol=SAME_PLACE * np.abs(ours).max()):
            msg = f"{path} must have a header that is read in one way only: one of its lines is "
            msg += "damaged, and SimpleITK takes its place for another. Copy it again."
            raise StudyError(msg)


def _check_values(path: Path, header: TextHeader, value_bytes: int) -> None:
    try:
        got = (
            _inflated_bytes(header, value_bytes) if header.is_compressed else _stored_bytes(header)
        )
    except (OSError, zlib.error) as error:
        msg = f"{path} must hold undamaged values: {type(error).__name__}. Copy it again."
        raise StudyError(msg) from error
    if got != value_bytes:
        msg = f"{path} must hold as many values as its header says: expected {value_bytes} bytes, "
        msg += f"got {got}{' or more' * (got > value_bytes)}. Copy it again."
        raise StudyError(msg)


def _mha_header(path: Path) -> TextHeader:
    start = _start_of(path)
    end = DATA_FILE_LINE.search(start)
    if end is None:
        msg = f"{path} must name its values' file in ElementDataFile: it does not. Save it again."
        raise StudyError(msg)
    fields = _fields(start[: end.end()], "[=:]")
    spacing_mm, turn, origin_lps = _place(path, fields, MHA_PLACE)
    steps_lps = turn.reshape(3, 3) * spacing_mm[:, None]
    data_file = end[1].decode("latin-1").strip()
    is_compressed = fields.get("CompressedData", "").lower() == "true"
    is_local = data_file.upper() == LOCAL
    place = (path, end.end()) if is_local else (path.parent / data_file, 0)
    header = TextHeader(fields, *place, is_compressed, steps_lps, origin_lps)
    if is_compressed:
        _check_compressed_size(path, header)
    return header


def _check_compressed_size(path: Path, header: TextHeader) -> None:
    """ITK takes as many bytes as CompressedDataSize says, and gives whatever memory held else."""
    got, size = _stored_bytes(header), header.fields.get("CompressedDataSize")
    if size != str(got):
        msg = f"{path} must say how long its compressed values are: expected CompressedDataSize "
        msg += f"{got}, got another or none. Copy it again."
        raise StudyError(msg)


def _nrrd_header(path: Path) -> TextHeader:
    start = _start_of(path)
    end = re.search(rb"\r?\n\r?\n", start)
    if end is None:
        msg = f"{path} must hold its values behind an empty line: there is none. Save it again."
        raise StudyError(msg)
    fields = {name.lower(): value for name, value in _fields(start[: end.end()], ":").items()}
    steps, origin = _place(path, fields, NRRD_PLACE)
    _check_nrrd_words(path, fields)
    signs, is_compressed = NRRD_SPACES[fields["space"].lower()], fields["encoding"].lower() != "raw"
    steps_lps = steps.reshape(3, 3) * signs
    return TextHeader(fields, path, end.end(), is_compressed, steps_lps, origin * signs)


def _start_of(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(MAX_HEADER_BYTES)


def _fields(header: bytes, separator: str) -> dict[str, str]:
    """The lines of a header by their names."""
    lines = header.decode("latin-1").splitlines()
    pairs = [re.split(separator, line, maxsplit=1) for line in lines if not line.startswith("#")]
    return {pair[0].strip(): pair[1].strip() for pair in pairs if len(pair) == 2}


def _place(
    path: Path, fields: Mapping[str, str], place: Iterable[tuple[Sequence[str], int]]
) -> list[FloatArray]:
    """The numbers of each part of the place.

    Raises:
        StudyError: one is missing, or is not as many numbers.
    """
    found = []
    for names, count in place:
        numbers = [_numbers(fields[name]) for name in names if name in fields]
        if not numbers or any(len(each) != count for each in numbers):
            msg = f"{path} must say where it lies in the patient: expected {count} numbers as "
            msg += f"{names[0]}. Convert it again with a tool that keeps the geometry."
            raise StudyError(msg)
        found.append(numbers[0])
    return found


def _numbers(text: str) -> FloatArray:
    """The finite numbers that a text consists of; none where it holds something else."""
    try:
        numbers = np.array([float(word) for word in re.findall(r"[^\s,()]+", text)])
    except ValueError:
        return np.empty(0)
    return numbers[np.isfinite(numbers)]


def _check_nrrd_words(path: Path, fields: Mapping[str, str]) -> None:
    """Refuse what ITK takes for something else: other frames, units, and values lying elsewhere."""
    units = set(re.findall(r"[^\s\"]+", fields.get("space units", MM)))
    elsewhere = {"data file", "datafile", "byte skip", "byteskip", "line skip", "lineskip"}
    for is_known, rule in (
        (
            fields.get("space", "").lower() in NRRD_SPACES,
            f"a space among {', '.join([*NRRD_SPACES][:3])}",
        ),
        (units == {MM}, "space units of mm"),
        (fields.get("encoding", "").lower() in NRRD_ENCODINGS, "the encoding raw or gzip"),
        (not elsewhere & fields.keys(), "its values right behind its header"),
    ):
        if not is_known:
            msg = f"{path} must have {rule}: its header says otherwise. Convert it."
            raise StudyError(msg)


def _stored_bytes(header: TextHeader) -> int:
    return header.data_file.stat().st_size - header.data_at


def _inflated_bytes(header: TextHeader, expected: int) -> int:
    """Bytes that the values unpack to; not counted on far beyond what is expected.

    Raises:
        zlib.error: they are damaged, cut short, or followed by something else.
    """
    inflater, length = zlib.decompressobj(ZLIB_OR_GZIP), 0
    with header.data_file.open("rb") as stream:
        stream.seek(header.data_at)
        for piece in _pieces(inflater, stream):
            length += len(piece)
            if length > expected:
                return length
        if not inflater.eof or inflater.unused_data or stream.read(1):
            msg = "incomplete or followed by something else"
            raise zlib.error(msg)
    return length


def _pieces(inflater: "zlib._Decompress", stream: IO[bytes]) -> Iterator[bytes]:
    while not inflater.eof and (chunk := inflater.unconsumed_tail or stream.read(CHUNK_BYTES)):
        yield inflater.decompress(chunk, CHUNK_BYTES)
    yield inflater.flush()
