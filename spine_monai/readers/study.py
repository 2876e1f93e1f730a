"""Any study to one volume with its place in the patient."""

from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from spine_monai.geometry import spacing_mm
from spine_monai.readers.dicom import read_series
from spine_monai.readers.errors import StudyError
from spine_monai.readers.location import LocatedStudy, UnusableStudy, locate_study
from spine_monai.readers.pictures import read_picture
from spine_monai.readers.reading import Reading, warning
from spine_monai.readers.rules import MAX_OBLIQUENESS_DEG
from spine_monai.readers.volumes import read_volume

MIN_SLICES = 2
FINE_ENOUGH_MM = 2.0


@dataclass(frozen=True)
class Volume:
    """One image volume in patient space.

    Args:
        image: (1, I, J, K) float32 MetaTensor; its affine is ras_from_index. DICOM has axes
            (row, column, slice) as stored, slices along the normal.
        source: where it came from: ``kind`` (``dicom``, ``file`` or ``picture``), ``path`` and, for
            DICOM, the UIDs.
        instance_uids: SOPInstanceUID of each slice along K; empty for volume files.
        warnings: what reading found that a user of the result should know, with code and message.
    """

    image: MetaTensor
    source: dict[str, str]
    instance_uids: tuple[str, ...] = field(default=())
    warnings: tuple[dict[str, str], ...] = ()


def read_study(study: str | Path | LocatedStudy | UnusableStudy) -> Volume:
    """Read a study's chosen series or volume.

    Raises:
        StudyError: the pixels or the geometry cannot be used; the message names the file.
    """
    if isinstance(study, UnusableStudy):
        raise study.error
    located = study if isinstance(study, LocatedStudy) else locate_study(study)
    reading, source = _read(located)
    is_picture = located.pixel_spacing_mm is not None
    _check_volume(reading.array, reading.affine, located.path, is_picture=is_picture)
    affine = torch.from_numpy(reading.affine)
    image = MetaTensor(torch.from_numpy(reading.array)[None], affine=affine)
    uids = tuple(instance.sop_instance_uid for instance in reading.instances)
    warnings = reading.warnings if located.series else reading.warnings + _oblique(reading.affine)
    return Volume(image, source, uids, warnings)


def _read(located: LocatedStudy) -> tuple[Reading, dict[str, str]]:
    """Read by the kind of the source, and say where it came from."""
    path = str(located.path)
    if located.series:
        return read_series(located.series), {"kind": "dicom", "path": path, **located.series.uids}
    if located.pixel_spacing_mm is not None:
        array, affine = read_picture(located.path, located.pixel_spacing_mm)
        return Reading(array, affine), {"kind": "picture", "path": path}
    return read_volume(located.path), {"kind": "file", "path": path}


def _oblique(affine: NDArray[np.float64]) -> tuple[dict[str, str], ...]:
    """The warning about slices far from the sagittal plane; a series by DICOM has its own."""
    first, second = np.delete(affine[:3, :3], _across(affine), axis=1).T
    normal = np.cross(first, second)
    cosine = abs(normal[0]) / np.linalg.norm(normal)
    angle_deg = float(np.degrees(np.arccos(np.clip(cosine, 0, 1))))
    if angle_deg <= MAX_OBLIQUENESS_DEG:
        return ()
    message = f"the slices are turned by {angle_deg:.0f} degrees from the sagittal plane (affine)"
    return (warning("oblique_stack", message),)


def _across(affine: NDArray[np.float64]) -> int:
    """The axis from one sagittal slice to the next."""
    return int(np.flatnonzero(nib.io_orientation(affine)[:, 0] == 0)[0])


def _why_not_sagittal(shape: tuple[int, ...], affine: NDArray[np.float64]) -> str:
    """Why a volume has no sagittal slices fit to look at; empty where it has."""
    across = _across(affine)
    spacing = spacing_mm(affine)
    in_plane_mm = float(np.delete(spacing, across).max())
    if shape[across] < MIN_SLICES:
        return f"must have at least {MIN_SLICES} sagittal slices: got {shape[across]}."
    if in_plane_mm > max(FINE_ENOUGH_MM, 1.5 * spacing[across]):
        return (
            f"must be a sagittal scan: its sagittal pixels are {in_plane_mm:.1f} mm long, its "
            f"slices {spacing[across]:.1f} mm apart, so it was scanned in another plane."
        )
    return ""


def _check_volume(
    array: NDArray[np.float32], affine: NDArray[np.float64], path: Path, *, is_picture: bool
) -> None:
    msg = ""
    if not np.isfinite(affine).all() or not (spacing_mm(affine) > 0).all():
        msg = f"{path} must have a positive spacing: got {spacing_mm(affine).round(4).tolist()} mm."
    elif abs(np.linalg.det(affine[:3, :3] / spacing_mm(affine))) < 0.5:
        msg = f"{path} must have three axes at right angles: its directions are skewed or parallel."
    elif not is_picture and (message := _why_not_sagittal(array.shape, affine)):
        msg = f"{path} {message}"
    elif not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        msg = f"{path} must hold finite pixels: got {count} that are NaN or infinite."
    elif array.min() == array.max():
        msg = f"{path} must hold an image: all its pixels have the value {array.min():g}."
    if msg:
        raise StudyError(msg)
