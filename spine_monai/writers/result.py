"""The result of one case, as the writers and pictures take it."""

from collections.abc import Mapping
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
    """

    case: str
    landmarks: LandmarkSet
    source: Mapping[str, str]
    slice: Mapping[str, Any]
    image: MetaTensor
