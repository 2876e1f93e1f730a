"""What came of a hard case: read rightly, read wrongly, or refused; by us and by SimpleITK."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from hard_cases.registry import Written
from spine_monai.readers import StudyError, locate_study, read_study

RIGHT, WRONG, REFUSED = "right", "WRONG", "refused"
PLACE_TOLERANCE_MM = 0.03  # the largest jitter of a case is 0.02 mm


@dataclass(frozen=True)
class Outcome:
    """What came of reading a study.

    Args:
        verdict: ``right``, ``WRONG`` or ``refused``.
        message: of the error, or what is wrong.
        warnings: the codes.
        texts: all that was said, to be searched for names.
    """

    verdict: str
    message: str = ""
    warnings: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()


def by_spine_monai(written: Written) -> Outcome:
    """Locate and read a study as every command does."""
    try:
        located = locate_study(written.path)
        volume = read_study(located)
    except StudyError as error:
        return Outcome(REFUSED, str(error), texts=(str(error),))
    found = [*located.warnings, *volume.warnings]
    verdict, message = _verdict(volume.image[0].numpy(), volume.image.affine.numpy(), written)
    codes = tuple(warning["code"] for warning in found)
    texts = (located.reason, *(warning["message"] for warning in found))
    return Outcome(verdict, message, codes, texts)


def by_simpleitk(written: Written) -> Outcome:
    """Hand SimpleITK the same path; of a folder, it reads the first series that it finds."""
    try:
        image = _read_with_simpleitk(written.path)
    except RuntimeError:
        return Outcome(REFUSED)
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[..., 0]
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        return Outcome(WRONG, f"size {image.GetSize()}")
    affine = np.eye(4)
    directions = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = directions * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    array = sitk.GetArrayFromImage(image).T
    if written.path.is_dir():  # its x axis runs along a row, ours along a column
        array, affine = array.transpose(1, 0, 2), affine[:, [1, 0, 2, 3]]
    return Outcome(*_verdict(array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, written))


def _read_with_simpleitk(path: Path) -> sitk.Image:
    if not path.is_dir():
        return sitk.ReadImage(str(path))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path), recursive=True))
    return reader.Execute()


def _verdict(array: NDArray[Any], affine: NDArray[np.float64], written: Written) -> tuple[str, str]:
    if array.shape != written.volume.shape:
        return WRONG, f"shape {array.shape} for {written.volume.shape}"
    last = np.subtract(array.shape, 1)
    corners = np.array(list(np.ndindex(2, 2, 2))) * last
    places = [nib.affines.apply_affine(one, corners) for one in (affine, written.ras_from_index)]
    apart_mm = float(np.linalg.norm(places[0] - places[1], axis=1).max())
    if apart_mm > PLACE_TOLERANCE_MM:
        return WRONG, f"a corner is {apart_mm:.2f} mm off"
    if not np.array_equal(array.astype(np.float32), np.asarray(written.volume, np.float32)):
        return WRONG, "other pixels"
    return RIGHT, ""
