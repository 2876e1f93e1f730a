"""Any study to one volume: what lies at a path, which series is used and why, its pixels."""

from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from spine_monai.files import sha256_of_files
from spine_monai.geometry import spacing_mm
from spine_monai.readers.dicom import read_series
from spine_monai.readers.errors import StudyError
from spine_monai.readers.series import Series, choose_series, index_study
from spine_monai.readers.volumes import is_volume_file, read_volume, volume_stem

MIN_SLICES = 2
FINE_ENOUGH_MM = 2.0


@dataclass(frozen=True)
class LocatedStudy:
    """A study found on disk, its series chosen, its pixels not yet read.

    Args:
        path: what the caller named.
        stem: short name from the file or folder; the case id where there is no better one.
        reason: why this series was taken.
        series: the chosen DICOM series, or ``None`` for a volume file.
    """

    path: Path
    stem: str
    reason: str
    series: Series | None = None

    @property
    def warnings(self) -> list[dict[str, str]]:
        """What a user of the result should know about the study, each with code and message."""
        warnings = []
        if self.series and self.series.is_derived:
            message = "the series is DERIVED: its pixels or geometry were changed after the scan"
            warnings.append({"code": "derived_series", "message": message})
        if self.series and self.series.unreadable_beside:
            first, count = self.series.unreadable_beside[0], len(self.series.unreadable_beside)
            message = (
                f"{count} DICOM files cannot be read and may belong to the series: {first} ..."
            )
            warnings.append({"code": "unreadable_files", "message": message})
        return warnings

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that hold the pixels."""
        return self.series.files if self.series else (self.path,)

    @property
    def digest(self) -> str:
        """SHA-256 of the files' content."""
        return sha256_of_files(self.files)


@dataclass(frozen=True)
class Volume:
    """One image volume in patient space.

    Args:
        image: (1, I, J, K) float32 MetaTensor; its affine is ras_from_index. DICOM has axes
            (row, column, slice) as stored, slices along the normal.
        source: where it came from: ``kind``, ``path`` and, for DICOM, the UIDs.
        instance_uids: SOPInstanceUID of each slice along K; empty for volume files.
    """

    image: MetaTensor
    source: dict[str, str]
    instance_uids: tuple[str, ...] = field(default=())


def locate_study(path: str | Path) -> LocatedStudy:
    """Find what to read at a path: a volume file, a DICOM file's series, or a folder's best series.

    Args:
        path: a ``.nii``, ``.nii.gz``, ``.mha``, ``.nrrd`` file, a DICOM file (its series is used),
            or a folder of DICOM files at any depth.

    Raises:
        StudyError: nothing usable lies there; the message says why.
    """
    study = Path(path)
    if not study.exists():
        msg = f"study must exist: {study} does not. Check the path."
        raise StudyError(msg)
    if study.is_file() and is_volume_file(study):
        return LocatedStudy(study, volume_stem(study), "the file holds one volume")
    series, reason = choose_series(index_study(study), study)
    return LocatedStudy(study, study.stem if study.is_file() else study.name, reason, series)


def read_study(study: str | Path | LocatedStudy) -> Volume:
    """Read a study's chosen series or volume.

    Raises:
        StudyError: the pixels or the geometry cannot be used; the message names the file.
    """
    located = study if isinstance(study, LocatedStudy) else locate_study(study)
    if located.series:
        array, affine = read_series(located.series)
        source = {"kind": "dicom", "path": str(located.path), **located.series.uids}
        uids = tuple(instance.sop_instance_uid for instance in located.series.instances)
    else:
        array, affine = read_volume(located.path)
        source, uids = {"kind": "file", "path": str(located.path)}, ()
    _check_volume(array, affine, located.path)
    image = MetaTensor(torch.from_numpy(array)[None], affine=torch.from_numpy(affine))
    return Volume(image, source, uids)


def _why_not_sagittal(shape: tuple[int, ...], affine: NDArray[np.float64]) -> str:
    """Why a volume has no sagittal slices fit to look at; empty where it has."""
    across = int(np.flatnonzero(nib.io_orientation(affine)[:, 0] == 0)[0])
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


def _check_volume(array: NDArray[np.float32], affine: NDArray[np.float64], path: Path) -> None:
    msg = ""
    if not np.isfinite(affine).all() or not (spacing_mm(affine) > 0).all():
        msg = f"{path} must have a positive spacing: got {spacing_mm(affine).round(4).tolist()} mm."
    elif abs(np.linalg.det(affine[:3, :3] / spacing_mm(affine))) < 0.5:
        msg = f"{path} must have three axes at right angles: its directions are skewed or parallel."
    elif message := _why_not_sagittal(array.shape, affine):
        msg = f"{path} {message}"
    elif not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        msg = f"{path} must hold finite pixels: got {count} that are NaN or infinite."
    elif array.min() == array.max():
        msg = f"{path} must hold an image: all its pixels have the value {array.min():g}."
    if msg:
        raise StudyError(msg)
