"""Value objects of a DICOM study: an image with its header, and a series of them.

A frame of a multi-frame file counts as one image, with a header like that of a single-frame file;
so order, grouping, geometry and choice have one code for both.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import IO

import numpy as np
import pydicom
from numpy.typing import NDArray

from spine_monai.geometry import lps_from_column_row, ras_from_dicom
from spine_monai.readers.archive import Source
from spine_monai.readers.errors import StudyError
from spine_monai.readers.keywords import is_uid
from spine_monai.readers.vocabulary import codes_of

UID_KEYWORDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")


@dataclass(frozen=True)
class Instance:
    """One DICOM image and the part of its header that geometry and choice need.

    Args:
        path: the file; for one inside a zip, the zip's path followed by the name in it.
        header: its readable attributes; those of one frame stand in it as in a single-frame file.
        unreadable: keywords of the attributes whose values are no such values.
        frame: number of the frame in a multi-frame file, from 0; ``None`` for a single-frame file.
        source: where its bytes are, if not simply in the file ``path``.
    """

    path: Path
    header: pydicom.Dataset
    unreadable: tuple[str, ...] = ()
    frame: int | None = None
    source: Source | None = None

    def open(self) -> AbstractContextManager[IO[bytes]]:
        """Open the bytes of the file, on disk or in its zip.

        Raises:
            OSError: it cannot be opened.
            StudyError: its zip is damaged.
        """
        return (self.source or Source(self.path)).open()

    @property
    def name(self) -> str:
        """How messages call the image: its file, and which frame of it."""
        return str(self.path) if self.frame is None else f"{self.path} (frame {self.frame + 1})"

    @property
    def study(self) -> tuple[str, str]:
        """What tells studies apart: StudyInstanceUID and PatientID; to compare, never to print."""
        return str(self.header.get("StudyInstanceUID") or ""), str(
            self.header.get("PatientID") or ""
        )

    @property
    def lps_from_column_row(self) -> NDArray[np.float64]:
        """(4, 4) from (column, row, 0, 1), pixel centres, to LPS mm.

        Raises:
            StudyError: position, orientation or spacing is absent or no such values.
        """
        affine = ras_from_dicom(
            self.numbers("ImagePositionPatient", 3).tolist(),
            self.numbers("ImageOrientationPatient", 6).tolist(),
            self.pixel_spacing_mm.tolist(),
            self.normal_lps.tolist(),
        )
        return lps_from_column_row(affine)

    @property
    def origin(self) -> tuple[str, ...]:
        """What images of one volume share: study, patient and frame of reference; as ``study``."""
        return *self.study, str(self.header.get("FrameOfReferenceUID") or "")

    @property
    def sop_instance_uid(self) -> str:
        """SOPInstanceUID, or an empty string."""
        uid = self.header.get("SOPInstanceUID")
        return str(uid) if is_uid(uid) else ""

    def numbers(self, keyword: str, count: int) -> NDArray[np.float64]:
        """Return a numeric attribute.

        Raises:
            StudyError: it is absent, has another number of values, or one of them is not finite.
        """
        found = self.header.get(keyword)
        try:
            values = np.atleast_1d(np.asarray([] if found is None else found, dtype=np.float64))
        except (TypeError, ValueError) as error:  # whose text would quote the value
            msg = f"{self.name} must have {count} finite values of {keyword}: got no numbers."
            raise StudyError(msg) from error
        if values.shape != (count,) or not np.isfinite(values).all():
            msg = (
                f"{self.name} must have {count} finite values of {keyword}: got {values.tolist()}."
            )
            raise StudyError(msg)
        return values

    @cached_property
    def normal_lps(self) -> NDArray[np.float64]:
        """Unit vector across the slice."""
        orientation = self.numbers("ImageOrientationPatient", 6).tolist()
        normal_lps = _unit_normal(*orientation)
        if normal_lps is None:
            msg = f"{self.name} must have two unit vectors at right angles as "
            msg += f"ImageOrientationPatient: got {orientation[:3]} and {orientation[3:]}."
            raise StudyError(msg)
        return normal_lps

    @property
    def pixel_spacing_mm(self) -> NDArray[np.float64]:
        """Distance between rows and between columns.

        Raises:
            StudyError: it is absent or not positive.
        """
        spacing_mm = self.numbers("PixelSpacing", 2)
        if not (spacing_mm > 0).all():
            msg = f"{self.name} must have a positive PixelSpacing: got {spacing_mm.tolist()} mm."
            raise StudyError(msg)
        return spacing_mm

    @cached_property
    def height_mm(self) -> float:
        """Position along the normal of the slice."""
        return float(self.numbers("ImagePositionPatient", 3) @ self.normal_lps)

    @cached_property
    def has_place(self) -> bool:
        """Whether position and orientation are readable."""
        try:
            return np.isfinite(self.height_mm)
        except StudyError:
            return False


@lru_cache(maxsize=1 << 10)
def _unit_normal(*orientation: float) -> NDArray[np.float64] | None:
    """The normal of two directions, ``None`` if they are none; most repeat all through a series."""
    normal = np.cross(orientation[:3], orientation[3:])
    length = float(np.linalg.norm(normal))
    return normal / length if abs(length - 1.0) <= 1e-2 else None


@dataclass(frozen=True)
class Series:
    """Images that share one SeriesInstanceUID and one grid, in order along their normal.

    Where their places are unreadable they stand in the order of their files.

    Args:
        uid: SeriesInstanceUID.
        instances: one a file, or one a frame; copies of a file stand beside each other.
        unreadable_beside: files of the study that are DICOM but cannot be read; they may belong to
            this series.
        part: which part of the series this is, and of how many.
        scan: which scan of the same places this is, and of how many.
    """

    uid: str
    instances: tuple[Instance, ...]
    unreadable_beside: tuple[Path, ...] = ()
    part: tuple[int, int] = (1, 1)
    scan: tuple[int, int] = (1, 1)

    @property
    def header(self) -> pydicom.Dataset:
        """Header of the first image."""
        return self.instances[0].header

    @property
    def files(self) -> tuple[Path, ...]:
        """The files, each once, in the order of the images."""
        return tuple(dict.fromkeys(instance.path for instance in self.instances))

    @property
    def number(self) -> int | None:
        """SeriesNumber, if there is one."""
        try:
            return int(self.header.get("SeriesNumber"))
        except (TypeError, ValueError):
            return None

    @property
    def name(self) -> str:
        """How a user names the series: UID, or UID:part where the series has several parts."""
        part, parts = self.part
        return f"{self.uid}:{part}" if parts > 1 else self.uid

    @property
    def label(self) -> str:
        """How messages call the series: by number, UID and part, never by its description."""
        number, (part, parts) = "?" if self.number is None else self.number, self.part
        return f"series {number} ({self.uid}{f', part {part} of {parts}' if parts > 1 else ''})"

    @property
    def uids(self) -> dict[str, str]:
        """The UIDs that stay the same over the series."""
        found = {keyword: self.header.get(keyword) for keyword in UID_KEYWORDS}
        return {keyword: str(value) for keyword, value in found.items() if is_uid(value)}

    @property
    def is_derived(self) -> bool:
        """Whether ImageType says that the images were made from other ones."""
        return "DERIVED" in self.image_types

    @cached_property
    def image_types(self) -> frozenset[str]:
        """The values of ImageType over all images, in upper case."""
        return frozenset().union(*(codes_of(i.header, "ImageType") for i in self.instances))
