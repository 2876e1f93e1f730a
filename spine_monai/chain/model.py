"""The scores of the chain, with what is fitted of them as weights."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spine_monai.candidates import Candidates, find_candidates
from spine_monai.chain.paths import (
    IMPOSSIBLE,
    best_path,
    best_scores,
    forward_scores,
    similarity_grid,
    state_probabilities,
    transitions,
)
from spine_monai.fusion.windows import is_graph, may_look

TAIL = 20.0  # degrees of freedom of the steps' distribution
FLOOR_LOG_HEAT = -12.0  # what is darker is equally dark
# The greatest price of an absence. It is as good as impossible, and leaves the probabilities room:
# they take the exponential of what a step costs at least, and double precision holds that of 709.
DEAREST = 500.0


class Beliefs(NamedTuple):
    """What the chain says of B images.

    Args:
        states: (B, N) state of each landmark on the best path; K and K + 1 mean absent.
        probabilities: (B, N, S) of each state, summed over all paths.
    """

    states: Tensor
    probabilities: Tensor


class SpineChain(nn.Module):
    """The chain with what is fitted of it as weights.

    Args:
        groups: (N,) number of each landmark's kind, such as 0 for discs and 1 for vertebrae.

    Weights, of which only the size counts: ``heatmap_weight``, ``prior_weight``,
    ``cut_prior_weight`` (instead, where the last landmark is not in view), ``chain_weight`` and
    ``unseen_weight`` (per mm); ``absent_above`` and ``absent_below`` (scores). Statistics, NaN
    until ``offset_statistics`` are put in: ``chain_mean_mm`` (N - 1, 2) and ``chain_cov_mm2``
    (N - 1, 2, 2).
    """

    turns: Tensor
    undone_turns: Tensor
    chain_mean_mm: Tensor
    chain_cov_mm2: Tensor

    def __init__(self, groups: Sequence[int]) -> None:
        super().__init__()
        steps = len(groups) - 1
        self.groups = tuple(groups)
        self.heatmap_weight = nn.Parameter(torch.tensor(0.5))
        self.prior_weight = nn.Parameter(torch.tensor(0.2))
        self.cut_prior_weight = nn.Parameter(torch.tensor(0.02))
        self.chain_weight = nn.Parameter(torch.tensor(0.5))
        self.unseen_weight = nn.Parameter(torch.tensor(0.2))
        self.absent_above = nn.Parameter(torch.tensor(-4.0))
        self.absent_below = nn.Parameter(torch.tensor(-4.0))
        self.register_buffer("turns", similarity_grid(), persistent=False)
        self.register_buffer("undone_turns", similarity_grid(undo=True), persistent=False)
        self._prepared: tuple[tuple[object, ...], tuple[Tensor, Tensor]] | None = None
        self.register_buffer("chain_mean_mm", torch.full((steps, 2), torch.nan))
        self.register_buffer("chain_cov_mm2", torch.full((steps, 2, 2), torch.nan))

    @property
    def is_fitted(self) -> bool:
        """Whether the steps' statistics are known."""
        return bool(self.knows_steps())

    def knows_steps(self) -> Tensor:
        """Return whether the steps' statistics are known, without waiting for a GPU's answer."""
        return torch.isfinite(self.chain_mean_mm).all()

    def candidates(self, logits: Tensor, spacing_mm: Tensor) -> Candidates:
        """Return the candidates of (B, N, H, W) logits; see ``find_candidates``."""
        return find_candidates(logits, self.groups, spacing_mm)

    def scores(
        self,
        candidates: Candidates,
        predicted_ij: Tensor,
        prior_sigma_mm: Tensor,
        spacing_mm: Tensor,
        view_ij: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Score every state and every move from one to the next.

        Args:
            candidates: of B images.
            predicted_ij: (B, N, 2) points of the coordinate network.
            prior_sigma_mm: (N, 2) how far those stray along rows and columns.
            spacing_mm: (B, 2).
            view_ij: (B, 2, 2) first and last pixel of the grid that show the image, not padding;
                ``None`` where that is not known, and absence costs nothing more.

        Returns:
            (B, E, N, S) scores of the states, and (B, G, N - 1, S, S) scores of the moves.

        Raises:
            ValueError: the steps' statistics are not known.
        """
        factors, ahead_mm = self._prepare()
        points_mm = candidates.points_ij * spacing_mm[:, None, None]
        offsets_mm = points_mm - (predicted_ij * spacing_mm[:, None])[:, :, None]
        strays = (offsets_mm / prior_sigma_mm[:, None]).square().sum(-1)
        heat = self.heatmap_weight.abs() * candidates.log_heat.clamp_min(FLOOR_LOG_HEAT)
        heat = heat.masked_fill(~candidates.is_there, IMPOSSIBLE)
        moves = transitions(self._step_scores(points_mm, factors))
        if view_ij is not None:
            depths_mm = _depths(points_mm, ahead_mm, view_ij * spacing_mm[:, None])
            _charge(moves, self.unseen_weight.abs() * depths_mm)
        return self._states(heat, strays), moves

    def _states(self, heat: Tensor, strays: Tensor) -> Tensor:
        """(B, E, N, S) scores of (B, N, K) candidates and of being absent, for both ends.

        First the last landmark is a candidate, then certainly absent below. So at least one is in
        view; paths without any would be cheap, and say nothing. So would paths that end within the
        first quarter of the landmarks, or begin within the last.
        """
        end = len(self.groups) // 4
        weights = torch.stack([self.prior_weight, self.cut_prior_weight]).abs()
        seen = heat[:, None] - 0.5 * weights[:, None, None] * strays[:, None]
        absent = torch.stack([self.absent_above, self.absent_below]).expand(*seen.shape[:3], 2)
        scores = torch.cat([seen, absent], -1)
        scores[:, 0, :, -1] = IMPOSSIBLE
        scores[:, 0, -1, -2] = IMPOSSIBLE
        scores[:, 1, -1, :-1] = IMPOSSIBLE
        scores[:, :, :end, -1] = IMPOSSIBLE
        scores[:, :, len(self.groups) - end :, -2] = IMPOSSIBLE
        return scores

    def _step_scores(self, points_mm: Tensor, factors: Tensor) -> Tensor:
        """(B, G, N - 1, K, K) of steps between (B, N, K, 2) points, without the grid's prior."""
        count = points_mm.shape[2]
        ends = points_mm.double().permute(1, 3, 0, 2)
        steps = (ends[1:, ..., None, :] - ends[:-1, ..., None]).flatten(2)  # (N - 1, 2, B K K)
        steps = F.pad(steps, (0, 0, 0, 1), value=1.0)
        products = (steps[:, :, None] * steps[:, None]).flatten(1, 2)
        surprise = torch.bmm(factors, products).to(points_mm.dtype).log1p_()
        scores = (-0.5 * (TAIL + 2) * self.chain_weight.abs()) * surprise
        return scores.view(*scores.shape[:2], -1, count, count).permute(2, 1, 0, 3, 4)

    def _prepare(self) -> tuple[Tensor, Tensor]:
        """What ``_factors`` and ``_ahead_mm`` give, kept while the statistics stay as they are."""
        mean, covariance = self.chain_mean_mm, self.chain_cov_mm2
        if is_graph() or mean.is_inference():
            return self._factors(), self._ahead_mm()
        state = (mean, mean._version, covariance, covariance._version)
        kept = self._prepared
        if kept is None or any(a is not b for a, b in zip(kept[0], state, strict=True)):
            if may_look(mean) and not self.is_fitted:
                msg = "the chain's statistics must be known: got NaN. Fit the chain, or load it."
                raise ValueError(msg)
            with torch.inference_mode(mode=False):  # what is kept may be needed with gradients
                kept = self._prepared = (state, (self._factors(), self._ahead_mm()))
        return kept[1]

    def _factors(self) -> Tensor:
        """(N - 1, G, 9) factors that sum products of a step's (down, along, 1) to its surprise.

        That is its squared Mahalanobis distance from the mean over TAIL. In double precision, for
        the sum's terms are much larger than it, and where products of matrices are set to be fast.
        """
        whiten = _inverse_root(self.chain_cov_mm2.double() * TAIL)[:, None]
        mean = whiten @ self.chain_mean_mm.double()[:, None, :, None]
        turned = whiten @ self.undone_turns.double()
        root = torch.cat([turned, -mean.expand(-1, len(self.turns), -1, -1)], -1)
        return (root.transpose(-2, -1) @ root).flatten(-2)

    def _ahead_mm(self) -> Tensor:
        """(2, 1, G, N - 1, 1, 2) steps from the last one in view: down the spine, and up."""
        mean = (self.turns[:, None] * self.chain_mean_mm[:, None]).sum(-1)[None, :, :, None]
        return torch.stack([mean, -mean])

    def log_partition(self, states: Tensor, moves: Tensor) -> Tensor:
        """Return (B,) the logarithm of the summed paths' scores; arguments as for ``decide``."""
        return forward_scores(states, moves)[-1].flatten(1).logsumexp(-1)

    @torch.no_grad()
    def decide(self, states: Tensor, moves: Tensor) -> Beliefs:
        """Find the best path and each state's probability.

        Args:
            states: (B, E, N, S) scores.
            moves: (B, G, N - 1, S, S) scores.
        """
        best = best_scores(states, moves)
        return Beliefs(best_path(best, moves), state_probabilities(best, states, moves))


def _inverse_root(covariances: Tensor) -> Tensor:
    """(..., 2, 2) lower triangles L with L C L' = 1; in closed form, as graphs have no Cholesky."""
    first = covariances[..., 0, 0].rsqrt()
    slope = covariances[..., 1, 0] * first
    second = (covariances[..., 1, 1] - slope.square()).rsqrt()
    entries = [first, torch.zeros_like(first), -slope * first * second, second]
    return torch.stack(entries, -1).unflatten(-1, (2, 2))


def _depths(points_mm: Tensor, ahead_mm: Tensor, view_mm: Tensor) -> Tensor:
    """(2, B, G, N - 1, K) how far what comes next lies within the (B, 2, 2) view; 0 outside.

    First what is below each landmark but the last, which the lower edge hides, then what is above
    each but the first, which the upper one does. No spine leaves its image by a side.
    """
    first, last = view_mm[:, None, None, None, :, 0].unbind(-1)
    ends = torch.stack([points_mm[:, :-1, :, 0], points_mm[:, 1:, :, 0]]).unsqueeze(2)
    below, above = ends + ahead_mm[..., 0]
    return torch.stack([last - below, above - first]).clamp_min(0)


def _charge(moves: Tensor, prices: Tensor) -> None:
    """Lower the scores of turning absent by (2, B, G, N - 1, K) prices, below and above.

    None counts as more than ``DEAREST``.
    """
    below, above = (-prices).clamp_min(-DEAREST).unbind(0)
    count = prices.shape[-1]
    moves[..., :count, count + 1] = below
    moves[..., count, :count] = above
