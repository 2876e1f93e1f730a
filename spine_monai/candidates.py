"""Where landmarks may lie: the peaks that the heatmaps of their kind show anywhere.

Grids have their axes along rows and columns; spacing is (between rows, between columns) in mm.
Symbols: B images, N landmarks, K candidates.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

CANDIDATES = 16
APART_MM = 6.0  # peaks closer than this along rows and along columns are one
REACH_MM = 4.0  # a landmark's own peak lies this close to the candidate


class Candidates(NamedTuple):
    """Where the landmarks of B images may lie.

    Args:
        points_ij: (B, N, K, 2) whole pixels.
        log_heat: (B, N, K) logarithm of the landmark's own heatmap there.
        is_there: (B, N, K) whether there is such a candidate at all.
    """

    points_ij: Tensor
    log_heat: Tensor
    is_there: Tensor


def find_candidates(
    logits: Tensor, groups: Tensor, spacing_mm: Tensor, *, count: int = CANDIDATES
) -> Candidates:
    """Find the peaks of each kind's heatmaps, and what each landmark's own heatmap says of them.

    Args:
        logits: (B, N, H, W) heatmap logits.
        groups: (N,) number of each landmark's kind; landmarks of one kind share their candidates.
        spacing_mm: (B, 2) spacing of the grid.
        count: K.
    """
    finest_mm = spacing_mm.amin(0)
    kinds = groups.tolist()
    peaks = {
        kind: _peaks(logits[:, groups == kind].amax(1), finest_mm, count) for kind in set(kinds)
    }
    places = torch.stack([peaks[kind][0] for kind in kinds], 1)
    is_there = torch.stack([peaks[kind][1] for kind in kinds], 1)
    log_heat = F.logsigmoid(_highest_near(logits, places, _radii_px(REACH_MM, finest_mm)))
    return Candidates(places.to(spacing_mm.dtype), log_heat, is_there)


def _radii_px(radius_mm: float, spacing_mm: Tensor) -> tuple[int, int]:
    rows, columns = (max(1, round(radius_mm / step_mm)) for step_mm in spacing_mm.tolist())
    return rows, columns


def _peaks(union: Tensor, spacing_mm: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(B, K, 2) pixels of the highest peaks of (B, H, W) maps, and whether each is one.

    Of pixels equally high only the first counts: maps of reduced precision have flat tops.
    """
    rows, columns = _radii_px(APART_MM, spacing_mm)
    width = union.shape[-1]
    down, along = (2 * rows + 1, 1), (1, 2 * columns + 1)
    highest, above = F.max_pool2d_with_indices(union[:, None], down, (1, 1), (rows, 0))
    _, beside = F.max_pool2d_with_indices(highest, along, (1, 1), (0, columns))
    first = above.flatten(1).gather(1, beside.flatten(1))
    is_peak = first == torch.arange(first.shape[1], device=first.device)
    ranked = union.flatten(1).masked_fill(~is_peak, -torch.inf).topk(count)
    places = torch.stack([ranked.indices // width, ranked.indices % width], -1)
    return places, torch.isfinite(ranked.values)


def _highest_near(maps: Tensor, places: Tensor, radii_px: tuple[int, int]) -> Tensor:
    """(B, N, K) maximum of (B, N, H, W) maps in the window about each of (B, N, K, 2) pixels."""
    height, width = maps.shape[-2:]
    down, along = (torch.arange(-r, r + 1, device=maps.device) for r in radii_px)
    rows = (places[..., 0, None] + down).clamp(0, height - 1)
    columns = (places[..., 1, None] + along).clamp(0, width - 1)
    window = rows[..., :, None] * width + columns[..., None, :]
    return maps.flatten(2).gather(2, window.flatten(2)).view_as(window).amax((-2, -1))
