"""The product of heatmaps and Gaussians, kept as factors, and what is read of it.

Grids have their axes along rows and columns; spacing is (between rows, between columns) in mm.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from spine_monai.fusion.windows import is_graph, may_look, most_px, read_windows, window_pixels
from spine_monai.heatmaps import climb, refine_and_rate

CLIMB_MM = 5.0  # a peak of the heatmap further from the product's argmax is another one
NEGLIGIBLE = 10.0  # minus logarithm of the share of the belief that decoding may overlook
VANISHED = -80.0  # below it exponentials leave single precision, and take long
AT_ONCE = 2**18  # pixels that are gone over together, if one map is not larger
AT_ONCE_ON_GPU = 2**23  # the same where starting an operation takes longer than doing it


class Product(NamedTuple):
    """Heatmaps times Gaussians of B images and N landmarks, as factors.

    Args:
        logits: (B, N, H, W) of the heatmaps.
        rows: (B, N, H) logarithms of the Gaussians along rows.
        columns: (B, N, W) the same along columns.
    """

    logits: Tensor
    rows: Tensor
    columns: Tensor

    def log_map(self) -> Tensor:
        """Return (B, N, H, W) log P, written out."""
        log_heat = F.logsigmoid(self.logits.to(self.rows.dtype))
        return log_heat + self.rows[..., :, None] + self.columns[..., None, :]


class Window(NamedTuple):
    """Parts of a product, of one size.

    Args:
        rows: (B, N, h) rows of the grid.
        columns: (B, N, w) columns of the grid.
        product: the factors there.
    """

    rows: Tensor
    columns: Tensor
    product: Product

    @property
    def corner_ij(self) -> Tensor:
        """(B, N, 2) first pixels."""
        corner = torch.stack([self.rows[..., 0], self.columns[..., 0]], -1)
        return corner.to(self.product.rows.dtype)


def factors(
    logits: Tensor, predicted_ij: Tensor, prior_sigma_mm: float | Tensor, spacing_mm: Tensor
) -> Product:
    """Return the product of heatmaps and Gaussians about the predicted points, not written out.

    Args:
        logits: (B, N, H, W) heatmap logits.
        predicted_ij: (B, N, 2) points of the coordinate network, in pixels of this grid.
        prior_sigma_mm: scalar or (N, 2): how far the predicted points stray along rows and columns.
        spacing_mm: (B, 2) spacing of the grid.

    Raises:
        ValueError: ``prior_sigma_mm`` is not positive.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    sigma = torch.as_tensor(prior_sigma_mm, dtype=dtype, device=logits.device)
    if may_look(sigma) and not bool((sigma > 0).all()):
        msg = f"prior_sigma_mm must be positive: got {sigma.tolist()}."
        raise ValueError(msg)
    sigma = sigma.expand(logits.shape[1], 2)
    rows, columns = (
        _log_gaussian(size, axis, predicted_ij, sigma, spacing_mm)
        for axis, size in enumerate(logits.shape[-2:])
    )
    return Product(logits, rows, columns)


def log_product(
    logits: Tensor, predicted_ij: Tensor, prior_sigma_mm: float | Tensor, spacing_mm: Tensor
) -> Tensor:
    """Multiply heatmaps with the Gaussians about the predicted points, as logarithms.

    Args:
        logits: (B, N, H, W) heatmap logits.
        predicted_ij: (B, N, 2) points of the coordinate network, in pixels of this grid.
        prior_sigma_mm: scalar or (N, 2): how far the predicted points stray along rows and columns.
        spacing_mm: (B, 2) spacing of the grid.

    Returns:
        (B, N, H, W) log P, not normalised.

    Raises:
        ValueError: ``prior_sigma_mm`` is not positive.

    Source: Huang, Yang, Hou 2020, arXiv 2007.05355.
    """
    return factors(logits, predicted_ij, prior_sigma_mm, spacing_mm).log_map()


