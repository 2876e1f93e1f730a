"""Join named points with the image that they were placed on: one datalist item."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spine_monai.data.conversion import Conversion, LeftOutError
from spine_monai.data.datalists import Item
from spine_monai.data.folds import subject_of_dicom
from spine_monai.files import place_of
from spine_monai.geometry import points_ijk_from_lps
from spine_monai.landmarks import LandmarkSet
from spine_monai.readers import LocatedStudy, Volume, locate_study, read_study
from spine_monai.transforms.slices import upright

Points = Mapping[str, NDArray[np.float64]]


def placed_item(
    case: str,
    image: Path,
    points_lps: Points,
    conversion: Conversion,
    *,
    series_uid: str | None = None,
    instance_uids: Collection[str] = (),
) -> Item:
    """Return the datalist item of a case whose points are known in patient space.

    The image is read, so that a datalist holds only what training can read too. Its slice is the
    sagittal one nearest to the points, counted as in ``SagittalSliced``. Its subject is the patient
    of DICOM as a digest, else the case.

    Args:
        case: becomes the id.
        image: study that ``read_study`` takes.
        points_lps: (3,) LPS point in mm of each annotated level.
        conversion: says which landmarks are expected, and takes remarks on missing ones, on their
            order, and on points outside the image.
        series_uid: DICOM series that was annotated, as ``locate_study`` takes it. It is used
            whatever it is weighted by, and the item names it.
        instance_uids: images of that series that the points were placed on.

    Raises:
        LeftOutError: no landmark of the registry is annotated, none lies in the image, or the
            series lacks a slice of ``instance_uids``.
        StudyError: the image cannot be read.
    """
    names = conversion.registry.names
    known = {name: points_lps[name] for name in names if name in points_lps}
    if not known:
        msg = f"{case} must have a point named as one of {conversion.registry.name}: got "
        msg += f"{', '.join(points_lps) or 'none'}."
        raise LeftOutError(msg, "no_landmarks")
    located = locate_study(image, series_uid)
    volume = read_study(located)
    _check_slices(image, volume, instance_uids)
    for note in (*located.warnings, *volume.warnings):
        conversion.remark(note["code"], note["message"], case=case)
    _check_inside(case, image, volume, known, conversion)
    _tell_missing(case, known, conversion)
    _tell_order(case, known, conversion)
    points = dict.fromkeys(names) | {name: point.tolist() for name, point in points_lps.items()}
    return {
        "id": case,
        "subject": subject_of_study(case, located, conversion.subject_key),
        "image": str(place_of(image)),
        **({"series_uid": series_uid} if series_uid else {}),
        "slice_index": nearest_slice(volume, np.stack(list(known.values()))),
        "points_lps": points,
    }


def nearest_slice(volume: Volume, points_lps: NDArray[np.float64]) -> int:
    """Return the sagittal slice nearest to (N, 3) points, counted towards the patient's right."""
    image = upright(volume.image)
    slices = points_ijk_from_lps(points_lps, image.affine)[:, 2]
    return int(np.clip(np.rint(slices.mean()), 0, image.shape[-1] - 1))


def subject_of_study(case: str, located: LocatedStudy, key: bytes) -> str:
    """Return the patient of a DICOM study as a digest, of other files the case."""
    if located.series is None:
        return case
    with located.series.instances[0].open() as stream:
        digest = subject_of_dicom(stream, key)
    return digest or located.series.uids.get("StudyInstanceUID", case)


def _check_slices(image: Path, volume: Volume, instance_uids: Collection[str]) -> None:
    missing = sorted(set(instance_uids) - set(volume.instance_uids))
    if missing:
        msg = f"{image} must be read with all slices that were annotated: SOPInstanceUID "
        msg += f"{', '.join(missing)} is of another series, or of another part of it."
        raise LeftOutError(msg, "slice_not_in_series")


def _check_inside(
    case: str, image: Path, volume: Volume, known: Points, conversion: Conversion
) -> None:
    picture = upright(volume.image)
    places = points_ijk_from_lps(np.stack(list(known.values())), picture.affine)[:, :2]
    size = np.array(picture.shape[1:3])
    is_inside = np.asarray(((places >= -0.5) & (places <= size - 0.5)).all(-1))
    if not is_inside.any():
        msg = f"the points must lie in their image: none does in {image}. Is it the right image, "
        msg += "and the right coordinate system?"
        raise LeftOutError(msg, "points_outside_image")
    for name, inside in zip(known, is_inside.tolist(), strict=True):
        if not inside:
            msg = f"{name} lies outside {image}. It is kept."
            conversion.remark("point_outside_image", msg, case=case, landmark=name)


def _tell_missing(case: str, known: Points, conversion: Conversion) -> None:
    for name in conversion.registry.names:
        if name not in known:
            msg = f"{name} is not annotated. It is left out of the loss."
            conversion.remark("landmark_missing", msg, case=case, landmark=name)


def _tell_order(case: str, known: Points, conversion: Conversion) -> None:
    registry, nowhere = conversion.registry, np.full(3, np.nan)
    points = np.stack([known.get(name, nowhere) for name in registry.names])
    unknown = np.full(len(registry), np.nan)
    for upper, lower in LandmarkSet(registry, points, unknown, unknown).out_of_order:
        msg = (
            f"{upper} and {lower} do not follow each other head to foot. Are their names swapped? "
        )
        msg += "Both are kept."
        conversion.remark("landmarks_out_of_order", msg, case=case, landmark=upper)
