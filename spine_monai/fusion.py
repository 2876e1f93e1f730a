"""Heatmap times Gaussian: the paper's fusion, in the log domain, and the belief it leaves.

For landmark n with heatmap logits l_n and predicted point m_n, over the pixels x of the grid::

    log P_n(x) = logsigmoid(l_n(x)) - 1/2 |offset in mm of x from m_n / prior_sigma_mm[n]|^2

(the plain product underflows to an all-zero map a few sigma away from m_n). The argmax of log P_n
says which peak of the heatmap is the landmark; the heatmap alone says where exactly that peak lies
(docs/decisions/0005). The belief is log P_n tempered, normalised over the grid, and mixed with a
uniform floor::

    Q_n(x) = (1 - background_floor) * softmax(log P_n / temperature)(x) + background_floor / pixels

Grids have their axes along rows and columns; spacing is (between rows, between columns) in mm.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spine_monai.heatmaps import climb, decode_argmax, is_top, refine_log_taylor
from spine_monai.landmarks import HIT_RADIUS_MM

WINDOW_SIGMAS = 3.0
CLIMB_MM = 5.0  # a peak of the heatmap further from the product's argmax is another one


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
    sigma = torch.as_tensor(prior_sigma_mm, dtype=logits.dtype, device=logits.device)
    if not bool((sigma > 0).all()):
        msg = f"prior_sigma_mm must be positive: got {sigma.tolist()}."
        raise ValueError(msg)
    sigma = sigma.expand(logits.shape[1], 2)
    rows = _log_gaussian(logits.shape[-2], 0, predicted_ij, sigma, spacing_mm)
    columns = _log_gaussian(logits.shape[-1], 1, predicted_ij, sigma, spacing_mm)
    return F.logsigmoid(logits) + rows[..., :, None] + columns[..., None, :]


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


class FusionModel(nn.Module):
    """The fusion with what is fitted of it as weights.

    Args:
        num_landmarks: N.
        prior_sigma_mm: given value to start from, in mm.
        target_sigma_mm: standard deviation of the heatmap network's peaks, in mm; three of them
            make the window of the covariance.

    Weights: ``prior_sigma_mm`` (N, 2), ``temperature``, ``background_floor``, and
    ``conformal_quantile``, which scales the radius and is NaN until it is fitted.
    """

    prior_sigma_mm: Tensor
    conformal_quantile: Tensor

    def __init__(
        self, num_landmarks: int, *, prior_sigma_mm: float = 15.0, target_sigma_mm: float = 3.5
    ) -> None:
        super().__init__()
        self.target_sigma_mm = target_sigma_mm
        self.prior_sigma_mm = nn.Parameter(torch.full((num_landmarks, 2), float(prior_sigma_mm)))
        self.temperature = nn.Parameter(torch.tensor(1.0))
        self.background_floor = nn.Parameter(torch.tensor(0.01))
        self.register_buffer("conformal_quantile", torch.tensor(torch.nan))

    @property
    def is_calibrated(self) -> bool:
        """Whether the radius was calibrated on held-out subjects."""
        return bool(torch.isfinite(self.conformal_quantile))

    def log_product(self, logits: Tensor, predicted_ij: Tensor, spacing_mm: Tensor) -> Tensor:
        """Return (B, N, H, W) log P with the model's own sigma."""
        return log_product(logits, predicted_ij, self.prior_sigma_mm, spacing_mm)

    def forward(self, logits: Tensor, predicted_ij: Tensor, spacing_mm: Tensor) -> Tensor:
        """Return (B, N, H, W) log Q; arguments as for ``log_product``."""
        if self.training:
            self._keep_in_range()
        return self.log_belief(self.log_product(logits, predicted_ij, spacing_mm))

    @torch.no_grad()
    def _keep_in_range(self) -> None:
        """Put weights that an optimizer step threw out of their range back to its edge."""
        self.prior_sigma_mm.clamp_(1.0, 200.0)
        self.temperature.clamp_(0.01, 20.0)
        self.background_floor.clamp_(1e-6, 0.5)

    def log_belief(self, log_map: Tensor) -> Tensor:
        """Return (B, N, H, W) log Q of a log P with the model's own temperature and floor."""
        return log_belief(log_map, self.temperature, self.background_floor)

    @torch.no_grad()
    def decode(
        self,
        logits: Tensor,
        predicted_ij: Tensor,
        spacing_mm: Tensor,
        view_ij: Tensor | None = None,  # noqa: ARG002 - every landmark gets a point
    ) -> FusedPoints:
        """Find the landmarks; arguments as for ``JointFusion.decode``."""
        log_map = self.log_product(logits, predicted_ij, spacing_mm)
        points_ij = place(log_map, F.logsigmoid(logits), decode_argmax(log_map), spacing_mm)
        return self.judge(log_map, points_ij, spacing_mm)

    def judge(self, log_map: Tensor, points_ij: Tensor, spacing_mm: Tensor) -> FusedPoints:
        """Say how sure points are.

        Args:
            log_map: (B, N, H, W) log P.
            points_ij: (B, N, 2) points, however they were chosen; NaN stays NaN.
            spacing_mm: (B, 2) spacing of the grid.
        """
        is_valid = torch.isfinite(log_map).all(-1).all(-1) & torch.isfinite(points_ij).all(-1)
        points_ij = points_ij.masked_fill(~is_valid[..., None], torch.nan)
        belief = self.log_belief(log_map).exp()
        belief = belief.masked_fill(~is_valid[..., None, None], torch.nan)
        distance = _squared_distances_mm2(points_ij, belief.shape[-2:], spacing_mm)
        confidence = (belief * (distance <= HIT_RADIUS_MM**2)).sum((-2, -1))
        near = belief * (distance <= (WINDOW_SIGMAS * self.target_sigma_mm) ** 2)
        covariance = _covariance_mm2(near, spacing_mm)
        radius = credible_radius_mm(covariance) * torch.nan_to_num(self.conformal_quantile, nan=1.0)
        return FusedPoints(points_ij, confidence, covariance, radius)


