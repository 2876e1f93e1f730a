"""Bring a slice to one physical scale, and keep a window of it about some points.

At one scale a vertebra has the same size in pixels on every scanner, whatever its field of view.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Pad, Resize, SpatialCrop
from numpy.typing import ArrayLike

from spine_monai.geometry import points_ijk_from_lps
from spine_monai.geometry import spacing_mm as spacing_of


class PhysicalScaled(MapTransform):
    """Resize a (1, H, W) slice so that its pixels are squares of the given size.

    The size in pixels is rounded, so the spacing is exact to half a pixel over the whole image;
    the affine is exact.

    Args:
        keys: slices with their affine.
        spacing_mm: distance between rows and between columns, in mm.
        allow_missing_keys: as in MONAI.
    """

    def __init__(
        self, keys: KeysCollection, *, spacing_mm: float, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.spacing_mm = spacing_mm

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resize each slice."""
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = at_scale(item[key], self.spacing_mm)
        return item


class CropAboutPointsd(MapTransform):
    """Keep a window of fixed size about the middle of some points; zeros beyond the image.

    Args:
        keys: (1, H, W) slices with their affine.
        points_key: points_lps, (N, 3) in mm; NaN rows are left out.
        size: (rows, columns) of the window in pixels.
        allow_missing_keys: as in MONAI.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        points_key: str = "points_lps",
        size: Sequence[int],
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.points_key = points_key
        self.size = tuple(size)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Crop each slice."""
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = crop_about(item[key], item[self.points_key], self.size)
        return item


def at_scale(image: MetaTensor, spacing_mm: float) -> MetaTensor:
    """Resize a (1, H, W) slice to square pixels of ``spacing_mm``; shrinking is antialiased."""
    extent_mm = np.array(image.shape[-2:]) * spacing_of(image.affine)[:2]
    shape = np.maximum(np.rint(extent_mm / spacing_mm), 1).astype(int)
    is_shrunk = bool((shape < image.shape[-2:]).any())
    resize = Resize(tuple(shape), mode="bilinear", anti_aliasing=is_shrunk)
    return cast(MetaTensor, resize(image))


def crop_about(image: MetaTensor, points_lps: ArrayLike, size: Sequence[int]) -> MetaTensor:
    """Cut a window out of a slice, centred on the mean of the points; zeros beyond the image.

    Args:
        image: (1, H, W) slice with its affine.
        points_lps: (N, 3) points in mm; NaN rows are left out, and without any other the window is
            centred on the image.
        size: (rows, columns) of the window in pixels.

    Returns:
        (1, rows, columns) slice with the window's affine.
    """
    points_ij = points_ijk_from_lps(points_lps, image.affine)[:, :2]
    known = points_ij[np.isfinite(points_ij).all(-1)]
    shape = np.array(image.shape[-2:])
    centre = known.mean(0) if len(known) else (shape - 1) / 2
    start = np.rint(np.clip(centre, 0, shape - 1) - (np.array(size) - 1) / 2).astype(int)
    stop = start + np.array(size)
    before, after = np.maximum(-start, 0), np.maximum(stop - shape, 0)
    padded = Pad(to_pad=[(0, 0), *zip(before.tolist(), after.tolist(), strict=True)])(image)
    start = start + before
    window = SpatialCrop(roi_start=start.tolist(), roi_end=(start + np.array(size)).tolist())
    return cast(MetaTensor, window(padded))
