"""Numerical coordinate regression: a heatmap's point is its expectation, not its peak.

What a network learns so is a distribution over the pixels, of which only differences count. As
heatmaps, which the fusion reads, its maps are shifted to the height of drawn ones.

Source: Nibali 2018, arXiv 1801.07372 (DSNT).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TINY = 1e-12  # probability; keeps logarithms finite


def decode_expectation(logits: Tensor) -> Tensor:
    """Return the mean place of each map's softmax.

    Args:
        logits: (..., H, W) network output.

    Returns:
        (..., 2) points_ij in pixels.
    """
    return _mean_ij(_softmax(logits))


class NormalizedHeatmaps(nn.Module):
    """A network whose maps are shifted by a constant each, so that they are as high as drawn ones.

    The odds of a map sum to those of a drawn Gaussian, so a perfect map peaks at the logit 0.

    Args:
        network: (B, C, H, W) to (B, N, H, W) logits.
        target_sigma_px: of the drawn Gaussian, in pixels.
    """

    def __init__(self, network: nn.Module, target_sigma_px: float) -> None:
        super().__init__()
        self.network = network
        self.log_mass = math.log(2 * math.pi * target_sigma_px**2)

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, N, H, W) logits."""
        logits: Tensor = self.network(image)
        totals = logits.flatten(-2).logsumexp(-1)
        return logits - totals[..., None, None] + self.log_mass


class NumericalCoordinateLoss(nn.Module):
    """Distance of the expectation from the target's, and divergence of the map from the target.

    A map that is not annotated (NaN) is left out, and one whose landmark is out of view: that shows
    less than half of its Gaussian.

    Args:
        target_sigma_px: of the drawn targets, in pixels.
        amplitude: height of their peaks.
        divergence_weight: of the Jensen-Shannon divergence beside the squared distance.
    """

    def __init__(
        self, target_sigma_px: float, amplitude: float = 1.0, divergence_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.least_mass = math.pi * target_sigma_px**2 * amplitude  # half of a whole Gaussian's
        self.divergence_weight = divergence_weight

    def forward(self, logits: Tensor, heatmaps: Tensor) -> Tensor:
        """Return the mean over the landmarks in view.

        Args:
            logits: (B, N, H, W) network output.
            heatmaps: (B, N, H, W) drawn targets; NaN where not annotated.
        """
        mass = heatmaps.sum((-2, -1))  # of NaN where not annotated
        is_seen = mass >= self.least_mass
        if not bool(is_seen.any()):
            return logits.sum() * 0.0
        target = heatmaps[is_seen] / mass[is_seen][:, None, None]
        found = _softmax(logits[is_seen])
        half_sizes = logits.new_tensor([logits.shape[-2] / 2, logits.shape[-1] / 2])
        distance = ((_mean_ij(found) - _mean_ij(target)) / half_sizes).square().sum(-1)
        return (distance + self.divergence_weight * _divergence(found, target)).mean()


def _softmax(logits: Tensor) -> Tensor:
    return logits.flatten(-2).softmax(-1).view(logits.shape)


def _mean_ij(shares: Tensor) -> Tensor:
    """(..., 2) mean place of maps that sum to 1."""
    rows = torch.arange(shares.shape[-2], dtype=shares.dtype, device=shares.device)
    columns = torch.arange(shares.shape[-1], dtype=shares.dtype, device=shares.device)
    return torch.stack([shares.sum(-1) @ rows, shares.sum(-2) @ columns], -1)


def _divergence(first: Tensor, second: Tensor) -> Tensor:
    """Jensen-Shannon divergence of maps that sum to 1."""
    middle = ((first + second) / 2).clamp_min(TINY).log()
    parts = [F.kl_div(middle, shares, reduction="none") for shares in (first, second)]
    return torch.stack(parts).sum((0, -2, -1)) / 2
