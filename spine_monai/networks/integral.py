"""Xception with a map of attention a landmark: coordinates as the mean place under the map.

A fully connected layer on pooled features has to learn from examples what "further down" means; a
mean over places knows it. The fully connected layer stays and adds what the coarse map misses.

Provenance: body from ``xception``; the head after Sun 2018 (integral regression,
doi 10.1007/978-3-030-01231-1_33) and Nibali 2018 (DSNT, arXiv 1801.07372), without their losses on
the map. No weights of others.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spine_monai.networks.xception import XceptionFeatures


class IntegralXception(nn.Module):
    """Regress landmark positions as edge fractions of the image.

    Args:
        num_landmarks: N.
        in_channels: C of the input image.
        width: factor on the channels of every layer of Xception.
        input_size: side of the square to which the network resizes its input, in pixels.
        dropout: probability before the fully connected layer.
        looks: in inference the image is also seen turned (degrees), enlarged (a factor) and moved
            down (a share of its height), once for each of these triples; the mean of what is seen
            counts, as a subject that is a level off in one look may not be in another. Without
            any, the image is seen once, as it is.

    Raises:
        ValueError: a look is not three finite numbers, or its enlargement is not above 0.
    """

    def __init__(
        self,
        num_landmarks: int,
        *,
        in_channels: int = 1,
        width: float = 1.0,
        input_size: int = 299,
        dropout: float = 0.0,
        looks: Sequence[Sequence[float]] = (),
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.looks = [_checked(look) for look in looks]
        self.features = XceptionFeatures(in_channels, width)
        self.attention = nn.Conv2d(self.features.out_channels, num_landmarks, 1)
        self.dropout = nn.Dropout(dropout)
        self.correction = nn.Linear(self.features.out_channels, 2 * num_landmarks)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)

    def forward(self, image: Tensor) -> Tensor:
        """Return where each landmark lies.

        Args:
            image: (B, C, H, W), of any size.

        Returns:
            (B, N, 2) fractions of the image along rows and columns, edge to edge.
        """
        size = (self.input_size, self.input_size)
        resized = F.interpolate(image, size=size, mode="bilinear", antialias=True)
        if self.training or not self.looks:
            return self._regress(resized)
        matrices = look_matrices(self.looks, image.shape[-2] / image.shape[-1]).to(resized)
        return seen_in_place(self._regress(seen_in_looks(resized, matrices)), matrices)

    def _regress(self, resized: Tensor) -> Tensor:
        features = self.features(resized)
        pooled = self.dropout(features.mean((-2, -1)))
        correction = self.correction(pooled).unflatten(-1, (-1, 2))
        return mean_fractions(self.attention(features)) + correction.float()


def mean_fractions(logits: Tensor) -> Tensor:
    """Return the mean place under the softmax of each map.

    Args:
        logits: (..., H, W).

    Returns:
        (..., 2) edge fractions along rows and columns, float32.
    """
    attention = logits.float().flatten(-2).softmax(-1).view(logits.shape)
    rows, columns = (
        (torch.arange(size, device=logits.device) + 0.5) / size for size in logits.shape[-2:]
    )
    down = (attention.sum(-1) * rows).sum(-1)
    along = (attention.sum(-2) * columns).sum(-1)
    return torch.stack([down, along], dim=-1)


def look_matrices(looks: Sequence[Sequence[float]], aspect: float) -> Tensor:
    """Return (L, 2, 3) matrices from places in each look to places in the image.

    Places are (x, y) from -1 to 1, edge to edge, as ``torch.nn.functional.affine_grid`` has them.

    Args:
        looks: turn in degrees, clockwise to the eye, enlargement, and shift down of the height.
        aspect: height of the image by its width, with square pixels.
    """
    rows = []
    for degrees, zoom, down in looks:
        cos, sin = (f(math.radians(degrees)) / zoom for f in (math.cos, math.sin))
        x, y = sin * aspect * -2 * down, -2 * down * cos
        rows.append([[cos, sin * aspect, x], [-sin / aspect, cos, y]])
    return torch.tensor(rows)


def _checked(look: Sequence[float]) -> tuple[float, float, float]:
    """Return a look as numbers."""
    msg = "looks must be triples of turn in degrees, enlargement above 0, and share of the height "
    msg += f"down: got {look!r}."
    try:
        degrees, zoom, down = (float(value) for value in look)
    except (TypeError, ValueError):
        raise ValueError(msg) from None
    if not all(map(math.isfinite, (degrees, zoom, down))) or zoom <= 0:
        raise ValueError(msg)
    return degrees, zoom, down


def seen_in_looks(images: Tensor, matrices: Tensor) -> Tensor:
    """Return (L * B, C, H, W), every image in the first look, then in the next; 0 beyond them."""
    batch, *shape = images.shape
    grids = F.affine_grid(matrices, [len(matrices), *shape], align_corners=False)
    looks = [grid.expand(batch, -1, -1, -1) for grid in grids.split(1)]
    return torch.cat([F.grid_sample(images, grid, align_corners=False) for grid in looks])


def seen_in_place(fractions: Tensor, matrices: Tensor) -> Tensor:
    """Return the mean over the looks of (L * B, N, 2) edge fractions, as (B, N, 2) of the image."""
    places = 2 * fractions.unflatten(0, (len(matrices), -1)).flip(-1) - 1
    turned = (
        torch.einsum("lbnk,lmk->lbnm", places, matrices[..., :2]) + matrices[:, None, None, :, 2]
    )
    return (turned.mean(0).flip(-1) + 1) / 2
