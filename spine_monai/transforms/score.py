"""How well a slice shows the landmarks that were found on it."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform

from spine_monai.geometry import points_ijk_from_lps, spacing_mm
from spine_monai.slices import canal_brightness
from spine_monai.transforms.decode import plain

LEAST_CONFIDENCE = 1e-6  # in place of a threshold of 0


class ScoreSliced(MapTransform):
    """Score a slice for each landmark: brightness of the canal behind it, less where it is unsure.

    Args:
        keys: the slice that was looked at, (1, H, W), equalized, with its affine.
        landmarks_key: the ``LandmarkSet`` found on it.
        output_key: where the (N,) scores go, 0 to 1; 0 for an absent landmark.
        allow_missing_keys: as in MONAI.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        landmarks_key: str = "landmarks",
        output_key: str = "slice_score",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.landmarks_key = landmarks_key
        self.output_key = output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the scores."""
        item = dict(data)
        landmarks = item[self.landmarks_key]
        for key in self.key_iterator(item):
            affine = np.asarray(item[key].affine.cpu())
            points_ij = points_ijk_from_lps(landmarks.points_lps, affine)[:, :2]
            canal = canal_brightness(plain(item[key])[0], points_ij, spacing_mm(affine)[:2])
            sureness = landmarks.confidence / max(landmarks.min_confidence, LEAST_CONFIDENCE)
            item[self.output_key] = canal * np.nan_to_num(sureness, nan=0.0).clip(0.0, 1.0)
        return item
