"""Coordinates that learn the data's label masks beside the points: an arm of the accuracy bench.

Half-way through Xception a second head names the structure (nothing, disc, vertebra, canal) at each
place of a grid over the image; its loss is added to the points' in training. Nothing of it is left
afterwards. Points and masks travel in one row of numbers, as an engine has one label.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import LoadImage, MapTransform, SpatialResample
from torch import Tensor, nn
from torch.nn import functional as F

from spine_monai.data import read_datalist
from spine_monai.heatmaps import SmoothCoordinateLoss
from spine_monai.networks import IntegralXception

STRUCTURES = 4
STEP = 8  # places along a side of one pixel of the features
SIDE = 14 * STEP  # for an input of 224 pixels
UNKNOWN = -1  # beyond the mask; the loss leaves it out
STEM_AND_ENTRY = 7  # modules of XceptionFeatures before its middle flow
MIDDLE = 15  # before its exit flow


class MaskXception(IntegralXception):
    """IntegralXception which in training gives the logits of a mask, too; see the module."""

    def __init__(self, num_landmarks: int, **options: Any) -> None:
        super().__init__(num_landmarks, **options)
        channels = self.features[STEM_AND_ENTRY - 1].shortcut[0].out_channels
        self.structures = nn.Sequential(
            nn.ReLU(), nn.Conv2d(channels, STRUCTURES * STEP**2, 1), nn.PixelShuffle(STEP)
        )
        self._halfway: Tensor | None = None
        self.features[MIDDLE - 1].register_forward_hook(self._keep)

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, N, 2) edge fractions; in training (B, 2 N + logits)."""
        fractions = super().forward(image)
        halfway, self._halfway = self._halfway, None
        if not self.training:
            return fractions
        logits = self.structures(halfway).float()
        return torch.cat([fractions.flatten(1), logits.flatten(1)], 1)

    def _keep(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        self._halfway = output


class LoadMaskd(MapTransform):
    """Load the mask that the datalist names for a case.

    Args:
        keys: the case's id.
        datalist: where its mask stands.
        output_key: where the (1, I, J, K) mask goes.
        allow_missing_keys: as in MONAI.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        datalist: str,
        output_key: str = "mask",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.files = {item["id"]: item["mask"] for item in read_datalist(datalist)}
        self.output_key = output_key
        self.load = LoadImage(ensure_channel_first=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            item[self.output_key] = self.load(self.files[item[key]])
        return item


class WithMaskd(MapTransform):
    """Append to the points' fractions the structure at each place of a grid over the image.

    Args:
        keys: (N, 2) fractions; become one row of 2 N + side * side numbers.
        image_key: the (1, H, W) slice with its affine.
        mask_key: the (1, I, J, K) label mask with its own.
        side: places along each side of the image.
        allow_missing_keys: as in MONAI.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        image_key: str = "image",
        mask_key: str = "mask",
        side: int = SIDE,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key, self.mask_key, self.side = image_key, mask_key, side

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        image, mask = item[self.image_key], item.pop(self.mask_key)
        structures = on_grid(mask, image, self.side).flatten()
        for key in self.key_iterator(item):
            row = torch.as_tensor(item[key], dtype=torch.float32).flatten()
            item[key] = torch.cat([row, structures])
        return item


def on_grid(mask: MetaTensor, image: MetaTensor, side: int) -> Tensor:
    """Return the label of the voxel at each of side * side places of a slice; or ``UNKNOWN``."""
    step = np.append(np.array(image.shape[-2:]) / side, [1.0, 1.0])
    grid = np.diag(step)
    grid[:2, 3] = (step[:2] - 1) / 2  # the first place lies in the middle of its pixels
    resample = SpatialResample("nearest", "zeros", dtype=torch.float64)
    affine = image.affine @ torch.from_numpy(grid)
    labels = resample(mask - UNKNOWN, dst_affine=affine, spatial_size=(side, side, 1))
    return (labels.as_tensor() + UNKNOWN).float()[0, :, :, 0]


class MaskCoordinateLoss(SmoothCoordinateLoss):
    """The coordinates' loss, and in training a share of the masks' cross-entropy."""

    def __init__(self, beta: float = 0.02, mask_weight: float = 0.1) -> None:
        super().__init__(beta)
        self.mask_weight = mask_weight

    def forward(self, predicted: Tensor, reference: Tensor) -> Tensor:
        """Return the loss of fractions, or of rows as the network and ``WithMaskd`` give them."""
        if reference.ndim > 2:
            return super().forward(predicted, reference)
        points = predicted.shape[1] - STRUCTURES * SIDE**2
        logits = predicted[:, points:].view(-1, STRUCTURES, SIDE, SIDE)
        structures = reference[:, points:].view(-1, SIDE, SIDE).long()
        masks = F.cross_entropy(logits, structures, ignore_index=UNKNOWN)
        own = super().forward(predicted[:, :points], reference[:, :points])
        return own + self.mask_weight * masks
