"""Points drawn as Gaussian heatmaps, and heatmaps read back as points.

Points are ``points_ij``: (row, column) in pixels, whole numbers at pixel centres, NaN for an absent
landmark. Heatmaps are ``(..., N, H, W)``. Everything is batched and runs on the points' device.

An *edge fraction* is how the coordinate network speaks of a place: 0 at the outer edge of the first
pixel, 1 at the outer edge of the last, so that it means the same on every grid.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

SMALLEST_EXPONENT = -87.0  # processors are slow on the denormal numbers that lie below
SMALLEST_VALUE = 1e-37  # of a profile; what is smaller is drawn as zero


def encode_heatmaps(
    points_ij: Tensor,
    shape: Sequence[int],
    sigma_px: float | Tensor,
    *,
    amplitude: float = 1.0,
    out: Tensor | None = None,
) -> Tensor:
    """Draw ``amplitude * exp(-d^2 / (2 sigma^2))`` about each point, exact below the pixel.

    A Gaussian is the product of its row and its column profile, so only H + W exponentials are
    needed for each landmark.

    Args:
        points_ij: (..., N, 2) points in pixels; NaN gives an empty (all zero) map. A point outside
            the image gives that part of its Gaussian which reaches in.
        shape: (H, W) of the maps.
        sigma_px: standard deviation in pixels; a scalar, or a tensor that broadcasts to
            (..., N, 2), along rows and columns. See ``sigma_px_from_mm``.
        amplitude: height of the peak; see ``paper_amplitude`` for the paper's second form.
        out: (..., N, H, W) tensor to draw into; fresh memory costs more time than the drawing.

    Returns:
        (..., N, H, W) heatmaps, floating point.

    Raises:
        ValueError: ``sigma_px`` is not positive, or ``points_ij`` does not end in 2.

    Source: Huang, Yang, Hou 2020, arXiv 2007.05355.
    """
    rows, columns = profiles(points_ij, shape, sigma_px)
    return torch.mul((amplitude * rows)[..., :, None], columns[..., None, :], out=out)


def profiles(
    points_ij: Tensor, shape: Sequence[int], sigma_px: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Return the (..., N, H) row and (..., N, W) column profiles whose product is the heatmap.

    Arguments and errors as for ``encode_heatmaps``; the profiles of NaN are zero.
    """
    if points_ij.shape[-1] != 2:
        msg = f"points_ij must have shape (..., N, 2): got {tuple(points_ij.shape)}."
        raise ValueError(msg)
    points_ij = points_ij if points_ij.is_floating_point() else points_ij.float()
    if not bool(torch.as_tensor(sigma_px > 0).all()):
        msg = f"sigma_px must be positive: got {sigma_px}."
        raise ValueError(msg)
    steps = math.sqrt(0.5) / torch.as_tensor(sigma_px, dtype=points_ij.dtype).to(points_ij.device)
    rows, columns = steps.expand(points_ij.shape)[..., None].unbind(-2)
    i, j = points_ij[..., None].unbind(-2)
    return _profile(i, rows, int(shape[0])), _profile(j, columns, int(shape[1]))


def paper_amplitude(sigma_px: float, alpha: float) -> float:
    """Return the peak height alpha / (2 pi sigma) of the paper's second form of the heatmap.

    Args:
        sigma_px: standard deviation in pixels.
        alpha: scale factor of the paper's equation.
    """
    return alpha / (2 * math.pi * sigma_px)


def sigma_px_from_mm(sigma_mm: float | Tensor, spacing_mm: Tensor) -> Tensor:
    """Convert standard deviations from millimetres to pixels.

    Args:
        sigma_mm: scalar, or tensor that broadcasts against ``spacing_mm``.
        spacing_mm: (..., 2) distance between rows and between columns, in mm.
    """
    return sigma_mm / spacing_mm


def decode_argmax(heatmaps: Tensor) -> Tensor:
    """Return the pixel of each map's maximum.

    Args:
        heatmaps: (..., H, W) maps, of any scale.

    Returns:
        (..., 2) points_ij, whole pixels as floating point.
    """
    width = heatmaps.shape[-1]
    flat = heatmaps.flatten(-2).argmax(-1)
    indices = torch.stack([torch.div(flat, width, rounding_mode="floor"), flat % width], dim=-1)
    return indices.to(torch.promote_types(heatmaps.dtype, torch.float32))


