"""Augmentation: images that show less of the patient, and MONAI's own at a fraction of its time.

Everything random is drawn from the transform's own ``R``, as MONAI does, so seeds work alike.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import MetaKeys
from numpy.random import RandomState
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

PADDINGS = ("zeros", "border", "reflection")


class RandFieldOfViewd(RandomizableTransform, MapTransform):
    """Blank what lies outside a random rectangle of an image.

    Args:
        keys: (C, H, W) images of one grid; all lose the same margins.
        prob: of doing anything at all.
        max_cut: largest share of the height and of the width that one edge may lose, one number or
            one each; each of the four edges is cut with an even chance.
        view_key: where the (2, 2) ``view_ij`` goes, the first and the last pixel (row, column) that
            is still to be seen; ``DrawHeatmaps`` leaves the targets outside it empty. ``None``
            keeps it to itself.
        allow_missing_keys: as in MONAI.

    Raises:
        ValueError: ``max_cut`` is not one or two shares from 0 to 0.5.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        prob: float = 0.5,
        max_cut: float | Sequence[float] = 0.3,
        view_key: str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.max_cut = _height_and_width(max_cut).repeat(2)  # top, bottom, left, right
        self.view_key = view_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Blank the margins of each image."""
        item = dict(data)
        self.randomize(None)
        cuts = np.zeros(4)
        if self._do_transform:
            cuts = self.R.uniform(0, self.max_cut, 4) * (self.R.uniform(size=4) < 0.5)
        elif self.view_key is None:
            return item
        for key in self.key_iterator(item):
            view_ij = _view(item[key].shape[-2:], cuts)
            if self.view_key is not None:
                item[self.view_key] = view_ij
            if cuts.any():
                item[key] = _like(item[key], blanked(_plain(item[key]).clone(), view_ij))
        return item


class RandAffineSliced(RandomizableTransform, MapTransform):
    """Turn, scale and shift slices at random; MONAI's ``RandAffined`` for one plane, faster.

    The distribution is MONAI's; the same draws give its picture and its affine (a test says so),
    bilinear. There is no ``inverse``.

    Args:
        keys: (C, H, W) slices of one grid, with their 4 x 4 affine.
        prob: of turning, scaling and shifting; without, the middle of the slice is taken.
        rotate_range: largest angle, in radians.
        scale_range: largest change of the scale of rows and of columns, a share.
        translate_range: largest shift along rows and columns, in pixels.
        spatial_size: (rows, columns) of the result; ``None`` keeps the slice's.
        padding_mode: what lies beyond the slice: ``zeros``, ``border`` or ``reflection``; or some
            of them with the chance of each, of which one is drawn for every item.
        allow_missing_keys: as in MONAI.

    Raises:
        ValueError: there is no such ``padding_mode``, or a chance below 0.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        prob: float = 0.1,
        rotate_range: float = 0.0,
        scale_range: Sequence[float] = (0.0, 0.0),
        translate_range: Sequence[float] = (0.0, 0.0),
        spatial_size: Sequence[int] | None = None,
        padding_mode: str | Mapping[str, float] = "zeros",
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        chances = {padding_mode: 1.0} if isinstance(padding_mode, str) else dict(padding_mode)
        if not chances or not chances.keys() <= set(PADDINGS) or min(chances.values()) < 0:
            msg = f"padding_mode must be one of {', '.join(PADDINGS)}, or some of them with the "
            msg += f"chance of each: got {padding_mode!r}."
            raise ValueError(msg)
        self.rotate_range = rotate_range
        self.scale_range = np.array(scale_range)
        self.translate_range = np.array(translate_range)
        self.spatial_size = spatial_size
        self.paddings = list(chances)
        self.chances = np.array(list(chances.values())) / sum(chances.values())

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample each slice."""
        item = dict(data)
        self.randomize(None)
        centred = self._drawn_matrix() if self._do_transform else np.eye(3)
        padding = str(self.R.choice(self.paddings, p=self.chances))
        for key in self.key_iterator(item):
            size = self.spatial_size or item[key].shape[-2:]
            item[key] = resample(item[key], centred, size, padding)
        return item

    def _drawn_matrix(self) -> NDArray[np.float64]:
        angle = self.R.uniform(-self.rotate_range, self.rotate_range)
        shift = self.R.uniform(-self.translate_range, self.translate_range)
        scale = 1 + self.R.uniform(-self.scale_range, self.scale_range)
        cosine, sine = np.cos(angle), np.sin(angle)
        turn = np.array([[cosine, -sine], [sine, cosine]])
        centred = np.eye(3)
        centred[:2] = np.column_stack([turn * scale, turn @ shift])
        return centred


class RandIntensityd(RandomizableTransform, MapTransform):
    """Change the intensities of images at random, pixels staying where they are.

    Args:
        keys: (C, H, W) images; each is changed by its own draws.
        change: called with the image as a plain tensor and the source of its draws, gives the new
            image; see ``spine_monai.transforms.intensity``.
        prob: of changing them at all.
        allow_missing_keys: as in MONAI.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        change: Callable[[Tensor, RandomState], Tensor],
        prob: float = 0.1,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.change = change

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Change each image."""
        item = dict(data)
        self.randomize(None)
        if self._do_transform:
            for key in self.key_iterator(item):
                item[key] = _like(item[key], self.change(_plain(item[key]), self.R))
        return item


def resample(
    image: Tensor, centred: NDArray[np.float64], size: Sequence[int], padding_mode: str
) -> Tensor:
    """Read a slice at the places of another grid, bilinear.

    Args:
        image: (C, H, W) slice with its affine.
        centred: (3, 3) matrix from (row, column, 1) of the result to that of the slice, both
            counted from their middles, in pixels.
        size: (rows, columns) of the result.
        padding_mode: as for ``torch.nn.functional.grid_sample``.

    Returns:
        (C, rows, columns) slice with its affine.
    """
    height, width = image.shape[-2:]
    half_edges = np.array([[height / 2], [width / 2]])
    grid = _grid(centred[:2] / half_edges, size)
    bands = math.gcd(size[0], 8)  # a batch of bands keeps all threads busy, one image does not
    grid = grid.view(bands, size[0] // bands, size[1], 2)
    picture = _plain(image).expand(bands, -1, -1, -1)
    values = F.grid_sample(picture, grid, padding_mode=padding_mode, align_corners=False)
    values = values.transpose(0, 1).reshape(-1, *size)
    return _like(image, values, _ras_from_result(image, centred, size))


def blanked(image: Tensor, view_ij: Tensor) -> Tensor:
    """Fill an image with zeros outside a rectangle, in place, and return it.

    Args:
        image: (..., H, W).
        view_ij: (2, 2) first and last pixel (row, column) that is kept.
    """
    (top, left), (bottom, right) = view_ij.tolist()
    margins = (
        image[..., :top, :],
        image[..., bottom + 1 :, :],
        image[..., :left],
        image[..., right + 1 :],
    )
    for margin in margins:
        margin.zero_()
    return image


def _grid(matrix: NDArray[np.float64], size: Sequence[int]) -> Tensor:
    """(1, rows, columns, 2) places (x, y) to sample; ``affine_grid`` takes ten times as long."""
    rows, columns = (torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in size)
    grid = torch.empty(1, *size, 2)
    for part, (down, along, shift) in zip(grid.unbind(-1), matrix[::-1].tolist(), strict=True):
        torch.add((rows * down + shift)[:, None], columns * along, out=part[0])
    return grid


def _height_and_width(max_cut: float | Sequence[float]) -> NDArray[np.float64]:
    """(2,) largest shares that an edge may lose."""
    shares = np.asarray(max_cut)
    is_number = shares.dtype.kind in "fiu" and shares.shape in ((), (2,))
    if not is_number or not ((shares >= 0) & (shares <= 0.5)).all():
        msg = "max_cut must be a share from 0 to 0.5, or one of the height and one of the width: "
        raise ValueError(msg + f"got {max_cut!r}.")
    return np.broadcast_to(shares.astype(float), 2)


def _view(shape: Sequence[int], cuts: NDArray[np.float64]) -> Tensor:
    """(2, 2) first and last pixel inside the cut shares (top, bottom, left, right)."""
    steps = torch.tensor(shape) - 1
    shares = torch.from_numpy(cuts).view(2, 2)  # an edge's row or column, as a share of the steps
    first = (shares[:, 0] * steps).ceil()
    last = ((1 - shares[:, 1]) * steps).floor()
    return torch.stack([first, last]).long()


def _plain(image: Tensor) -> Tensor:
    """The same memory without metadata, whose upkeep costs more than the arithmetic."""
    return image.as_tensor() if isinstance(image, MetaTensor) else image


def _like(image: Tensor, values: Tensor, ras_from_index: Tensor | None = None) -> Tensor:
    """Values with the metadata of an image, and a new affine where one is given."""
    if not isinstance(image, MetaTensor):
        return values
    meta = {key: value for key, value in image.meta.items() if key != MetaKeys.AFFINE}
    affine = image.affine if ras_from_index is None else ras_from_index
    return MetaTensor(values, affine=affine, meta=meta)


def _ras_from_result(
    image: Tensor, centred: NDArray[np.float64], size: Sequence[int]
) -> Tensor | None:
    """The affine of a result that lies so in an image; None where the image has none."""
    if not isinstance(image, MetaTensor):
        return None
    middle_before, middle_after = (np.array(shape) / 2 - 0.5 for shape in (image.shape[-2:], size))
    turn, shift = centred[:2, :2], centred[:2, 2]
    index_from_result = np.eye(4)
    index_from_result[:2, :2] = turn
    index_from_result[:2, 3] = middle_before + shift - turn @ middle_after
    return torch.from_numpy(image.affine.numpy() @ index_from_result)
