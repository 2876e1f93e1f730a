"""Augmentation that MONAI does not have: images that show less of the patient."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from torch import Tensor


class RandFieldOfViewd(RandomizableTransform, MapTransform):
    """Blank what lies outside a random rectangle, in an image and in heatmaps drawn on its grid.

    A landmark that is blanked gets an empty heatmap: it is not to be seen.

    Args:
        keys: (C, H, W) images and heatmaps of one grid; all lose the same margins.
        prob: of doing anything at all.
        max_cut: largest share of the height and of the width that one edge may lose; each of the
            four edges is cut with an even chance.
        allow_missing_keys: as in MONAI.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        prob: float = 0.5,
        max_cut: float = 0.3,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.max_cut = max_cut

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Blank the margins of each image."""
        item = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return item
        cuts = self.R.uniform(0, self.max_cut, 4) * (self.R.uniform(size=4) < 0.5)
        for key in self.key_iterator(item):
            item[key] = _keep_inside(item[key], cuts)
        return item


def _keep_inside(image: Tensor, cuts: "np.ndarray[Any, Any]") -> Tensor:
    """Zeros where a row or a column lies in a cut margin (top, bottom, left, right)."""
    height, width = image.shape[-2:]
    rows, columns = torch.linspace(0, 1, height), torch.linspace(0, 1, width)
    top, bottom, left, right = cuts.tolist()
    is_row = (rows >= top) & (rows <= 1 - bottom)
    is_column = (columns >= left) & (columns <= 1 - right)
    return image * (is_row[:, None] & is_column)