def refine_log_taylor(log_heatmaps: Tensor, peaks_ij: Tensor) -> Tensor:
    """Move each peak to the top of the parabola through its 3 x 3 neighbourhood.

    Exact for a Gaussian, whose logarithm is quadratic; so also for the product of two of them.
    Where the neighbourhood has no top (flat, saddle), the peak stays; it never moves by more than
    one pixel from the centre of the neighbourhood.

    Args:
        log_heatmaps: (..., H, W) logarithms of the heatmaps.
        peaks_ij: (..., 2) whole-pixel peaks.

    Returns:
        (..., 2) points_ij in pixels, below pixel precision.

    Source: Zhang 2020 (DARK), doi 10.1109/CVPR42600.2020.00712.
    """
    centres_ij = _inside(peaks_ij.long(), log_heatmaps.shape[-2:])
    return _refine(_neighbourhoods(log_heatmaps, centres_ij), centres_ij, peaks_ij)


def climb(maps: Tensor, peaks_ij: Tensor, *, steps: int, limits: Tensor | None = None) -> Tensor:
    """Walk uphill from each pixel, to the highest of its eight neighbours, at most so many times.

    Args:
        maps: (..., H, W) maps; small ones, since the way up is sought from every pixel of them.
        peaks_ij: (..., 2) whole pixels to start from.
        steps: how far to walk, in pixels.
        limits: broadcasts to (...,); how far to walk in each map, if not so far in all.

    Returns:
        (..., 2) whole pixels; the top of the hill if it was within reach.
    """
    width = maps.shape[-1]
    uphill = _uphill(maps).flatten(-2)
    start = _inside(peaks_ij.long(), maps.shape[-2:])
    place = (start[..., 0] * width + start[..., 1])[..., None]
    for step in range(steps):
        higher = uphill.gather(-1, place)
        place = higher if limits is None else torch.where(limits[..., None] > step, higher, place)
    rows = torch.div(place, width, rounding_mode="floor")
    return torch.cat([rows, place - rows * width], -1).to(peaks_ij.dtype)


def refine_and_rate(log_heatmaps: Tensor, peaks_ij: Tensor) -> tuple[Tensor, Tensor]:
    """Return what ``refine_log_taylor`` does, and (...,) whether there is a top to refine.

    A top has no higher neighbour, and some lower ones; it does not lie on the border.
    """
    centres_ij = _inside(peaks_ij.long(), log_heatmaps.shape[-2:])
    patches = _neighbourhoods(log_heatmaps, centres_ij)
    centre = patches[..., 4]
    is_top = (patches.amax(-1) <= centre) & (patches.amin(-1) < centre)
    is_inside = (centres_ij == peaks_ij).all(-1)
    return _refine(patches, centres_ij, peaks_ij), is_top & is_inside


def decode_heatmaps(heatmaps: Tensor) -> Tensor:
    """Return the sub-pixel peak of each heatmap: its argmax, refined on its neighbourhood.

    Args:
        heatmaps: (..., H, W) non-negative maps; one without any positive value, or with NaN,
            gives NaN.

    Returns:
        (..., 2) points_ij in pixels.
    """
    log_heatmaps = heatmaps.clamp_min(torch.finfo(heatmaps.dtype).tiny).log()
    points_ij = refine_log_taylor(log_heatmaps, decode_argmax(heatmaps))
    is_empty = ~(heatmaps.amax((-2, -1)) > 0)
    return points_ij.masked_fill(is_empty[..., None], torch.nan)


def ij_from_edge_fractions(fractions: Tensor, shape: Sequence[int]) -> Tensor:
    """Turn edge fractions into pixels of a grid.

    Args:
        fractions: (..., 2) fractions along rows and columns.
        shape: (H, W) of the grid.
    """
    return fractions * fractions.new_tensor([float(size) for size in shape]) - 0.5


def edge_fractions_from_ij(points_ij: Tensor, shape: Sequence[int]) -> Tensor:
    """Turn pixels of a grid into edge fractions; the inverse of ``ij_from_edge_fractions``."""
    return (points_ij + 0.5) / points_ij.new_tensor([float(size) for size in shape])


class HeatmapLoss(torch.nn.Module):
    """Binary cross-entropy between heatmap logits and drawn heatmaps; unknown landmarks left out.

    Source: Huang, Yang, Hou 2020, arXiv 2007.05355 (binary cross-entropy on the heatmaps).
    """

    def forward(self, logits: Tensor, heatmaps: Tensor) -> Tensor:
        """Return the mean over the pixels of the annotated landmarks.

        Args:
            logits: (B, N, H, W) network output before the sigmoid.
            heatmaps: (B, N, H, W) targets in 0 to 1; a map of NaN where the landmark is not
                annotated.
        """
        is_known = ~torch.isnan(heatmaps[..., 0, 0])
        if not bool(is_known.all()):  # masks over all pixels would cost as much as the loss
            logits, heatmaps = logits[is_known], heatmaps[is_known]
        loss = F.binary_cross_entropy_with_logits(logits, heatmaps, reduction="sum")
        return loss / max(heatmaps.numel(), 1)


