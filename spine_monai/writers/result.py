"""The result of one case, as the writers and pictures take it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monai.data import MetaTensor

from spine_monai.landmarks import LandmarkSet


@dataclass(frozen=True)
class Result:
    """Landmarks of one case and where they come from.

    Args:
        case: id.
        landmarks: the points.
        source: ``kind``, ``path`` and UIDs of the study.
        slice: ``index``, ``rows``, ``columns``, ``lps_from_column_row`` and, for DICOM,
            ``SOPInstanceUID`` of the native slice.
        image: (1, H, W) upright slice at native resolution, with its affine.
        slice_choice: why that slice, in words.
        landmark_slices: where the landmarks were taken from several slices, (N,) ``index`` and, for
            DICOM, ``SOPInstanceUID`` of each one's; else empty.
        warnings: what the user should know of the choice, each with ``code`` and ``message``.
    """

    case: str
    landmarks: LandmarkSet
    source: Mapping[str, str]
    slice: Mapping[str, Any]
    image: MetaTensor
    slice_choice: str = ""
    landmark_slices: Sequence[Mapping[str, Any]] = ()
    warnings: Sequence[Mapping[str, str]] = ()
