"""The post-transform that turns both networks' outputs into landmarks."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from numpy.typing import NDArray

from spine_monai.fusion import FusedPoints, FusionModel
from spine_monai.geometry import points_ijk_from_lps, points_lps_from_ij, spacing_mm
from spine_monai.joint import JointFusion
from spine_monai.landmarks import LandmarkRegistry, LandmarkSet, load_registry
from spine_monai.transforms.decode import plain, points_lps_from_fractions
from spine_monai.transforms.views import corners_lps

DOUBTFUL_HEAT = 0.08  # settled on held-out predictions, see docs/benchmarks/accuracy.md


class FuseHeatmapsd(MapTransform):
    """Multiply heatmaps with the Gaussian about the coordinates, and decide all landmarks together.

    Args:
        keys: (N, H, W) heatmap logits, a MetaTensor with the affine of their own grid.
        coordinates_key: (N, 2) edge fractions of the coordinate network.
        image_key: the slice that the coordinate network saw.
        corners_key: (2, 3) LPS points of the first and last pixel that were scanned, in mm; where
            the item has none, those of the image.
        output_key: where the ``LandmarkSet`` goes.
        fusion: fitted; ``FusionModel`` decides each landmark by itself, as the paper does.
        landmark_set: name or YAML file of the networks' registry, in the channels' order.
        reported_set: name or YAML file of the registry of the result, a part of that one.
        min_confidence: below it a landmark is reported as ``uncertain``.
        allow_missing_keys: as in MONAI.

    Raises:
        ValueError: the heatmaps have another number of channels than the landmark set has names, or
            a reported landmark is none of the networks'.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        coordinates_key: str = "coordinates",
        image_key: str = "image",
        corners_key: str = "corners_lps",
        output_key: str = "landmarks",
        fusion: JointFusion | FusionModel,
        landmark_set: str = "lumbar13",
        reported_set: str = "lumbar11",
        min_confidence: float = 0.5,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.coordinates_key = coordinates_key
        self.image_key = image_key
        self.corners_key = corners_key
        self.output_key = output_key
        self.fusion = fusion.cpu().eval()
        self.registry = load_registry(landmark_set)
        self.reported = load_registry(reported_set)
        self.rows = _rows_of(self.reported, self.registry)
        self.min_confidence = min_confidence

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the landmarks."""
        item = dict(data)
        for key in self.key_iterator(item):
            predicted_lps = points_lps_from_fractions(
                item[self.coordinates_key], item[self.image_key]
            )
            corners = item.get(self.corners_key)
            seen_lps = corners_lps(item[self.image_key]) if corners is None else plain(corners)
            item[self.output_key] = self._fuse(item[key], predicted_lps, np.asarray(seen_lps))
        return item

    def _fuse(
        self, heatmaps: Any, predicted_lps: NDArray[np.float64], seen_lps: NDArray[np.float64]
    ) -> LandmarkSet:
        logits, affine = plain(heatmaps).float(), heatmaps.affine.cpu()
        if len(logits) != len(self.registry):
            msg = f"heatmaps must have one channel for each landmark of {self.registry.name}: "
            msg += f"expected {len(self.registry)}, got {len(logits)}."
            raise ValueError(msg)
        spacing = torch.as_tensor(spacing_mm(affine)[:2], dtype=torch.float32)
        predicted_ij, view_ij = (
            torch.from_numpy(points_ijk_from_lps(points, affine)[:, :2]).float()
            for points in (predicted_lps, seen_lps)
        )
        fused = self.fusion.decode(logits[None], predicted_ij[None], spacing[None], view_ij[None])
        return LandmarkSet(
            self.reported,
            points_lps=points_lps_from_ij(fused.points_ij[0].numpy(), affine)[self.rows],
            confidence=fused.confidence[0].double().numpy()[self.rows],
            radius95_mm=fused.radius95_mm[0].double().numpy()[self.rows],
            calibrated=self.fusion.is_calibrated,
            min_confidence=self.min_confidence,
            level_in_doubt=_is_level_in_doubt(fused),
        )


def _is_level_in_doubt(fused: FusedPoints) -> bool:
    """Whether the last landmark's heatmap shows another level: a well-formed S1-S2 disc does so."""
    return fused.rival_heat is not None and bool(fused.rival_heat[0, -1] > DOUBTFUL_HEAT)


def _rows_of(reported: LandmarkRegistry, registry: LandmarkRegistry) -> list[int]:
    unknown = [name for name in reported.names if name not in registry.names]
    if unknown:
        msg = f"reported_set must be a part of {registry.name}: {', '.join(unknown)} are not in it."
        raise ValueError(msg)
    return [registry.names.index(name) for name in reported.names]
