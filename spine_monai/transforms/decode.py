"""Network outputs back to points in patient space, for validation during training."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray
from torch import Tensor

from spine_monai.geometry import LPS_FROM_RAS, points_lps_from_ij, project_on_slice
from spine_monai.heatmaps import decode_heatmaps, ij_from_edge_fractions


class DecodeHeatmapsd(MapTransform):
    """Give the points of (N, H, W) heatmap logits as (N, 3) points_lps.

    Args:
        keys: heatmap logits, MetaTensors of the image's grid.
        output_key: where the points go.
        allow_missing_keys: as in MONAI.
    """

    def __init__(
        self, keys: KeysCollection, *, output_key: str = "points", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.output_key = output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the points."""
        item = dict(data)
        for key in self.key_iterator(item):
            points_ij = decode_heatmaps(plain(item[key]).double().sigmoid())
            item[self.output_key] = _points_lps(points_ij, item[key])
        return item


class DecodeCoordinatesd(MapTransform):
    """Give the points of (N, 2) edge fractions as (N, 3) points_lps.

    Args:
        keys: edge fractions along rows and columns.
        image_key: the slice that the network saw.
        output_key: where the points go.
        allow_missing_keys: as in MONAI.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        image_key: str = "image",
        output_key: str = "points",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.output_key = output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the points."""
        item = dict(data)
        image = item[self.image_key]
        for key in self.key_iterator(item):
            item[self.output_key] = torch.from_numpy(points_lps_from_fractions(item[key], image))
        return item


class ProjectPointsd(MapTransform):
    """Give points as they fall, at right angles, onto the plane of the slice.

    Errors of a method that sees one slice are measured in its plane; the points themselves stay.

    Args:
        keys: points_lps, (N, 3) in mm.
        image_key: the slice with its affine.
        output_key: where the projected points go.
        allow_missing_keys: as in MONAI.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        image_key: str = "image",
        output_key: str = "reference",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.output_key = output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the projected points."""
        item = dict(data)
        lps_from_index = LPS_FROM_RAS @ np.asarray(item[self.image_key].affine)
        for key in self.key_iterator(item):
            projected = project_on_slice(item[key], lps_from_index)
            item[self.output_key] = torch.from_numpy(projected)
        return item


def points_lps_from_fractions(fractions: Tensor, image: MetaTensor) -> NDArray[np.float64]:
    """Return (N, 3) points_lps in mm of (N, 2) edge fractions of a slice."""
    points_ij = ij_from_edge_fractions(plain(fractions).double(), image.shape[-2:])
    return points_lps_from_ij(points_ij.numpy(), image.affine.cpu())


def plain(tensor: Tensor) -> Tensor:
    """Return the tensor without metadata, on the CPU, so that no affine is applied twice."""
    return (tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor).cpu()


def _points_lps(points_ij: Tensor, image: MetaTensor) -> Tensor:
    return torch.from_numpy(points_lps_from_ij(points_ij.numpy(), image.affine.cpu()))
