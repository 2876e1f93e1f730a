"""Both networks' outputs to landmarks: the fusion scores, the chain decides.

``fusion.pt`` holds the weights of ``JointFusion``.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spine_monai.candidates import Candidates
from spine_monai.chain import IMPOSSIBLE, SpineChain
from spine_monai.fusion import FusedPoints, FusionModel, is_finite, place, without_gradients
from spine_monai.landmarks import HIT_RADIUS_MM

RIVAL_MM = 12.0  # a candidate further than this is at another level
OWN_MM = 6.0  # a candidate this close to the truth is the landmark
FIT_ITERATIONS = 15
FIT_TOLERANCE = 1e-6  # of the loss; what single precision can tell
RESTRAINT = 0.01  # pulls the fitted weights towards where they start, per image


class Evidence(NamedTuple):
    """What is known of M held-out images when the chain is fitted.

    Args:
        candidates: of the images.
        predicted_ij: (M, N, 2) points of the coordinate network.
        spacing_mm: (M, 2).
        allowed: (M, N, S) states that may be true.
        view_ij: (M, 2, 2) first and last pixel that show the image, or ``None``.
    """

    candidates: Candidates
    predicted_ij: Tensor
    spacing_mm: Tensor
    allowed: Tensor
    view_ij: Tensor | None = None


class JointFusion(nn.Module):
    """Heatmap times Gaussian for each landmark, and the chain over all of them.

    Args:
        groups: (N,) number of each landmark's kind.
        prior_sigma_mm: given value to start from, in mm.
        target_sigma_mm: standard deviation of the heatmap network's peaks, in mm.
    """

    def __init__(
        self,
        groups: Sequence[int],
        *,
        prior_sigma_mm: float = 15.0,
        target_sigma_mm: float = 3.5,
    ) -> None:
        super().__init__()
        self.fusion = FusionModel(
            len(groups), prior_sigma_mm=prior_sigma_mm, target_sigma_mm=target_sigma_mm
        )
        self.chain = SpineChain(groups)

    @property
    def is_calibrated(self) -> bool:
        """Whether the radius was calibrated on held-out subjects."""
        return self.fusion.is_calibrated

    def forward(self, logits: Tensor, predicted_ij: Tensor, spacing_mm: Tensor) -> Tensor:
        """Return (B, N, H, W) log Q of each landmark by itself; see ``FusionModel``."""
        belief: Tensor = self.fusion(logits, predicted_ij, spacing_mm)
        return belief

    @without_gradients
    def decode(
        self,
        logits: Tensor,
        predicted_ij: Tensor,
        spacing_mm: Tensor,
        view_ij: Tensor | None = None,
    ) -> FusedPoints:
        """Find the landmarks; arguments as for ``fusion.log_product``.

        Args:
            logits: (B, N, H, W) heatmap logits.
            predicted_ij: (B, N, 2) points of the coordinate network, in pixels of this grid.
            spacing_mm: (B, 2) spacing of the grid.
            view_ij: (B, 2, 2) first and last pixel that show the image, not padding, if known.

        Returns:
            Points, NaN where a landmark is absent; their confidence is the chain's probability of
            the candidates within 8 mm.
        """
        logits, is_given = logits.contiguous(), torch.isfinite(predicted_ij).all(-1)
        predicted_ij = predicted_ij.nan_to_num(0.0)
        product = self.fusion.factors(logits, predicted_ij, spacing_mm)
        is_usable = (is_given & is_finite(product)).all(-1, keepdim=True) & self.chain.knows_steps()
        log_mass = self.fusion.log_masses(product)
        candidates = self.chain.candidates(logits, spacing_mm)
        sigma_mm = self.fusion.prior_sigma_mm
        scores = self.chain.scores(candidates, predicted_ij, sigma_mm, spacing_mm, view_ij)
        beliefs = self.chain.decide(*scores)
        chosen_ij = _chosen(candidates, beliefs.states)
        is_known = torch.isfinite(chosen_ij).all(-1) & is_usable
        points_ij = place(product, chosen_ij.nan_to_num(0.0), spacing_mm)
        points_ij = points_ij.masked_fill(~is_known[..., None], torch.nan)
        fused = self.fusion.judge(product, points_ij, spacing_mm, log_mass)
        is_unknown = torch.isnan(fused.points_ij).any(-1)
        distances_mm = _distances_mm(candidates, fused.points_ij, spacing_mm)
        near, is_rival = distances_mm <= HIT_RADIUS_MM, distances_mm > RIVAL_MM
        rival_heat = (candidates.log_heat.exp() * (is_rival & candidates.is_there)).amax(-1)
        confidence = (beliefs.probabilities[..., : near.shape[-1]] * near).sum(-1).clamp_max(1.0)
        return fused._replace(
            confidence=confidence.masked_fill(is_unknown, torch.nan),
            rival_heat=rival_heat.masked_fill(is_unknown, torch.nan),
        )


def gather_evidence(
    candidates: Candidates,
    predicted_ij: Tensor,
    spacing_mm: Tensor,
    points_ij: Tensor,
    in_view: Tensor,
    view_ij: Tensor | None = None,
) -> Evidence:
    """Say which candidates of held-out images may be true.

    Args:
        candidates: of M images.
        predicted_ij: (M, N, 2) points of the coordinate network.
        spacing_mm: (M, 2).
        points_ij: (M, N, 2) true points; NaN where not annotated.
        in_view: (M, N) whether the true point lies within the image.
        view_ij: (M, 2, 2) first and last pixel that show the image, if known.
    """
    is_own = _distances_mm(candidates, points_ij, spacing_mm) <= OWN_MM
    is_annotated = torch.isfinite(points_ij).all(-1)
    allowed = _allowed(is_own & candidates.is_there, in_view, is_annotated)
    return Evidence(candidates, predicted_ij, spacing_mm, allowed, view_ij)


def fit_chain(joint: JointFusion, evidence: Sequence[Evidence]) -> float:
    """Fit the chain's weights: the likelihood of the true states of held-out images.

    The steps' statistics must be in place. Returns the mean negative logarithm of the likelihood;
    every image weighs the same.

    Source: Lafferty 2001 (conditional random fields), ICML 2001, 282-289.
    """
    chain, start = joint.chain, [w.detach().clone() for w in joint.chain.parameters()]
    weights = list(chain.parameters())
    images = sum(len(piece.allowed) for piece in evidence)
    optimizer = torch.optim.LBFGS(
        weights,
        lr=0.5,
        max_iter=FIT_ITERATIONS,
        tolerance_change=FIT_TOLERANCE,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        pulls = [(w - s).square() for w, s in zip(weights, start, strict=True)]
        total = RESTRAINT * torch.stack(pulls).sum()
        torch.autograd.backward(total)
        for piece in evidence:  # one graph at a time; together they would fill the memory
            surprise = _surprise(joint, piece) / images
            torch.autograd.backward(surprise)
            total = total.detach() + surprise.detach()
        return total

    optimizer.step(closure)
    with torch.no_grad():
        for name, weight in chain.named_parameters():
            if name.endswith("weight"):  # of which only the size counts
                weight.abs_()
        return sum(float(_surprise(joint, piece)) for piece in evidence) / images


def _surprise(joint: JointFusion, evidence: Evidence) -> Tensor:
    """Negative logarithm of the true states' likelihood, summed over the images."""
    candidates, predicted_ij, spacing_mm, allowed, view_ij = evidence
    chain, sigma_mm = joint.chain, joint.fusion.prior_sigma_mm.detach()
    states, moves = chain.scores(candidates, predicted_ij, sigma_mm, spacing_mm, view_ij)
    true = states.masked_fill(~allowed[:, None], IMPOSSIBLE)
    return (chain.log_partition(states, moves) - chain.log_partition(true, moves)).sum()


