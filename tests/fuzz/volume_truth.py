"""What a mutated NIfTI, MHA, NRRD or PNG file says, by its format's rules and no code of ours.

NIfTI: the 348 bytes of its header (https://nifti.nimh.nih.gov/nifti-1). MHA and NRRD: the lines of
their headers; a file that lacks a line about geometry has none, whatever a library then supposes.
"""

import gzip
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import from_matvec
from nibabel.quaternions import fillpositive, quat2mat
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from spine_monai.readers import Volume

NIFTI_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
NIFTI_TYPES |= {1024: "i8", 1280: "u8"}
MHA_TYPES = {"UCHAR": "u1", "CHAR": "i1", "USHORT": "u2", "SHORT": "i2", "UINT": "u4", "INT": "i4"}
MHA_TYPES |= {"FLOAT": "f4", "DOUBLE": "f8"}
NRRD_TYPES = {"unsigned short": "u2", "short": "i2", "uchar": "u1", "float": "f4", "ushort": "u2"}
NRRD_SIGNS = {
    "left-posterior-superior": (-1.0, -1.0, 1.0),
    "right-anterior-superior": (1.0, 1.0, 1.0),
    "left-anterior-superior": (-1.0, 1.0, 1.0),
}
NRRD_SIGNS |= {"lps": NRRD_SIGNS["left-posterior-superior"]}
Affine = NDArray[np.float64]
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
DAMAGE = (ValueError, KeyError, IndexError, struct.error, OSError, EOFError, zlib.error)


def faults_of_file(path: Path, volume: Volume) -> Iterator[str]:
    """Yield what is wrong with a reading, by the file's own header and bytes."""
    try:
        affine, array = _truth(path)
    except DAMAGE as error:
        yield f"read, although by its format it is no whole file: {type(error).__name__}: {error}"
        return
    read = volume.image[0].numpy()
    if affine is not None and not np.allclose(
        volume.image.affine.numpy(), affine, rtol=1e-4, atol=1e-4 * np.abs(affine).max()
    ):
        yield "another affine than the header says"
    if read.shape != array.shape:
        yield f"shape {read.shape}, but the header says {array.shape}"
    elif not np.allclose(read, array, rtol=1e-4, atol=1e-4 * float(np.abs(array).max() or 1)):
        yield "other values than the file holds"


def _truth(path: Path) -> tuple[Affine | None, NDArray[Any]]:
    if path.suffix == ".png":
        return _picture(path)
    content = path.read_bytes()
    if path.suffix in (".nii", ".gz"):
        return _nifti(gzip.decompress(content) if path.suffix == ".gz" else content)
    return _mha(content) if path.suffix == ".mha" else _nrrd(content)


def _nifti(content: bytes) -> tuple[Affine, NDArray[Any]]:
    order = "<" if struct.unpack_from("<i", content)[0] == 348 else ">"
    rank, *size = struct.unpack_from(f"{order}8h", content, 40)
    kind = np.dtype(order + NIFTI_TYPES[struct.unpack_from(f"{order}h", content, 70)[0]])
    offset, slope, intercept = struct.unpack_from(f"{order}3f", content, 108)
    shape = [*size[: min(rank, 3)]]
    values = np.frombuffer(content, kind, int(np.prod(shape)), int(offset))
    array = values.reshape(shape, order="F").astype(np.float64)
    is_scaled = np.isfinite([slope, intercept]).all() and slope != 0
    return _nifti_affine(content, order), array * slope + intercept if is_scaled else array


def _nifti_affine(content: bytes, order: str) -> Affine:
    qform, sform = struct.unpack_from(f"{order}2h", content, 252)
    if sform > 0:
        rows = struct.unpack_from(f"{order}12f", content, 280)
        return np.vstack([np.reshape(rows, (3, 4)), [0, 0, 0, 1]])
    if qform <= 0:
        msg = "neither sform nor qform"
        raise ValueError(msg)
    sign, *spacing = struct.unpack_from(f"{order}4f", content, 76)
    turn = quat2mat(fillpositive(struct.unpack_from(f"{order}3f", content, 256), None))
    spacing[2] *= -1.0 if sign < 0 else 1.0
    return from_matvec(turn * spacing, struct.unpack_from(f"{order}3f", content, 268))


def _mha(content: bytes) -> tuple[Affine, NDArray[Any]]:
    head, marker, data = content.partition(b"ElementDataFile = LOCAL\n")
    if not marker:
        msg = "no data in the file"
        raise ValueError(msg)
    lines = dict(_line(line, "=") for line in head.decode("latin-1").splitlines() if "=" in line)
    size = _numbers(lines["DimSize"]).astype(int)
    turn = _numbers(lines["TransformMatrix"]).reshape(3, 3)
    affine = from_matvec(turn.T * _numbers(lines["ElementSpacing"]), _numbers(lines["Offset"]))
    kind = np.dtype("<" + MHA_TYPES[lines["ElementType"].removeprefix("MET_")])
    if lines.get("BinaryDataByteOrderMSB", "False") == "True":
        kind = kind.newbyteorder(">")
    data = zlib.decompress(data) if lines.get("CompressedData") == "True" else data
    return LPS_TO_RAS @ affine, _first(data, kind, size)


def _nrrd(content: bytes) -> tuple[Affine, NDArray[Any]]:
    head, _, data = content.partition(b"\n\n")
    lines = dict(_line(line, ":") for line in head.decode("latin-1").splitlines() if ":" in line)
    size = _numbers(lines["sizes"]).astype(int)
    steps = np.array([_numbers(step.strip("()")) for step in lines["space directions"].split()])
    origin = _numbers(lines["space origin"].strip("()"))
    signs = np.diag(NRRD_SIGNS[lines["space"].lower()])
    endian = ">" if lines.get("endian") == "big" else "<"
    data = gzip.decompress(data) if lines["encoding"] in ("gzip", "gz") else data
    kind = np.dtype(endian + NRRD_TYPES[lines["type"]])
    return from_matvec(signs @ steps.T, signs @ origin), _first(data, kind, size)


def _line(line: str, separator: str) -> tuple[str, str]:
    key, _, value = line.partition(separator)
    return key.strip(), value.strip()


def _numbers(text: str) -> NDArray[np.float64]:
    return np.array([float(word) for word in text.replace(",", " ").split()])


def _first(data: bytes, kind: np.dtype[Any], size: NDArray[Any]) -> NDArray[Any]:
    return np.frombuffer(data, kind, int(np.prod(size))).reshape(size, order="F")


def _picture(path: Path) -> tuple[None, NDArray[Any]]:
    try:
        with Image.open(path) as image:
            image.load()
            return None, np.asarray(image.convert("L") if image.mode == "P" else image)[..., None]
    except (UnidentifiedImageError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from error
