"""Heatmaps drawn into the same memory again and again, only where there is something to draw.

To write a large map takes longer than to compute it, and nearly all of it is zero.
"""

import math

import torch
from torch import Tensor

from spine_monai.heatmaps import SMALLEST_EXPONENT, profiles

MANY_PIXELS = 1 << 17  # of a map; to draw less of a smaller one saves nothing
REACH_SIGMAS = math.sqrt(-2 * SMALLEST_EXPONENT)  # beyond it a profile is zero


class Canvas:
    """Memory of a batch's heatmaps; what was drawn last is wiped before the next drawing."""

    def __init__(self) -> None:
        self._maps = torch.empty(0)
        self._touched: list[Tensor] = []

    def draw(
        self,
        points_ij: Tensor,
        shape: tuple[int, int],
        sigma_px: float,
        *,
        amplitude: float = 1.0,
        views_ij: Tensor | None = None,
    ) -> Tensor:
        """Draw what ``encode_heatmaps`` does, but a map of NaN for a point that is not known.

        Args:
            points_ij: (B, N, 2) points in pixels; NaN where a landmark is not annotated.
            shape: (H, W) of the maps.
            sigma_px: standard deviation in pixels.
            amplitude: height of the peaks.
            views_ij: (B, 2, 2) first and last pixel (row, column) of what each image shows; maps
                are empty outside. ``None`` where all of it is seen.

        Returns:
            (B, N, H, W) heatmaps, to be read only: the next call draws over them.
        """
        self._wipe((*points_ij.shape[:-1], *shape), points_ij)
        rows, columns = profiles(points_ij, shape, sigma_px)
        rows = amplitude * rows
        if views_ij is not None:
            rows, columns = _seen(rows, views_ij[..., 0]), _seen(columns, views_ij[..., 1])
        if points_ij.device.type == "cpu" and shape[0] * shape[1] >= MANY_PIXELS:
            self._draw_boxes(rows, columns, points_ij, REACH_SIGMAS * sigma_px)
        else:  # one large operation is faster than many small ones
            torch.mul(rows[..., :, None], columns[..., None, :], out=self._maps)
        for case, landmark in torch.isnan(points_ij).any(-1).nonzero().tolist():
            self._touched.append(self._maps[case, landmark].fill_(torch.nan))
        return self._maps

    def _wipe(self, wanted: tuple[int, ...], like: Tensor) -> None:
        if self._maps.shape != wanted or self._maps.device != like.device:
            self._maps = like.new_zeros(wanted)
            self._touched.clear()
        for touched in self._touched:
            touched.zero_()
        self._touched.clear()

    def _draw_boxes(
        self, rows: Tensor, columns: Tensor, points_ij: Tensor, reach_px: float
    ) -> None:
        centres = points_ij.flatten(0, 1).tolist()
        each = (profile.flatten(0, 1).unbind() for profile in (rows, columns, self._maps))
        for (i, j), row, column, heatmap in zip(centres, *each, strict=True):
            if math.isnan(i + j):
                continue
            down, across = _within(i, reach_px, len(row)), _within(j, reach_px, len(column))
            box = heatmap[down, across]
            torch.mul(row[down, None], column[across], out=box)
            self._touched.append(box)


def _within(centre: float, reach_px: float, size: int) -> slice:
    """The pixels of a line of ``size`` at which a profile is not zero."""
    first = min(max(math.ceil(centre - reach_px), 0), size)
    return slice(first, min(max(math.floor(centre + reach_px) + 1, first), size))


def _seen(profile: Tensor, ends: Tensor) -> Tensor:
    """(B, N, size) profiles, zero outside (B, 2) first and last pixels."""
    pixels = torch.arange(profile.shape[-1], device=profile.device)
    first, last = ends[:, None, :, None].unbind(2)
    return profile * ((pixels >= first) & (pixels <= last))
