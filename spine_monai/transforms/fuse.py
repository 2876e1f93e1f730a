"""The post-transform that turns both networks' outputs into landmarks."""

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from spine_monai.fusion import FusionModel
from spine_monai.geometry import points_lps_from_ij, spacing_mm
from spine_monai.heatmaps import ij_from_edge_fractions
from spine_monai.landmarks import LandmarkSet, load_registry
from spine_monai.transforms.decode import plain


class FuseHeatmapsd(MapTransform):
    """Multiply heatmaps with the Gaussian about the coordinates, and take the argmax.

    Args:
        keys: (N, H, W) heatmap logits, a MetaTensor of the image's grid.
        coordinates_key: (N, 2) edge fractions of the coordinate network.
        output_key: where the ``LandmarkSet`` goes.
        fusion: the fitted fusion.
        landmark_set: name or YAML file of the registry, in the channels' order.
        min_confidence: below it a landmark is reported as ``uncertain``.
        allow_missing_keys: as in MONAI.

    Raises:
        ValueError: the heatmaps have another number of channels than the landmark set has names.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        coordinates_key: str = "coordinates",
        output_key: str = "landmarks",
        fusion: FusionModel,
        landmark_set: str = "lumbar11",
        min_confidence: float = 0.5,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.coordinates_key = coordinates_key
        self.output_key = output_key
        self.fusion = fusion.cpu().eval()
        self.registry = load_registry(landmark_set)
        self.min_confidence = min_confidence

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the landmarks."""
        item = dict(data)
        for key in self.key_iterator(item):
            item[self.output_key] = self._fuse(item[key], plain(item[self.coordinates_key]))
        return item

    def _fuse(self, heatmaps: Any, fractions: torch.Tensor) -> LandmarkSet:
        logits = plain(heatmaps).float()
        if len(logits) != len(self.registry):
            msg = f"heatmaps must have one channel for each landmark of {self.registry.name}: "
            msg += f"expected {len(self.registry)}, got {len(logits)}."
            raise ValueError(msg)
        spacing = torch.as_tensor(spacing_mm(heatmaps.affine)[:2], dtype=torch.float32)
        predicted_ij = ij_from_edge_fractions(fractions.float(), logits.shape[-2:])
        fused = self.fusion.decode(logits[None], predicted_ij[None], spacing[None])
        return LandmarkSet(
            self.registry,
            points_lps=points_lps_from_ij(fused.points_ij[0].numpy(), heatmaps.affine),
            confidence=fused.confidence[0].double().numpy(),
            radius95_mm=fused.radius95_mm[0].double().numpy(),
            calibrated=self.fusion.is_calibrated,
            min_confidence=self.min_confidence,
        )