class BeliefLoss(nn.Module):
    """Negative log-likelihood of the true pixel under the belief; unknown landmarks left out.

    Args:
        fusion: the model that is fitted; its ``prior_sigma_mm`` is drawn towards one common value.
        shrinkage: how strongly: weight of the variance of log sigma over the landmarks. Few
            subjects cannot tell eleven sigmas apart.

    Source of the idea of regularizing learned sigmas: Payer 2019, doi 10.1016/j.media.2019.03.007.
    """

    def __init__(self, fusion: FusionModel | None = None, *, shrinkage: float = 0.0) -> None:
        super().__init__()
        self.shrinkage = shrinkage
        self._sigma_mm = fusion.prior_sigma_mm if fusion else torch.ones(2, 2)

    def forward(self, log_beliefs: Tensor, points_ij: Tensor) -> Tensor:
        """Return the mean over the annotated landmarks that lie on the grid.

        Args:
            log_beliefs: (B, N, H, W) log Q.
            points_ij: (B, N, 2) true points in pixels; NaN where not annotated.
        """
        height, width = log_beliefs.shape[-2:]
        pixels = points_ij.round()
        size = pixels.new_tensor([height, width])
        is_known = ((pixels >= 0) & (pixels < size)).all(-1)
        rows, columns = pixels.nan_to_num(0.0).clamp_min(0).minimum(size - 1).long().unbind(-1)
        likelihood = log_beliefs.flatten(-2).gather(-1, (rows * width + columns)[..., None])[..., 0]
        spread = self._sigma_mm.log().var(0, correction=0).mean()
        loss = -(likelihood * is_known).sum() / is_known.sum().clamp_min(1)
        return loss + self.shrinkage * spread


