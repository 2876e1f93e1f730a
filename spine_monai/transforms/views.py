"""Show less of a slice than was scanned: images in which landmarks are truly absent."""

from collections.abc import Hashable, Mapping
from typing import Any, cast

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, SpatialCrop
from numpy.typing import ArrayLike, NDArray

from spine_monai.geometry import points_ij_from_lps, points_lps_from_ij

WHOLE: tuple[str | None, str | None] = (None, None)


class CutViewd(MapTransform):
    """Keep the rows of a slice from one landmark to another, cut half-way to their neighbours.

    Args:
        keys: (1, H, W) upright slices with their affine.
        view_key: item key of ``(first, last)``, indices of the outermost landmarks that stay in
            view; ``None`` cuts nothing at that end. An item without the key is left whole.
        points_key: points_lps of all landmarks, (N, 3) in mm, head to foot.
        allow_missing_keys: as in MONAI.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        view_key: str = "view",
        points_key: str = "points_lps",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.view_key = view_key
        self.points_key = points_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Cut each slice."""
        item = dict(data)
        first, last = item.get(self.view_key, WHOLE)
        for key in self.key_iterator(item):
            item[key] = cut_view(item[key], item[self.points_key], first, last)
        return item


def cut_view(
    image: MetaTensor, points_lps: ArrayLike, first: int | None, last: int | None
) -> MetaTensor:
    """Return the rows of a slice from one landmark to another; arguments as for ``CutViewd``.

    Raises:
        ValueError: a landmark beside the cut has no point.
    """
    rows = points_ij_from_lps(points_lps, image.affine)[:, 0]
    top, bottom = 0, image.shape[-2]
    if first:  # the outermost landmarks have no neighbour to cut towards
        top = _between(rows, first - 1, first)
    if last is not None and last + 1 < len(rows):
        bottom = _between(rows, last, last + 1)
    window = SpatialCrop(roi_start=[top, 0], roi_end=[bottom, image.shape[-1]])
    return cast(MetaTensor, window(image))


def is_in_view(points_lps: ArrayLike, image: MetaTensor) -> NDArray[np.bool_]:
    """Return (N,) whether each point lies within the edges of a slice; NaN points do not."""
    points_ij = points_ij_from_lps(points_lps, image.affine)
    last = np.array(image.shape[-2:]) - 0.5
    return np.asarray(((points_ij >= -0.5) & (points_ij <= last)).all(-1))


def corners_lps(image: MetaTensor) -> NDArray[np.float64]:
    """Return (2, 3) LPS points in mm of a slice's first and last pixel."""
    last = np.array(image.shape[-2:]) - 1.0
    return points_lps_from_ij(np.stack([np.zeros(2), last]), image.affine.cpu())


def _between(rows: NDArray[np.float64], above: int, below: int) -> int:
    middle = float(rows[above] + rows[below]) / 2
    if not np.isfinite(middle):
        msg = f"view must be cut between two annotated landmarks: landmark {above} or {below} has "
        msg += "no point. Choose other views."
        raise ValueError(msg)
    return round(middle)
