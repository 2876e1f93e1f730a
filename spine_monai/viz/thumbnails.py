"""Thumbnails of slices: small JPEG pictures that know where in the patient they lie.

A thumbnail shows the whole upright slice with square pixels. Its comment, a field of every JPEG
file, holds ``lps_from_column_row`` as JSON: the matrix that takes (column, row, 0, 1) of the
thumbnail, pixel centres, to LPS mm. So landmarks are drawn on it later, without the study.
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spine_monai.geometry import lps_from_column_row, spacing_mm
from spine_monai.viz.figures import require_matplotlib
from spine_monai.writers.result import Result

THUMBNAIL_FILE = "thumbnail.jpg"
LONGEST_PX = 384
MOST_BYTES = 25_000
QUALITIES = (80, 70, 60, 50, 40, 30, 20)
FRAME_KEY = "lps_from_column_row"


@dataclass(frozen=True)
class Thumbnail:
    """A small picture of a slice.

    Args:
        jpeg: the file's bytes.
        rows: height in pixels.
        columns: width in pixels.
        lps_from_column_row: (4, 4) from (column, row, 0, 1), pixel centres, to LPS mm.
    """

    jpeg: bytes
    rows: int
    columns: int
    lps_from_column_row: NDArray[np.float64]


def thumbnail_jpeg(result: Result) -> bytes:
    """Return the slice of a result as a small JPEG picture, without landmarks.

    Its longest side has at most 384 pixels, and it takes at most 25 kB: the quality is lowered
    until it fits.

    Raises:
        ImportError: the extra ``viz`` is not installed.
    """
    require_matplotlib()  # Pillow comes with it
    from PIL import Image

    grey = _grey(result.image[0].numpy())
    rows, columns = _size(result)
    picture = Image.fromarray(grey).resize((columns, rows), Image.Resampling.LANCZOS)
    comment = json.dumps({FRAME_KEY: _frame(result, rows, columns).tolist()}).encode()
    for quality in QUALITIES:
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=quality, optimize=True, comment=comment)
        if len(stream.getvalue()) <= MOST_BYTES:
            break
    return stream.getvalue()


def read_thumbnail(path: Path) -> Thumbnail:
    """Read a picture that ``thumbnail_jpeg`` made.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another picture, or none.
    """
    require_matplotlib()
    from PIL import Image

    jpeg = path.read_bytes()
    try:
        with Image.open(io.BytesIO(jpeg)) as picture:
            picture.load()
            columns, rows = picture.size
            frame = np.array(json.loads(picture.info["comment"])[FRAME_KEY], dtype=np.float64)
            if picture.format != "JPEG" or frame.shape != (4, 4):
                msg = f"{picture.format} with a frame of shape {frame.shape}"
                raise ValueError(msg)
    except (OSError, KeyError, TypeError, ValueError) as error:
        msg = f"{path} must be a whole JPEG thumbnail of spine_monai: {error!r}. Localize again."
        raise ValueError(msg) from error
    return Thumbnail(jpeg, rows, columns, frame)


def _grey(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Window the pixels as the overlay does."""
    low, high = np.percentile(pixels, [0.5, 98.5])
    share = (pixels - low) / max(float(high - low), 1e-9)
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)


def _size(result: Result) -> tuple[int, int]:
    """Rows and columns of square pixels, at most ``LONGEST_PX`` and no finer than the slice."""
    pixel_mm = spacing_mm(result.image.affine)[:2]
    sides_mm = np.array(result.image.shape[1:]) * pixel_mm
    side_mm = max(float(sides_mm.max()) / LONGEST_PX, float(pixel_mm.min()))
    rows, columns = np.maximum(np.rint(sides_mm / side_mm), 1).astype(int)
    return int(rows), int(columns)


def _frame(result: Result, rows: int, columns: int) -> NDArray[np.float64]:
    """The thumbnail's frame: its edges are those of the slice, so its centres lie between them."""
    height, width = result.image.shape[1:]
    slice_from_thumbnail = np.diag([width / columns, height / rows, 1.0, 1.0])
    slice_from_thumbnail[:2, 3] = [(width / columns - 1) / 2, (height / rows - 1) / 2]
    return lps_from_column_row(result.image.affine) @ slice_from_thumbnail