def credible_radius_mm(covariance_mm2: Tensor, share: float = 0.95) -> Tensor:
    """Return the radius of the disc that surely holds a share of a two-dimensional Gaussian.

    Args:
        covariance_mm2: (..., 2, 2).
        share: of the probability, 0 to 1.

    Returns:
        (...,) radius in mm, along the widest direction.
    """
    quantile = -2.0 * math.log(1.0 - share)  # of chi squared with two degrees of freedom
    is_known = torch.isfinite(covariance_mm2).all(-1).all(-1)
    widest = torch.linalg.eigvalsh(covariance_mm2.nan_to_num(0.0))[..., -1].clamp_min(0)
    return (quantile * widest).sqrt().masked_fill(~is_known, torch.nan)


def place(log_map: Tensor, log_heatmaps: Tensor, chosen_ij: Tensor, spacing_mm: Tensor) -> Tensor:
    """Give the heatmap's own peak beside each chosen pixel; without one, the pixel itself, refined.

    The Gaussian's slope would pull the point towards a prediction known to be rough.

    Args:
        log_map: (B, N, H, W) log P.
        log_heatmaps: (B, N, H, W) logarithms of the heatmaps.
        chosen_ij: (B, N, 2) whole pixels.
        spacing_mm: (B, 2) spacing of the grid.

    Returns:
        (B, N, 2) points_ij.
    """
    steps = math.ceil(CLIMB_MM / float(spacing_mm.min()))
    peaks_ij = climb(log_heatmaps, chosen_ij, steps=steps)
    is_peak = is_top(log_heatmaps, peaks_ij)[..., None]
    at_peak_ij = refine_log_taylor(log_heatmaps, peaks_ij)
    return torch.where(is_peak, at_peak_ij, refine_log_taylor(log_map, chosen_ij))


def _offsets_mm(size: int, axis: int, points_ij: Tensor, spacing_mm: Tensor) -> Tensor:
    """(B, N, size) offsets in mm of each row (axis 0) or column (axis 1) from the points."""
    positions = torch.arange(size, dtype=points_ij.dtype, device=points_ij.device)
    return (positions - points_ij[..., axis, None]) * spacing_mm[:, None, axis, None]


def _log_gaussian(
    size: int, axis: int, points_ij: Tensor, sigma_mm: Tensor, spacing_mm: Tensor
) -> Tensor:
    offsets = _offsets_mm(size, axis, points_ij, spacing_mm)
    return -0.5 * (offsets / sigma_mm[:, axis, None]).square()


def _squared_distances_mm2(points_ij: Tensor, shape: torch.Size, spacing_mm: Tensor) -> Tensor:
    rows = _offsets_mm(shape[0], 0, points_ij, spacing_mm).square()
    columns = _offsets_mm(shape[1], 1, points_ij, spacing_mm).square()
    return rows[..., :, None] + columns[..., None, :]


def _covariance_mm2(weights: Tensor, spacing_mm: Tensor) -> Tensor:
    """(B, N, 2, 2) covariance of (B, N, H, W) weights, that of a pixel's own square included."""
    weights = weights.double()
    weights = weights / weights.sum((-2, -1), keepdim=True)
    height, width = weights.shape[-2:]
    grid = torch.meshgrid(
        torch.arange(height, dtype=weights.dtype, device=weights.device),
        torch.arange(width, dtype=weights.dtype, device=weights.device),
        indexing="ij",
    )
    positions = torch.stack(grid, dim=-1).flatten(0, 1)
    flat = weights.flatten(-2)
    mean = flat @ positions
    second = torch.einsum("bnp,pi,pj->bnij", flat, positions, positions)
    covariance = second - mean[..., :, None] * mean[..., None, :]
    within_pixel = torch.eye(2, dtype=weights.dtype, device=weights.device) / 12
    scale = spacing_mm[:, None, :, None] * spacing_mm[:, None, None, :]
    return ((covariance + within_pixel) * scale).to(spacing_mm.dtype)
