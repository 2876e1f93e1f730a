"""What the networks shall learn, drawn from points in patient space through the current affine."""

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor

from spine_monai.geometry import points_ijk_from_lps
from spine_monai.heatmaps import edge_fractions_from_ij, encode_heatmaps


class DrawHeatmapsd(MapTransform):
    """Draw a heatmap for each landmark on the grid of the image as it is now.

    Args:
        keys: points_lps, (N, 3) in mm; NaN where a landmark is not annotated.
        image_key: the (1, H, W) slice with its affine.
        output_key: where the (N, H, W) heatmaps go. A landmark outside the image has an empty map;
            one that is not annotated has a map of NaN, which ``HeatmapLoss`` leaves out.
        target_sigma_px: standard deviation in pixels of the image's grid.
        amplitude: height of the peaks; see ``spine_monai.heatmaps.paper_amplitude``.
        allow_missing_keys: as in MONAI.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        image_key: str = "image",
        output_key: str = "heatmaps",
        target_sigma_px: float,
        amplitude: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.output_key = output_key
        self.target_sigma_px = target_sigma_px
        self.amplitude = amplitude

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the heatmaps."""
        item = dict(data)
        image = item[self.image_key]
        for key in self.key_iterator(item):
            points_ij = _points_ij(item[key], image)
            heatmaps = encode_heatmaps(
                points_ij, image.shape[-2:], self.target_sigma_px, amplitude=self.amplitude
            )
            is_unknown = torch.isnan(points_ij).any(-1)
            item[self.output_key] = heatmaps.masked_fill(is_unknown[:, None, None], torch.nan)
        return item


class EdgeFractionsd(MapTransform):
    """Give the landmarks as edge fractions of the image as it is now.

    Args:
        keys: points_lps, (N, 3) in mm; NaN where a landmark is not annotated.
        image_key: the (1, H, W) slice with its affine.
        output_key: where the (N, 2) fractions along rows and columns go; NaN stays NaN.
        allow_missing_keys: as in MONAI.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        image_key: str = "image",
        output_key: str = "fractions",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.output_key = output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the fractions."""
        item = dict(data)
        image = item[self.image_key]
        for key in self.key_iterator(item):
            points_ij = _points_ij(item[key], image)
            item[self.output_key] = edge_fractions_from_ij(points_ij, image.shape[-2:])
        return item


def _points_ij(points_lps: Any, image: MetaTensor) -> Tensor:
    points_ijk = points_ijk_from_lps(points_lps, image.affine)
    return torch.as_tensor(points_ijk[..., :2], dtype=torch.float32)
