"""A 2-D picture (PNG or JPEG) of a sagittal slice: pixels, and a pixel size that the user names.

A picture does not say where it lies in the patient. So it is given a made-up place: rows run
towards the feet, columns towards posterior, and the first pixel is the origin of LPS. Distances in
the picture are true if the pixel size is; positions mean nothing, and results must say so.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spine_monai.geometry import ras_from_dicom
from spine_monai.readers.decoding import DecodingError, read_image
from spine_monai.readers.errors import StudyError

PNG_SUFFIXES, JPEG_SUFFIXES = (".png",), (".jpg", ".jpeg")
ALONG_ROW_LPS, ALONG_COLUMN_LPS = (0.0, 1.0, 0.0), (0.0, 0.0, -1.0)
# Between slices; there is one only, so the length of this vector decides nothing.
TO_THE_RIGHT_LPS = (-1.0, 0.0, 0.0)
MAX_PIXEL_MM = 5.0  # a disc is some 10 mm high: larger pixels hide it, or are a slip of the pen
GREY_BITS = ("u1", "u2")
# JPEG readers fill what is missing at the end with grey; only the end marker tells.
JPEG_END, JPEG_END_WITHIN = b"\xff\xd9", 4096
EXIF_START, EXIF_ORIENTATION, UPRIGHT = b"Exif\0\0", 0x0112, (0, 1)


def is_picture_file(path: Path) -> bool:
    """Whether the file's name says that it is a PNG or JPEG picture."""
    return path.suffix.lower() in PNG_SUFFIXES + JPEG_SUFFIXES


def read_picture(
    path: Path, pixel_spacing_mm: float | tuple[float, float]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read a picture as a volume of one slice.

    Args:
        path: PNG or JPEG, 8 or 16 bits, grey, or in colours that are all grey.
        pixel_spacing_mm: mm between rows and between columns; one number for both.

    Returns:
        (rows, columns, 1) float32 array, and its (4, 4) affine ras_from_index, which holds no
        position in the patient.

    Raises:
        StudyError: the file is damaged, not grey, turned by its EXIF tag, or its pixels are longer
            than ``MAX_PIXEL_MM``.
        ValueError: the spacing is no positive number.
    """
    spacing = np.broadcast_to(np.asarray(pixel_spacing_mm, dtype=np.float64), (2,))
    if not (np.isfinite(spacing) & (spacing > 0)).all():
        msg = f"pixel_spacing_mm must be positive: got {pixel_spacing_mm}."
        raise ValueError(msg)
    if spacing.max() > MAX_PIXEL_MM:
        msg = f"{path} must have pixels of at most {MAX_PIXEL_MM:g} mm for landmarks to be seen: "
        msg += f"got {spacing.max():g}. Is --pixel-spacing in mm?"
        raise StudyError(msg)
    if path.suffix.lower() in JPEG_SUFFIXES:
        _check_jpeg(path)
    try:
        _, pixels = read_image(path, (2,))
    except DecodingError as error:
        msg = f"{path} must be a readable PNG or JPEG picture: {error}. Save it again."
        raise StudyError(msg) from error
    grey = _grey(path, pixels).astype(np.float32)[..., None]
    orientation = [*ALONG_ROW_LPS, *ALONG_COLUMN_LPS]
    return grey, ras_from_dicom((0, 0, 0), orientation, spacing.tolist(), TO_THE_RIGHT_LPS)


def _grey(path: Path, pixels: NDArray[Any]) -> NDArray[Any]:
    """The grey values of (rows, columns) or (rows, columns, channels) pixels."""
    channels = pixels if pixels.ndim == 3 else pixels[..., None]
    if channels.shape[-1] == 4 and (channels[..., 3] == np.iinfo(channels.dtype).max).all():
        channels = channels[..., :3]  # nothing of it is transparent
    if pixels.dtype.str[1:] not in GREY_BITS or (channels != channels[..., :1]).any():
        msg = f"{path} must be a grey picture of 8 or 16 bits: got {channels.shape[-1]} different "
        msg += f"channels of {pixels.dtype}. Save it in grey, without marks in colour."
        raise StudyError(msg)
    return channels[..., 0]


def _check_jpeg(path: Path) -> None:
    content = path.read_bytes()
    if JPEG_END not in content[-JPEG_END_WITHIN:]:
        msg = f"{path} must be a whole JPEG file: it has no end marker. Copy it again."
        raise StudyError(msg)
    if (orientation := _exif_orientation(content)) not in UPRIGHT:
        msg = f"{path} must be stored upright: got EXIF Orientation {orientation}. Save it again "
        msg += "without that tag."
        raise StudyError(msg)


def _exif_orientation(content: bytes) -> int:
    """The EXIF orientation tag, 1 for upright; 0 where there is none."""
    start = content.find(EXIF_START) + len(EXIF_START)
    tiff = content[start:] if start >= len(EXIF_START) else b""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 0
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, directory)
        for number in range(count):
            entry = struct.unpack_from(f"{order}HHIH", tiff, directory + 2 + 12 * number)
            if entry[0] == EXIF_ORIENTATION:
                return int(entry[3])
    except struct.error:  # the tag's place lies beyond the file
        return 0
    return 0
