"""Where landmarks may lie: the peaks that the heatmaps of their kind show anywhere.

A *peak* is the highest pixel of the window about it that reaches ``APART_MM`` along rows and along
columns; of pixels equally high the first one, for maps of reduced precision have flat tops. So it
is the first highest pixel of its block, too, if blocks are so small that with those beside them
they lie within the window: only the highest blocks are looked at closely.

Grids have their axes along rows and columns; spacing is (between rows, between columns) in mm.
Symbols: B images, N landmarks, K candidates, T kinds, M blocks that are
looked at closely.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from spine_monai.fusion.windows import may_look, most_px

CANDIDATES = 16
APART_MM = 6.0  # peaks closer than this along rows and along columns are one
REACH_MM = 4.0  # a landmark's own peak lies this close to the candidate
BLOCKS = 32  # that are looked at closely, at first
BLOCKS_UNSEEN = 256  # the same where nobody may look whether they were enough


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
    logits: Tensor, groups: Sequence[int], spacing_mm: Tensor, *, count: int = CANDIDATES
) -> Candidates:
    """Find the peaks of each kind's heatmaps, and what each landmark's own heatmap says of them.

    Args:
        logits: (B, N, H, W) heatmap logits.
        groups: (N,) number of each landmark's kind; landmarks of one kind share their candidates.
        spacing_mm: (B, 2) spacing of the grid.
        count: K.
    """
    kinds = sorted(set(groups))
    places, is_there = _peaks(logits, [_maps_of(kind, groups) for kind in kinds], spacing_mm, count)
    of_landmark = [kinds.index(kind) for kind in groups]
    places, is_there = (_spread(of, of_landmark) for of in (places, is_there))
    log_heat = F.logsigmoid(_highest_near(logits, places, spacing_mm))
    return Candidates(places.to(spacing_mm.dtype), log_heat, is_there)


def _spread(values: Tensor, of_landmark: Sequence[int]) -> Tensor:
    """(B, N, ...) values of each landmark's kind, from (B, T, ...).

    Without an index, which a GPU would wait for.
    """
    kinds = values.unbind(1)
    return torch.stack([kinds[kind] for kind in of_landmark], 1)


def _maps_of(kind: int, groups: Sequence[int]) -> slice | list[int]:
    """Return which maps are a kind's: as a slice, if they can be had without a copy."""
    own = [landmark for landmark, group in enumerate(groups) if group == kind]
    step = own[1] - own[0] if len(own) > 1 else 1
    regular = slice(own[0], own[-1] + 1, step)
    return regular if own == list(range(len(groups))[regular]) else own


