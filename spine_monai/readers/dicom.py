"""A classic (single-frame) DICOM series as an array and its affine.

Order and affine come from ImagePositionPatient and ImageOrientationPatient alone; pixels from
pydicom's decoders, or from SimpleITK where pydicom lacks one.
"""

import warnings

import numpy as np
import pydicom
from numpy.typing import NDArray

from spine_monai.geometry import ras_from_dicom
from spine_monai.readers.errors import StudyError
from spine_monai.readers.series import Instance, Series

SPACING_TOLERANCE = 0.1


def read_series(series: Series) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read a series' pixels and its place in the patient.

    Args:
        series: instances in order along their normal.

    Returns:
        (rows, columns, slices) float32 array in the modality's units, and its (4, 4) affine
        ras_from_index.

    Raises:
        StudyError: a file lacks pixels or geometry, slices are missing, doubled or unevenly spaced.
    """
    affine = _affine(series)
    slices = [_pixels(instance) for instance in series.instances]
    if len({pixels.shape for pixels in slices}) > 1:
        msg = (
            f"{series.label} must have slices of one size: got {sorted({s.shape for s in slices})}."
        )
        raise StudyError(msg)
    return np.stack(slices, axis=-1), affine


def _affine(series: Series) -> NDArray[np.float64]:
    first = series.instances[0]
    spacing = np.stack([_pixel_spacing(instance) for instance in series.instances])
    if not np.allclose(spacing, spacing[0], rtol=1e-3):
        msg = (
            f"{series.label} must have one PixelSpacing: got {spacing.min(0)} to {spacing.max(0)}."
        )
        raise StudyError(msg)
    orientation = first.numbers("ImageOrientationPatient", 6)
    positions = np.stack([i.numbers("ImagePositionPatient", 3) for i in series.instances])
    step = _slice_step(series, positions)
    return ras_from_dicom(
        positions[0].tolist(), orientation.tolist(), spacing[0].tolist(), step.tolist()
    )


def _pixel_spacing(instance: Instance) -> NDArray[np.float64]:
    spacing = instance.numbers("PixelSpacing", 2)
    if not (spacing > 0).all():
        msg = f"{instance.path} must have a positive PixelSpacing: got {spacing.tolist()} mm."
        raise StudyError(msg)
    return spacing


def _slice_step(series: Series, positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """The vector between neighbouring slices; refused unless it is the same all along."""
    steps = np.diff(positions, axis=0)
    step: NDArray[np.float64] = steps.mean(0)
    distances = steps @ series.instances[0].normal_lps
    if distances.min() < 1e-3:
        msg = f"{series.label} must have one slice at each place: two have the same "
        msg += "ImagePositionPatient. Remove the copies or the second acquisition."
        raise StudyError(msg)
    if np.linalg.norm(steps - step, axis=1).max() > SPACING_TOLERANCE * distances.mean():
        msg = (
            f"{series.label} must have evenly spaced slices: ImagePositionPatient gives distances "
        )
        msg += f"from {distances.min():.2f} to {distances.max():.2f} mm. Is a slice missing?"
        raise StudyError(msg)
    return step


def _pixels(instance: Instance) -> NDArray[np.float32]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom quotes raw values, which may name a patient
        try:
            dataset = pydicom.dcmread(instance.path)
            _check_is_grey(dataset, instance)
            return _decode(dataset, instance)
        except (AttributeError, ValueError, RuntimeError, NotImplementedError, EOFError) as error:
            if isinstance(error, StudyError):
                raise
            msg = f"{instance.path} must have readable PixelData: {type(error).__name__}. The file "
            msg += "may be cut short; copy it again."
            raise StudyError(msg) from error


def _check_is_grey(dataset: pydicom.Dataset, instance: Instance) -> None:
    got, frames = dataset.get("PhotometricInterpretation"), dataset.get("NumberOfFrames") or 1
    if got != "MONOCHROME2" or int(frames) != 1:
        msg = (
            f"{instance.path} must be one MONOCHROME2 frame: got PhotometricInterpretation {got}, "
        )
        msg += f"NumberOfFrames {frames}. Other kinds cannot be read yet."
        raise StudyError(msg)


def _decode(dataset: pydicom.Dataset, instance: Instance) -> NDArray[np.float32]:
    try:
        stored = dataset.pixel_array.astype(np.float32)
    except (RuntimeError, NotImplementedError):
        if not dataset.file_meta.TransferSyntaxUID.is_compressed:
            raise
        return _decode_with_itk(instance)
    slope = float(dataset.get("RescaleSlope") or 1.0)
    intercept = float(dataset.get("RescaleIntercept") or 0.0)
    return stored * np.float32(slope) + np.float32(intercept)


def _decode_with_itk(instance: Instance) -> NDArray[np.float32]:
    """Pixels of a compressed file by GDCM, which applies the rescale itself."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(instance.path), sitk.sitkFloat32)
    return sitk.GetArrayFromImage(image)[0]
