"""A DICOM series as an array and its affine: single-frame files or frames of Enhanced MR.

Order, spacing and affine come from ImagePositionPatient and ImageOrientationPatient alone; file
names, InstanceNumber, SliceThickness and SpacingBetweenSlices decide nothing.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spine_monai.geometry import ras_from_dicom
from spine_monai.readers.errors import StudyError
from spine_monai.readers.layout import EVEN_SPACING
from spine_monai.readers.pixels import read_pixels
from spine_monai.readers.reading import Reading, warning
from spine_monai.readers.rules import MAX_OBLIQUENESS_DEG, MIN_SLICES
from spine_monai.readers.series import Instance, Series

FloatArray = NDArray[np.float64]
SAME_PLACE_MM = 1e-3
SAME_ORIENTATION = float(np.radians(1.0))
MIN_SHEAR = float(np.tan(np.radians(1.0)))
PREFIX = slice(128, 132)


def read_series(series: Series) -> Reading:
    """Read a series' pixels and its place in the patient.

    Args:
        series: files or frames of one grid, in order along their normal.

    Returns:
        (rows, columns, slices) in the modality's units, without copies.

    Raises:
        StudyError: a file lacks pixels or geometry, slices are missing, doubled or unevenly spaced.
    """
    instances = series.instances
    places = _places(instances)
    affine = _affine(series, instances, [place[0] for place in places])
    pixels = read_pixels(instances)
    for place in places:
        _check_copies(series, [instances[k] for k in place], pixels[..., place])
    first = [place[0] for place in places]
    if len(first) < MIN_SLICES:
        got = f"{len(instances)} copies of one image" if len(instances) > 1 else "1 image"
        msg = f"{series.label} must have at least {MIN_SLICES} slices: got {got}."
        raise StudyError(msg)
    kept = tuple(instances[k] for k in first)
    array = pixels if len(kept) == len(instances) else pixels[..., first]
    return Reading(array, affine, kept, tuple(_warnings(instances, kept, affine)))


def _places(instances: Sequence[Instance]) -> list[list[int]]:
    """Which images lie at each place along the normal."""
    places: list[list[int]] = []
    for number, instance in enumerate(instances):
        if places and _distance_mm(instances[places[-1][0]], instance) < SAME_PLACE_MM:
            places[-1].append(number)
        else:
            places.append([number])
    return places


def _distance_mm(one: Instance, other: Instance) -> float:
    first, second = (i.numbers("ImagePositionPatient", 3) for i in (one, other))
    return float(np.linalg.norm(first - second))


def _check_copies(series: Series, images: Sequence[Instance], pixels: NDArray[np.float32]) -> None:
    for number, image in enumerate(images[1:], start=1):
        if not np.array_equal(pixels[..., 0], pixels[..., number]):
            msg = f"{series.label} must have one slice at each place: two have the same "
            msg += f"ImagePositionPatient and other pixels, {images[0].name} and {image.name}. "
            msg += "Remove the second acquisition."
            raise StudyError(msg)


def _affine(series: Series, instances: Sequence[Instance], first: Sequence[int]) -> FloatArray:
    spacing = _one_spacing(series, instances)
    orientation = _one_orientation(series, instances)
    positions = np.stack([instances[k].numbers("ImagePositionPatient", 3) for k in first])
    normal = instances[0].normal_lps
    step = _slice_step(series, positions, normal) if len(first) >= MIN_SLICES else normal
    return ras_from_dicom(
        positions[0].tolist(), orientation.tolist(), spacing.tolist(), step.tolist()
    )


def _one_spacing(series: Series, instances: Sequence[Instance]) -> FloatArray:
    spacing = np.stack([instance.pixel_spacing_mm for instance in instances])
    if not np.allclose(spacing, spacing[0], rtol=1e-3):
        msg = (
            f"{series.label} must have one PixelSpacing: got {spacing.min(0)} to {spacing.max(0)}."
        )
        raise StudyError(msg)
    return spacing[0]


def _one_orientation(series: Series, instances: Sequence[Instance]) -> FloatArray:
    """Directions along a row and along a column, each of length 1 despite rounding."""
    turns = np.stack([i.numbers("ImageOrientationPatient", 6) for i in instances])
    if not np.allclose(turns, turns[0], rtol=0, atol=SAME_ORIENTATION):
        msg = f"{series.label} must have one ImageOrientationPatient: its slices have different "
        msg += "orientations. Is it a localizer, or several stacks?"
        raise StudyError(msg)
    directions = turns[0].reshape(2, 3)
    return (directions / np.linalg.norm(directions, axis=1, keepdims=True)).ravel()


def _slice_step(series: Series, positions: FloatArray, normal: FloatArray) -> FloatArray:
    """The vector between neighbouring slices; refused unless it is the same all along."""
    steps = np.diff(positions, axis=0)
    step: FloatArray = steps.mean(0)
    distances = steps @ normal
    if distances.min() < SAME_PLACE_MM:
        msg = f"{series.label} must have one slice at each place: two have ImagePositionPatient "
        msg += "in one plane. Remove the second stack."
        raise StudyError(msg)
    if np.linalg.norm(steps - step, axis=1).max() > EVEN_SPACING * distances.mean():
        msg = (
            f"{series.label} must have evenly spaced slices: ImagePositionPatient gives distances "
        )
        msg += f"from {distances.min():.2f} to {distances.max():.2f} mm. Is a slice missing?"
        raise StudyError(msg)
    return step


def _warnings(
    instances: Sequence[Instance], kept: Sequence[Instance], affine: FloatArray
) -> list[dict[str, str]]:
    found = [
        _copies(instances, kept),
        _shared_uids(kept),
        _sheared(affine),
        _oblique(kept[0]),
        _spacing_tag(kept[0], affine),
        _no_prefix(kept[0]),
    ]
    return [entry for entry in found if entry]


def _copies(instances: Sequence[Instance], kept: Sequence[Instance]) -> dict[str, str] | None:
    if len(instances) == len(kept):
        return None
    message = f"{len(instances) - len(kept)} images are copies, with the same "
    message += "ImagePositionPatient and the same pixels as another; they were left out"
    return warning("duplicate_images", message)


def _shared_uids(kept: Sequence[Instance]) -> dict[str, str] | None:
    uids = [instance.sop_instance_uid for instance in kept if instance.frame is None]
    if len(set(uids)) == len(uids):
        return None
    message = "several files have one SOPInstanceUID but lie at different places; results that "
    return warning("shared_instance_uid", f"{message}refer to a slice by its UID are ambiguous")


def _sheared(affine: FloatArray) -> dict[str, str] | None:
    step = affine[:3, 2]
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    along_mm = abs(step @ normal) / np.linalg.norm(normal)
    aside_mm = float(np.sqrt(max(step @ step - along_mm**2, 0.0)))
    if aside_mm <= MIN_SHEAR * along_mm:
        return None
    message = f"each slice is shifted in its plane by {aside_mm:.2f} mm from the one before it "
    return warning("sheared_stack", f"{message}(ImagePositionPatient); positions allow for it")


def _oblique(image: Instance) -> dict[str, str] | None:
    angle_deg = float(np.degrees(np.arccos(np.clip(abs(image.normal_lps[0]), 0, 1))))
    if angle_deg <= MAX_OBLIQUENESS_DEG:
        return None
    message = f"the slices are turned by {angle_deg:.0f} degrees from the sagittal plane "
    return warning("oblique_stack", f"{message}(ImageOrientationPatient)")


def _spacing_tag(image: Instance, affine: FloatArray) -> dict[str, str] | None:
    """Whether SpacingBetweenSlices, which was not used, says something else."""
    tag_mm, true_mm = image.header.get("SpacingBetweenSlices"), np.linalg.norm(affine[:3, 2])
    if tag_mm is None or abs(abs(float(tag_mm)) - true_mm) <= EVEN_SPACING * true_mm:
        return None
    message = f"SpacingBetweenSlices is {float(tag_mm):g} mm, but ImagePositionPatient gives "
    return warning("spacing_between_slices", f"{message}{true_mm:.2f} mm, which was used")


def _no_prefix(image: Instance) -> dict[str, str] | None:
    with image.open() as stream:
        if stream.read(PREFIX.stop)[PREFIX] == b"DICM":
            return None
    message = f"{image.path} has no DICOM preamble; its transfer syntax may be guessed"
    return warning("no_preamble", message)