def _peaks(
    logits: Tensor, maps: Sequence[slice | list[int]], spacing_mm: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """(B, T, K, 2) pixels of the highest peaks of each kind's maps, and whether each is one."""
    rows, columns = _steps(APART_MM, spacing_mm)
    block_px, margin_px = _block_px(spacing_mm), (rows.shape[-1] // 2, columns.shape[-1] // 2)
    padded = _unions(logits, maps, margin_px, block_px)
    around = (rows[..., :, None] * padded.shape[-1] + columns[..., None, :]).flatten(1)
    blocks = _block_maxima(padded, block_px)
    heights = blocks.masked_fill(_is_beaten(blocks), -torch.inf).flatten(2)
    looked_at = max(count, BLOCKS if may_look(padded) else BLOCKS_UNSEEN)
    while True:
        looked_at = min(looked_at, heights.shape[-1])
        ranked = heights.topk(looked_at)
        keys = _first_in_blocks(padded, ranked.indices, blocks.shape[-1], block_px)
        is_dark = ranked.values == -torch.inf  # beaten, or in the margin, where there is no window
        keys = keys.masked_fill(is_dark, margin_px[0] * padded.shape[-1] + margin_px[1])
        is_peak = _is_first_highest(padded, keys, around[:, None, None]) & ~is_dark
        is_all = looked_at == heights.shape[-1] or not may_look(padded)
        if is_all or _are_enough(is_peak, ranked.values, count):
            break
        looked_at *= 4
    keys, is_peak = _first(is_peak, keys, count)
    row = torch.div(keys, padded.shape[-1], rounding_mode="floor")
    column = keys - row * padded.shape[-1]
    return torch.stack([row - margin_px[0], column - margin_px[1]], -1), is_peak


def _unions(
    logits: Tensor,
    maps: Sequence[slice | list[int]],
    margin_px: tuple[int, int],
    block_px: tuple[int, int],
) -> Tensor:
    """(B, T, H, W) maxima over each kind's maps, in margins so wide that whole blocks fill them."""
    (height, width), (top, left) = logits.shape[-2:], margin_px
    shape = [
        math.ceil((size + 2 * margin) / block) * block
        for size, margin, block in zip((height, width), margin_px, block_px, strict=True)
    ]
    padded = logits.new_full((logits.shape[0], len(maps), *shape), -torch.inf)
    for kind, own in enumerate(maps):
        padded[:, kind, top : top + height, left : left + width] = logits[:, own].amax(1)
    return padded


def _are_enough(is_peak: Tensor, heights: Tensor, count: int) -> bool:
    """Whether ranked blocks of each map hold so many peaks, or all there are."""
    is_all = heights[..., -1].isneginf() | heights.isnan().any(-1)  # no peaks where no numbers are
    return bool((is_all | (is_peak.sum(-1) >= count)).all())


def _first(is_peak: Tensor, keys: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(B, T, count) keys of the first peaks of ranked ones, and whether there are so many."""
    short = max(count - is_peak.shape[-1], 0)
    if short:
        is_peak, keys = F.pad(is_peak, (0, short)), F.pad(keys, (0, short))
    rank = torch.arange(is_peak.shape[-1], device=is_peak.device)
    order = torch.where(is_peak, -rank, -rank - len(rank)).topk(count).indices
    return keys.gather(-1, order), is_peak.gather(-1, order)


def _block_px(spacing_mm: Tensor) -> tuple[int, int]:
    """Rows and columns of a block: with those beside it, it lies within its pixels' windows."""
    if not may_look(spacing_mm):
        return 1, 1
    rows, columns = ((_radii_px(APART_MM, spacing_mm) + 1) // 2).amin(0).tolist()
    return rows, columns


def _block_maxima(padded: Tensor, block_px: tuple[int, int]) -> Tensor:
    """(B, T, h, w) maxima of blocks; one axis after the other, which is faster than pooling."""
    rows, columns = block_px
    return padded.unflatten(-2, (-1, rows)).amax(-2).unflatten(-1, (-1, columns)).amax(-1)


def _is_beaten(blocks: Tensor) -> Tensor:
    """(B, T, h, w) whether a block's maximum is below one beside it, or equals one above it."""
    padded = F.pad(blocks, (1, 1, 1, 1), value=-torch.inf)
    left, level, right = (padded[..., i : i + blocks.shape[-1]] for i in range(3))
    in_rows = torch.maximum(torch.maximum(left, level), right)
    above, own, below = (in_rows[..., i : i + blocks.shape[-2], :] for i in range(3))
    return (above >= blocks) | (own > blocks) | (below > blocks)


def _first_in_blocks(
    padded: Tensor, blocks: Tensor, across: int, block_px: tuple[int, int]
) -> Tensor:
    """(B, T, M) flat indices of the first highest pixels of (B, T, M) blocks, counted by rows."""
    rows, columns = (torch.arange(size, device=blocks.device) for size in block_px)
    width = padded.shape[-1]
    down = torch.div(blocks, across, rounding_mode="floor")
    corner = down * (block_px[0] * width) + (blocks - down * across) * block_px[1]
    pixels = corner[..., None] + (rows[:, None] * width + columns).flatten()
    return pixels.gather(-1, _read(padded, pixels).argmax(-1, keepdim=True))[..., 0]


def _is_first_highest(padded: Tensor, keys: Tensor, around: Tensor) -> Tensor:
    """(B, T, M) whether pixels of maps are the first highest of their windows.

    Args:
        padded: (B, T, H, W) maps with margins that hold the windows.
        keys: (B, T, M) flat indices of the pixels.
        around: (B, 1, 1, S) steps from a pixel to those of its window, in their order.
    """
    values = _read(padded, keys[..., None] + around)
    middle = around.shape[-1] // 2
    own = values[..., middle]
    earlier, later = values[..., :middle].amax(-1), values[..., middle + 1 :].amax(-1)
    return (earlier < own) & (later <= own)


def _highest_near(logits: Tensor, places: Tensor, spacing_mm: Tensor) -> Tensor:
    """(B, N, K) maximum of (B, N, H, W) maps in the window about each of (B, N, K, 2) pixels."""
    height, width = logits.shape[-2:]
    steps = _steps(REACH_MM, spacing_mm)
    rows, columns = (
        (place[..., None] + step[:, None, None]).clamp(0, size - 1)
        for place, step, size in zip(places.unbind(-1), steps, (height, width), strict=True)
    )
    return _read(logits, rows[..., :, None] * width + columns[..., None, :]).amax((-2, -1))


def _radii_px(radius_mm: float, spacing_mm: Tensor) -> Tensor:
    """(B, 2) pixels that a radius spans along rows and columns; at least one."""
    return (radius_mm / spacing_mm.double()).round().clamp_min(1).long()


def _steps(radius_mm: float, spacing_mm: Tensor) -> tuple[Tensor, Tensor]:
    """(B, h) and (B, w) steps in pixels from the middle to the rows and columns of a window.

    How many there are follows from the finest of the images; in others the last occurs repeatedly.
    """
    radii = _radii_px(radius_mm, spacing_mm)
    most = radii.amax(0).tolist() if may_look(radii) else most_px(radius_mm, spacing_mm)
    down, along = (
        torch.arange(-reach, reach + 1, device=radii.device).clamp(-radius, radius)
        for radius, reach in zip(radii[..., None].unbind(1), most, strict=True)
    )
    return down, along


def _read(maps: Tensor, flat: Tensor) -> Tensor:
    """(B, N, ...) values of (B, N, H, W) maps at flat indices."""
    return maps.flatten(2).gather(2, flat.flatten(2)).view_as(flat)
