"""How the steps of a spine scatter about the mean ones."""

import torch
from torch import Tensor

ALIGNMENTS = 10  # rounds, after which the mean step stands still


def offset_statistics(points_mm: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean step from each landmark to the next, and how steps scatter about it.

    Each subject's steps are first turned and scaled onto the mean ones, as the chain does. The mean
    ones have the subjects' mean size and direction, about which the grid of the chain is centred.

    Args:
        points_mm: (M, N, 2) of M subjects, along rows and columns; NaN where not annotated.

    Returns:
        (N - 1, 2) means in mm and (N - 1, 2, 2) covariances in mm^2. A step that no subject has is
        taken to be like the nearest one that some have.

    Raises:
        ValueError: no subject has two neighbouring landmarks.
    """
    steps = points_mm.diff(dim=1)
    steps = steps[torch.isfinite(steps).all(-1).any(-1)]
    steps = steps[:, _nearest_known(torch.isfinite(steps).all(-1).any(0))]
    is_known = torch.isfinite(steps).all(-1)
    own = torch.view_as_complex(steps.masked_fill(~is_known[..., None], 0.0))
    count = is_known.sum(0)
    mean = own.sum(0) / count
    for _ in range(ALIGNMENTS):
        aligned = own * _onto(own, mean)[:, None]
        mean = aligned.sum(0) / count
    residuals = torch.view_as_real(aligned - mean).masked_fill(~is_known[..., None], 0.0)
    scatter = torch.einsum("mni,mnj->nij", residuals, residuals)
    covariance = scatter / (count - 1).clamp_min(1)[:, None, None]
    pooled = covariance.mean(0)  # few subjects cannot tell the steps' covariances apart
    ridge = torch.eye(2, dtype=steps.dtype, device=steps.device)
    return torch.view_as_real(mean), 0.5 * covariance + 0.5 * pooled + ridge


def _nearest_known(is_known: Tensor) -> Tensor:
    """(N - 1,) number of the nearest known step of each step."""
    known = torch.nonzero(is_known)[:, 0]
    if not len(known):
        msg = "points must show the steps of the chain: no case has two neighbouring landmarks."
        raise ValueError(msg)
    places = torch.arange(len(is_known), device=is_known.device)
    return known[(places[:, None] - known).abs().argmin(-1)]


def _onto(own: Tensor, mean: Tensor) -> Tensor:
    """(M,) complex factors that turn and scale (M, N - 1) steps onto the mean ones.

    By least squares over the known steps, the others being zero; then without what they have in
    common, for noise makes least squares shrink.
    """
    factors = (own.conj() * mean).sum(1) / own.abs().square().sum(1)
    return factors / factors.log().mean().exp()