def window_about(product: Product, centres_ij: Tensor, reach_px: tuple[int, int]) -> Window:
    """Return parts of a product about pixels; at the border they are shifted.

    Args:
        product: of heatmaps and Gaussians.
        centres_ij: (B, N, 2) whole pixels, as integers.
        reach_px: how many rows and columns to either side.
    """
    rows, columns = window_pixels(centres_ij, reach_px, product.logits.shape[-2:])
    return _part(product, rows, columns)


def offsets_mm(window: Window, points_ij: Tensor, spacing_mm: Tensor) -> tuple[Tensor, Tensor]:
    """Return (B, N, h) and (B, N, w) offsets of a window's rows and columns from points, in mm."""
    down_mm, along_mm = spacing_mm[:, None, :, None].unbind(2)
    row, column = points_ij[..., None].unbind(2)
    return (window.rows - row) * down_mm, (window.columns - column) * along_mm


def is_finite(product: Product) -> Tensor:
    """Return (B, N) whether all numbers of the factors are finite: then so is their sum."""
    heat = product.logits.sum((-2, -1), dtype=product.rows.dtype)
    return torch.isfinite(heat + product.rows.sum(-1) + product.columns.sum(-1))


def log_masses(product: Product, temperature: Tensor) -> Tensor:
    """Return (B, N) logarithms of the sums of exp(log P / temperature) over the grid."""
    parts = _parts_that_matter(product, temperature)
    return torch.cat([_log_mass(part.product.log_map(), temperature) for part in parts], 1)


def maxima_and_log_masses(product: Product, temperature: Tensor) -> tuple[Tensor, Tensor]:
    """Return (B, N, 2) first pixels of the maxima of log P beside what ``log_masses`` returns."""
    pixels, masses = [], []
    for part in _parts_that_matter(product, temperature):
        log_map = part.product.log_map()
        pixels.append(part.corner_ij + _first_maximum(log_map))
        masses.append(_log_mass(log_map, temperature))
    return torch.cat(pixels, 1), torch.cat(masses, 1)


def place(product: Product, chosen_ij: Tensor, spacing_mm: Tensor) -> Tensor:
    """Give the heatmap's own peak beside each chosen pixel; without one, the pixel itself, refined.

    The Gaussian's slope would pull the point towards a prediction known to be rough.

    Args:
        product: of heatmaps and Gaussians.
        chosen_ij: (B, N, 2) whole pixels.
        spacing_mm: (B, 2) spacing of the grid.

    Returns:
        (B, N, 2) points_ij.
    """
    steps = max(most_px(CLIMB_MM, spacing_mm))
    window = window_about(product, chosen_ij.long(), (steps + 1, steps + 1))
    log_heat, corner_ij = F.logsigmoid(window.product.logits), window.corner_ij
    start_ij = chosen_ij - corner_ij
    peaks_ij = climb(log_heat, start_ij, steps=steps, limits=_climb_limits(spacing_mm, steps))
    maps = torch.stack([log_heat, window.product.log_map()], 2)
    refined_ij, is_top = refine_and_rate(maps, torch.stack([peaks_ij, start_ij], 2))
    at_peak_ij, at_start_ij = refined_ij.unbind(2)
    return corner_ij + torch.where(is_top[..., :1], at_peak_ij, at_start_ij)


def _climb_limits(spacing_mm: Tensor, steps: int) -> Tensor | None:
    """(B, 1) pixels that each image's points may climb, if not all may climb so many steps."""
    limits = (CLIMB_MM / spacing_mm.double().amin(-1, keepdim=True)).ceil()
    return None if may_look(limits) and bool((limits == steps).all()) else limits


def _part(product: Product, rows: Tensor, columns: Tensor) -> Window:
    if (rows.shape[-1], columns.shape[-1]) == product.logits.shape[-2:]:
        return Window(rows, columns, product)
    part = Product(
        read_windows(product.logits, rows, columns).to(product.rows.dtype),
        product.rows.gather(-1, rows),
        product.columns.gather(-1, columns),
    )
    return Window(rows, columns, part)