class CoordinateLoss(torch.nn.Module):
    """Mean squared error between predicted and true edge fractions; unknown landmarks left out.

    Source: Huang, Yang, Hou 2020, arXiv 2007.05355 (mean squared error of the coordinates).
    """

    def forward(self, predicted: Tensor, reference: Tensor) -> Tensor:
        """Return the mean over the annotated landmarks.

        Args:
            predicted: (B, N, 2) edge fractions.
            reference: (B, N, 2) edge fractions; NaN where the landmark is not annotated.
        """
        is_known = ~torch.isnan(reference)
        squares = (predicted - reference.nan_to_num(0.0)).square() * is_known
        return squares.sum() / is_known.sum().clamp_min(1)


class SmoothCoordinateLoss(torch.nn.Module):
    """Smooth L1 loss of edge fractions: squares near the truth, distances far from it.

    A subject that is a whole level off then weighs as much as it is wrong, not its square.

    Args:
        beta: edge fraction at which the loss turns from squares to distances.

    Source: Girshick 2015, doi 10.1109/ICCV.2015.169.
    """

    def __init__(self, beta: float = 0.02) -> None:
        super().__init__()
        self.beta = beta

    def forward(self, predicted: Tensor, reference: Tensor) -> Tensor:
        """Return the mean over the annotated landmarks; arguments as for ``CoordinateLoss``."""
        is_known = ~torch.isnan(reference)
        losses = F.smooth_l1_loss(
            predicted, reference.nan_to_num(0.0), beta=self.beta, reduction="none"
        )
        return (losses * is_known).sum() / is_known.sum().clamp_min(1)


def _profile(centres: Tensor, steps: Tensor, size: int) -> Tensor:
    """Values of exp(-d^2), with d the distance of each pixel from (..., 1) centres in steps."""
    pixels = torch.arange(size, dtype=centres.dtype, device=centres.device)
    exponents = (pixels - centres).mul_(steps).square_().neg_()
    exponents.nan_to_num_(SMALLEST_EXPONENT).clamp_min_(SMALLEST_EXPONENT)
    return F.threshold(exponents.exp_(), SMALLEST_VALUE, 0.0, inplace=True)


def _inside(pixels_ij: Tensor, shape: Sequence[int]) -> Tensor:
    """Centres whose 3 x 3 neighbourhood lies within the image."""
    row, column = pixels_ij.unbind(-1)
    return torch.stack([row.clamp(1, shape[0] - 2), column.clamp(1, shape[1] - 2)], -1)


def _uphill(maps: Tensor) -> Tensor:
    """(..., H, W) flat index of the pixel to step to from each one, itself on top or on a plateau.

    Places keep one pixel away from the border. A ridge of equal pixels is left by the first.
    """
    height, width = maps.shape[-2:]
    planes = maps.reshape(-1, 1, height, width)
    highest, index = F.max_pool2d(planes, 3, 1, 1, return_indices=True)
    rows = torch.div(index, width, rounding_mode="floor")
    columns = (index - rows * width).clamp(1, width - 2)
    target = rows.clamp(1, height - 2) * width + columns
    own = torch.arange(height * width, device=maps.device).view(height, width)
    return torch.where(highest > planes, target, own).view(maps.shape)


def _neighbourhoods(maps: Tensor, centres_ij: Tensor) -> Tensor:
    """(..., 9) patches of 3 x 3 pixels about the centres, by rows."""
    width = maps.shape[-1]
    step = torch.arange(-1, 2, device=maps.device)  # numbers of the host's would be waited for
    row, column = centres_ij.unbind(-1)
    flat = (row * width + column)[..., None] + (step[:, None] * width + step).flatten()
    return maps.flatten(-2).gather(-1, flat)


def _refine(patches: Tensor, centres_ij: Tensor, peaks_ij: Tensor) -> Tensor:
    """(..., 2) tops of the parabolas through patches; the peaks where there is none."""
    offsets, has_top = _parabola_tops(patches)
    return torch.where(has_top[..., None], centres_ij + offsets, peaks_ij)


def _parabola_tops(patches: Tensor) -> tuple[Tensor, Tensor]:
    """(..., 2) offsets of the tops from the patches' centres, and whether there is one."""
    nw, north, ne, west, centre, east, sw, south, se = patches.unbind(-1)
    gradient_i, gradient_j = (south - north) / 2, (east - west) / 2
    curve_ii = south - 2 * centre + north
    curve_jj = east - 2 * centre + west
    curve_ij = (se - sw - ne + nw) / 4
    determinant = curve_ii * curve_jj - curve_ij.square()
    has_top = (curve_ii < 0) & (determinant > 0)
    safe = torch.where(has_top, determinant, 1.0)[..., None]
    offset_i = curve_ij * gradient_j - curve_jj * gradient_i
    offset_j = curve_ij * gradient_i - curve_ii * gradient_j
    return (torch.stack([offset_i, offset_j], dim=-1) / safe).clamp(-1.0, 1.0), has_top
