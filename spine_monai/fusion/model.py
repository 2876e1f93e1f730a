"""The fusion with what is fitted of it as weights, and the loss that fits it."""

import torch
from torch import Tensor, nn

from spine_monai.fusion.belief import (
    FusedPoints,
    covariance_mm2,
    credible_radius_mm,
    log_belief,
    without_gradients,
)
from spine_monai.fusion.product import (
    VANISHED,
    Product,
    factors,
    is_finite,
    log_masses,
    log_product,
    maxima_and_log_masses,
    offsets_mm,
    place,
    window_about,
)
from spine_monai.fusion.windows import is_resolved, most_px
from spine_monai.landmarks import HIT_RADIUS_MM

WINDOW_SIGMAS = 3.0
LEAST_WINDOW_MM = 10.8  # doubt about a narrow peak lies beside it


class FusionModel(nn.Module):
    """The fusion with what is fitted of it as weights.

    Args:
        num_landmarks: N.
        prior_sigma_mm: given value to start from, in mm.
        target_sigma_mm: standard deviation of the heatmap network's peaks, in mm; three of them,
            and no less than 10.8 mm, make the window of the covariance.

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

    @without_gradients
    def decode(
        self,
        logits: Tensor,
        predicted_ij: Tensor,
        spacing_mm: Tensor,
        view_ij: Tensor | None = None,  # noqa: ARG002 - every landmark gets a point
    ) -> FusedPoints:
        """Find the landmarks; arguments as for ``JointFusion.decode``."""
        product = self.factors(logits.contiguous(), predicted_ij, spacing_mm)
        chosen_ij, log_mass = maxima_and_log_masses(product, self.temperature)
        points_ij = place(product, chosen_ij, spacing_mm)
        points_ij = points_ij.masked_fill(~is_finite(product)[..., None], torch.nan)
        return self.judge(product, points_ij, spacing_mm, log_mass)

    def factors(self, logits: Tensor, predicted_ij: Tensor, spacing_mm: Tensor) -> Product:
        """Return the product of heatmaps and Gaussians with the model's own sigma."""
        return factors(logits, predicted_ij, self.prior_sigma_mm, spacing_mm)

    def log_masses(self, product: Product) -> Tensor:
        """Return (B, N) logarithms of the product's tempered sums over the grid."""
        return log_masses(product, self.temperature)

    def judge(
        self,
        product: Product,
        points_ij: Tensor,
        spacing_mm: Tensor,
        log_mass: Tensor,
    ) -> FusedPoints:
        """Say how sure points are.

        Args:
            product: of heatmaps and Gaussians.
            points_ij: (B, N, 2) points, however they were chosen; NaN stays NaN.
            spacing_mm: (B, 2) spacing of the grid.
            log_mass: (B, N) as ``log_masses`` gives it.
        """
        wide_mm = max(WINDOW_SIGMAS * self.target_sigma_mm, LEAST_WINDOW_MM)
        rows, columns = most_px(max(HIT_RADIUS_MM, wide_mm), spacing_mm)
        centres_ij = points_ij.nan_to_num(0.0).round().long()
        window = window_about(product, centres_ij, (rows + 1, columns + 1))
        log_map = window.product.log_map()
        belief = self._belief(
            log_map, log_mass, product.logits.shape[-2] * product.logits.shape[-1]
        )
        down_mm, along_mm = offsets_mm(window, points_ij, spacing_mm)
        squares = down_mm.square()[..., :, None] + along_mm.square()[..., None, :]
        confidence = (belief * (squares <= HIT_RADIUS_MM**2)).sum((-2, -1))
        covariance = covariance_mm2(belief * (squares <= wide_mm**2), down_mm, along_mm, spacing_mm)
        radius = credible_radius_mm(covariance) * self.conformal_quantile.nan_to_num(1.0)
        fused = FusedPoints(points_ij, confidence, covariance, radius)
        return fused.where(torch.isfinite(points_ij).all(-1) & is_resolved(spacing_mm)[:, None])

    def _belief(self, log_map: Tensor, log_mass: Tensor, pixels: int) -> Tensor:
        """(B, N, h, w) Q of a part of log P and the logarithm of the whole map's sum."""
        sharp = log_map / self.temperature - log_mass[..., None, None]
        sharp = sharp.clamp_min_(VANISHED).exp_()
        return sharp * (1 - self.background_floor) + self.background_floor / pixels


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
