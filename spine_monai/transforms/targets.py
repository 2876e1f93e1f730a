"""What the networks shall learn, from points in patient space through the image's current affine.

An item carries its points: pixels or edge fractions of the image as augmentation left it. Heatmaps
are drawn when a batch goes to the network, where the network is, into memory that is used again:
they are never stored, nor sent from one process or device to another.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor

from spine_monai.canvas import Canvas
from spine_monai.geometry import points_ij_from_lps
from spine_monai.heatmaps import edge_fractions_from_ij


class PixelPointsd(MapTransform):
    """Give the landmarks as pixels of the image as it is now.

    Args:
        keys: points_lps, (N, 3) in mm; NaN where a landmark is not annotated.
        image_key: the (1, H, W) slice with its affine.
        output_key: where the (N, 2) points_ij go; NaN stays NaN.
        allow_missing_keys: as in MONAI.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        image_key: str = "image",
        output_key: str = "points_ij",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.output_key = output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the points."""
        item = dict(data)
        for key in self.key_iterator(item):
            item[self.output_key] = _points_ij(item[key], item[self.image_key])
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


class DrawHeatmaps:
    """Draw a batch's heatmaps from its points; an engine's ``prepare_batch``.

    The batch holds ``image`` (B, 1, H, W) and ``label`` (B, N, 2), points_ij, NaN where a landmark
    is not annotated. A landmark outside the image has an empty map; one that is not annotated has a
    map of NaN, which ``HeatmapLoss`` leaves out.

    Args:
        target_sigma_px: standard deviation in pixels of the image's grid.
        amplitude: height of the peaks; see ``spine_monai.heatmaps.paper_amplitude``.
        view_key: item of the batch with (B, 2, 2) ``view_ij``; heatmaps are empty outside it. A
            batch without it is seen whole.
    """

    def __init__(
        self, *, target_sigma_px: float, amplitude: float = 1.0, view_key: str = "view_ij"
    ) -> None:
        self.target_sigma_px = target_sigma_px
        self.amplitude = amplitude
        self.view_key = view_key
        self._canvas = Canvas()

    def __call__(
        self,
        batch: Mapping[str, Any],
        device: torch.device | str | None = None,
        non_blocking: bool = False,
        **to_options: Any,
    ) -> tuple[Tensor, Tensor]:
        """Return the images and their heatmaps, (B, N, H, W), on the device.

        The next call draws into the same memory.
        """
        image = batch["image"].to(device=device, non_blocking=non_blocking, **to_options)
        points_ij = batch["label"].to(image.device, non_blocking=non_blocking)
        views_ij = batch.get(self.view_key)
        heatmaps = self._canvas.draw(
            points_ij,
            (image.shape[-2], image.shape[-1]),
            self.target_sigma_px,
            amplitude=self.amplitude,
            views_ij=None if views_ij is None else views_ij.to(points_ij.device),
        )
        return image, heatmaps


def _points_ij(points_lps: Any, image: MetaTensor) -> Tensor:
    return torch.as_tensor(points_ij_from_lps(points_lps, image.affine), dtype=torch.float32)
