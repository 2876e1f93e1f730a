"""What the product says: the belief, how far it spreads, and the loss that fits it.

Grids have their axes along rows and columns; spacing is (between rows, between columns) in mm.
"""

import math
from collections.abc import Callable
from functools import wraps
from typing import NamedTuple, ParamSpec

import torch
from torch import Tensor

from spine_monai.fusion.windows import is_graph

Given = ParamSpec("Given")


class FusedPoints(NamedTuple):
    """What the fusion decides for B images and N landmarks.

    Args:
        points_ij: (B, N, 2) points in pixels of the grid; NaN, like the rest, where a network gave
            no finite numbers.
        confidence: (B, N) belief that lies within 8 mm of the point.
        covariance_mm2: (B, N, 2, 2) of the belief near the point, along rows and columns.
        radius95_mm: (B, N) radius of the disc that holds 95 % of a Gaussian of that covariance.
        rival_heat: (B, N) how brightly the landmark's own heatmap, 0 to 1, shows another candidate;
            ``None`` where candidates were not compared.
    """

    points_ij: Tensor
    confidence: Tensor
    covariance_mm2: Tensor
    radius95_mm: Tensor
    rival_heat: Tensor | None = None

    def where(self, is_known: Tensor) -> "FusedPoints":
        """Return the same with NaN where (B, N) landmarks are not known, but for their rivals."""
        is_out = ~is_known
        return FusedPoints(
            self.points_ij.masked_fill(is_out[..., None], torch.nan),
            self.confidence.masked_fill(is_out, torch.nan),
            self.covariance_mm2.masked_fill(is_out[..., None, None], torch.nan),
            self.radius95_mm.masked_fill(is_out, torch.nan),
            self.rival_heat,
        )


def without_gradients(decode: Callable[Given, FusedPoints]) -> Callable[Given, FusedPoints]:
    """Let a function run in inference mode, where an operation costs less; return plain tensors."""

    @wraps(decode)
    def run(*args: Given.args, **options: Given.kwargs) -> FusedPoints:
        if is_graph():
            with torch.no_grad():
                return decode(*args, **options)
        with torch.inference_mode():
            fused = decode(*args, **options)
        known = {name: values for name, values in fused._asdict().items() if values is not None}
        return fused._replace(**{name: values.clone() for name, values in known.items()})

    return run


def log_belief(log_map: Tensor, temperature: float | Tensor, floor: float | Tensor) -> Tensor:
    """Normalise log P over the grid: tempered, and mixed with a uniform floor.

    Args:
        log_map: (..., H, W) unnormalised log P.
        temperature: above 1 flattens, below 1 sharpens.
        floor: share of the belief that is spread evenly over the grid, 0 to 1.

    Returns:
        (..., H, W) log Q, whose exponentials sum to 1 over each map.
    """
    pixels = log_map.shape[-2] * log_map.shape[-1]
    sharp = (log_map / temperature).flatten(-2).log_softmax(-1).view_as(log_map)
    floor = torch.as_tensor(floor, dtype=log_map.dtype, device=log_map.device)
    return torch.logaddexp(sharp + torch.log1p(-floor), torch.log(floor / pixels))


def credible_radius_mm(covariance_mm2: Tensor, share: float = 0.95) -> Tensor:
    """Return the radius of the disc that surely holds a share of a two-dimensional Gaussian.

    Args:
        covariance_mm2: (..., 2, 2).
        share: of the probability, 0 to 1.

    Returns:
        (...,) radius in mm, along the widest direction.
    """
    quantile = -2.0 * math.log(1.0 - share)  # of chi squared with two degrees of freedom
    down, mixed, along = (covariance_mm2[..., i, j] for i, j in ((0, 0), (0, 1), (1, 1)))
    apart = ((down - along) / 2).square() + mixed.square()
    widest = (down + along) / 2 + apart.sqrt()  # the greatest eigenvalue
    return (quantile * widest.clamp_min(0)).sqrt()


def covariance_mm2(
    weights: Tensor, down_mm: Tensor, along_mm: Tensor, spacing_mm: Tensor
) -> Tensor:
    """Return the covariance of weights on a window, that of a pixel's own square included.

    Args:
        weights: (B, N, h, w), not negative.
        down_mm: (B, N, h) place of each row.
        along_mm: (B, N, w) place of each column.
        spacing_mm: (B, 2) spacing of the grid.

    Returns:
        (B, N, 2, 2) along rows and columns, in mm^2.
    """
    down, along = (_powers(mm.nan_to_num(0.0).double()) for mm in (down_mm, along_mm))
    moments = down @ weights.double() @ along.transpose(-2, -1)
    shares = (moments / moments[..., :1, :1]).flatten(-2)
    _, mean_along, square_along, mean_down, mixed, _, square_down, *_ = shares.unbind(-1)
    pixel_down, pixel_along = (spacing_mm[:, None].double().square() / 12).unbind(-1)
    covariance = mixed - mean_down * mean_along
    variance_down = square_down - mean_down.square() + pixel_down
    variance_along = square_along - mean_along.square() + pixel_along
    entries = torch.stack([variance_down, covariance, covariance, variance_along], -1)
    return entries.unflatten(-1, (2, 2)).to(spacing_mm.dtype)


def _powers(places: Tensor) -> Tensor:
    """(..., 3, S) ones, places and their squares."""
    return torch.stack([torch.ones_like(places), places, places.square()], -2)