def _crests(product: Product) -> Tensor:
    """(B, N, H) bounds of log P in each row: as if its brightest pixel had the nearest column."""
    brightest = F.logsigmoid(product.logits.amax(-1).to(product.rows.dtype))
    return brightest + product.rows + product.columns.amax(-1, keepdim=True)


def _row_maximum(product: Product, row: Tensor) -> Tensor:
    """(B, N) maximum of log P in (B, N) rows."""
    row = row[..., None]
    lines = read_windows(product.logits, row, _every(product.columns))
    return Product(lines, product.rows.gather(-1, row), product.columns).log_map().amax((-2, -1))


def _parts_that_matter(product: Product, temperature: Tensor) -> Iterator[Window]:
    """Yield parts of the maps, for a few landmarks at once, out of which the rest is negligible.

    That is what is surely too far below the maximum. Where nobody may look, everything is gone
    over.
    """
    landmarks, height, width = product.logits.shape[1:]
    crests = _crests(product)
    least = _row_maximum(product, crests.argmax(-1))
    least = least - temperature * (math.log(height * width) + NEGLIGIBLE)
    rows = _needed(crests, least)
    columns = _needed(product.columns, least + product.columns.amax(-1) - crests.amax(-1))
    step = 1
    if not is_graph():
        at_once = AT_ONCE if may_look(product.logits) else AT_ONCE_ON_GPU
        step = max(1, at_once // (rows[:, 0].numel() * columns.shape[-1]))
    for first in range(0, landmarks, step):
        some = slice(first, first + step)
        factors_of_some = Product(*(factor[:, some] for factor in product))
        yield _part(factors_of_some, rows[:, some], columns[:, some])


def _needed(bounds: Tensor, least: Tensor) -> Tensor:
    """(B, N, size) indices, from the first to the last where (B, N, S) bounds reach so high."""
    every = _every(bounds)
    if not may_look(bounds):
        return every
    total = bounds.shape[-1]
    is_needed = (bounds >= least[..., None]).byte()
    first = is_needed.argmax(-1, keepdim=True)
    after = total - is_needed.flip(-1).argmax(-1, keepdim=True)
    is_any = is_needed.amax(-1, keepdim=True)  # none where no numbers are
    size = max(int(((after - first) * is_any).amax()), 1)
    return first.clamp_max(total - size) + every[..., :size]


def _every(values: Tensor) -> Tensor:
    """(..., S) indices of (..., S) values."""
    return torch.arange(values.shape[-1], device=values.device).expand(values.shape)


def _first_maximum(maps: Tensor) -> Tensor:
    """(..., 2) first pixels of the maxima of (..., H, W) maps; by rows, for that is fast."""
    row = maps.amax(-1).argmax(-1)
    line = maps.gather(-2, row[..., None, None].expand(*row.shape, 1, maps.shape[-1]))[..., 0, :]
    return torch.stack([row, line.argmax(-1)], -1).to(maps.dtype)


def _log_mass(log_map: Tensor, temperature: Tensor) -> Tensor:
    top = log_map.amax((-2, -1), keepdim=True)
    mass = ((log_map - top) / temperature).clamp_min_(VANISHED).exp_().sum((-2, -1))
    return mass.log() + top[..., 0, 0] / temperature


def _log_gaussian(
    size: int, axis: int, points_ij: Tensor, sigma_mm: Tensor, spacing_mm: Tensor
) -> Tensor:
    positions = torch.arange(size, dtype=points_ij.dtype, device=points_ij.device)
    per_px = spacing_mm[:, None, axis] / sigma_mm[:, axis]  # (B, N)
    return -0.5 * ((positions - points_ij[..., axis, None]) * per_px[..., None]).square()