def _allowed(is_own: Tensor, in_view: Tensor, is_annotated: Tensor) -> Tensor:
    """(M, N, S): in view the own candidates, or every one where there are none; else absent.

    What is not annotated may be in view or not. What is out of view between landmarks in view, or
    in an image without any, may be anything, for the chain knows no such absence.
    """
    is_below_seen = in_view.cummax(-1).values
    is_above_seen = in_view.flip(-1).cummax(-1).values.flip(-1)
    is_empty = ~in_view.any(-1, keepdim=True)
    may_be_seen = in_view | ~is_annotated | (is_below_seen & is_above_seen) | is_empty
    candidates = (is_own | ~is_own.any(-1, keepdim=True)) & may_be_seen[..., None]
    return torch.cat([candidates, ~is_below_seen[..., None], ~is_above_seen[..., None]], -1)


def _chosen(candidates: Candidates, states: Tensor) -> Tensor:
    """(B, N, 2) pixels of the states; NaN where absent."""
    count = candidates.points_ij.shape[2]
    index = states.clamp_max(count - 1)[..., None, None].expand(*states.shape, 1, 2)
    points = candidates.points_ij.gather(2, index)[:, :, 0]
    return points.masked_fill((states >= count)[..., None], torch.nan)


def _distances_mm(candidates: Candidates, points_ij: Tensor, spacing_mm: Tensor) -> Tensor:
    offsets = (candidates.points_ij - points_ij[:, :, None]) * spacing_mm[:, None, None]
    return offsets.norm(dim=-1)
