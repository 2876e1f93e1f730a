"""The spine as a chain: all landmarks of an image decided together.

Heatmaps light up neighbouring levels too, so each landmark by itself may jump a level. Here the
candidates of a landmark are the peaks that the heatmaps of its kind (disc or vertebra) show
anywhere, and a path picks one candidate for each landmark, head to foot::

    score = heatmap_weight * sum log heatmap - prior_weight/2 * sum |from coordinates / sigma|^2
          - chain_weight * (TAIL + 2)/2 * sum log(1 + distance^2 / TAIL)

with the Mahalanobis distance of each step, turned and scaled, from the mean one. The last term is
Student's distribution: a collapsed vertebra is rare, not impossible.

The coordinates know the levels by the sacrum: they have one weight on paths whose last landmark is
in view and another one, fitted too, where it is not. A run of landmarks at either end may be
absent, at a fixed score each, and at a price for every millimetre that its first one, one mean step
further, would lie within the image. Paths are scored exactly, by dynamic programming: the best one
(Viterbi) gives the points, the sum over all of them (forward and backward) gives each landmark's
probability. Sizes and leanings of spines differ, so the steps are compared after every turn and
scaling of a small grid, each with its own prior probability.

Symbols: B images, N landmarks, K candidates, G hypotheses (last landmark in view or not, times the
grid of turns and scalings), S = K + 2 states (the last two: absent above the first, below the last
landmark in view). Grids have their axes along rows and columns; spacing is (between rows, between
columns) in mm.

Source: Tompson 2014, arXiv 1406.2984 (a graphical model over a network's heatmaps); Rabiner 1989,
doi 10.1109/5.18626 (the recursions); Lange 1989, doi 10.2307/2290063 (Student's distribution).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spine_monai.candidates import Candidates, find_candidates

ALIGNMENTS = 10  # rounds, after which the mean step stands still
TAIL = 20.0  # degrees of freedom of the steps' distribution
FLOOR_LOG_HEAT = -12.0  # what is darker is equally dark
SCALES = (0.75, 0.87, 1.0, 1.15, 1.32)
TURNS_RAD = tuple(math.radians(degrees) for degrees in (-24.0, -12.0, 0.0, 12.0, 24.0))
SCALE_SPREAD = 0.12  # of the logarithm
TURN_SPREAD_RAD = math.radians(10.0)
IMPOSSIBLE = -1e6


class Beliefs(NamedTuple):
    """What the chain says of B images.

    Args:
        states: (B, N) state of each landmark on the best path; K and K + 1 mean absent.
        probabilities: (B, N, S) of each state, summed over all paths.
    """

    states: Tensor
    probabilities: Tensor


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
        self.register_buffer("chain_mean_mm", torch.full((steps, 2), torch.nan))
        self.register_buffer("chain_cov_mm2", torch.full((steps, 2, 2), torch.nan))

    @property
    def is_fitted(self) -> bool:
        """Whether the steps' statistics are known."""
        return bool(torch.isfinite(self.chain_mean_mm).all())

    def candidates(self, logits: Tensor, spacing_mm: Tensor) -> Candidates:
        """Return the candidates of (B, N, H, W) logits; see ``find_candidates``."""
        return find_candidates(logits, torch.tensor(self.groups), spacing_mm)

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
            (B, G, N, S) scores of the states, and (B, G, N - 1, S, S) scores of the moves.

        Raises:
            ValueError: the steps' statistics are not known.
        """
        if not self.is_fitted:
            msg = "the chain's statistics must be known: got NaN. Fit the chain, or load it."
            raise ValueError(msg)
        offsets_mm = (candidates.points_ij - predicted_ij[:, :, None]) * spacing_mm[:, None, None]
        strays = (offsets_mm / prior_sigma_mm[:, None]).square().sum(-1)
        heat = self.heatmap_weight.abs() * candidates.log_heat.clamp_min(FLOOR_LOG_HEAT)
        heat = heat.masked_fill(~candidates.is_there, IMPOSSIBLE)
        in_view = self._states(heat - 0.5 * self.prior_weight.abs() * strays)
        cut = self._states(heat - 0.5 * self.cut_prior_weight.abs() * strays)
        points_mm = candidates.points_ij * spacing_mm[:, None, None]
        steps = points_mm[:, 1:, None, :] - points_mm[:, :-1, :, None]  # from k to l
        moves = transitions(self._step_scores(steps))
        if view_ij is not None:
            moves = moves + self._unseen_scores(points_mm, view_ij * spacing_mm[:, None])
        return _by_end(in_view, cut, moves.shape[1]), torch.cat([moves, moves], 1)

    def _states(self, candidate_scores: Tensor) -> Tensor:
        """(B, N, S) of (B, N, K) scores, with those of being absent."""
        shape = (*candidate_scores.shape[:2], 1)
        above, below = self.absent_above.expand(shape), self.absent_below.expand(shape)
        return torch.cat([candidate_scores, above, below], -1)

    def _step_scores(self, steps_mm: Tensor) -> Tensor:
        """(B, G, N - 1, K, K) of (B, N - 1, K, K, 2) steps, the grid's own prior left out."""
        whiten = torch.linalg.inv(torch.linalg.cholesky(self.chain_cov_mm2))
        whiten_turned = torch.einsum("nij,gjk->gnik", whiten, similarity_grid(steps_mm))
        mean = torch.einsum("nij,nj->ni", whiten, self.chain_mean_mm)
        strays = torch.einsum("gnij,bnklj->bgnkli", whiten_turned, steps_mm) - mean[:, None, None]
        surprise = (strays.square().sum(-1) / TAIL).log1p()
        return -0.5 * (TAIL + 2) * self.chain_weight.abs() * surprise

    def _unseen_scores(self, points_mm: Tensor, view_mm: Tensor) -> Tensor:
        """(B, G, N - 1, S, S) scores of turning absent where the next landmark would be in view."""
        mean = torch.linalg.inv(similarity_grid(points_mm)) @ self.chain_mean_mm.mT  # (G, 2, N - 1)
        ahead = mean.mT[:, :, None]
        below = _depth(points_mm[:, None, :-1] + ahead, view_mm)
        above = _depth(points_mm[:, None, 1:] - ahead, view_mm)
        count = points_mm.shape[2]
        price = points_mm.new_zeros((*below.shape[:3], count + 2, count + 2))
        price[..., :count, count + 1] = below
        price[..., count, :count] = above
        return -self.unseen_weight.abs() * price

    def log_partition(self, states: Tensor, moves: Tensor) -> Tensor:
        """Return (B,) the logarithm of the summed paths' scores."""
        return forward_scores(states, moves)[:, :, -1].logsumexp(-1).logsumexp(-1)

    @torch.no_grad()
    def decide(self, states: Tensor, moves: Tensor) -> Beliefs:
        """Find the best path and each state's probability.

        Args:
            states: (B, G, N, S) scores.
            moves: (B, G, N - 1, S, S) scores.
        """
        forward = forward_scores(states, moves)
        backward = backward_scores(states, moves)
        joint = (forward + backward).logsumexp(1)
        return Beliefs(best_path(states, moves), joint.softmax(-1))


def similarity_grid(like: Tensor) -> Tensor:
    """Return (G, 2, 2) matrices that undo each turn and scaling of the grid."""
    matrices = [
        [[math.cos(t) / s, math.sin(t) / s], [-math.sin(t) / s, math.cos(t) / s]]
        for s in SCALES
        for t in TURNS_RAD
    ]
    return like.new_tensor(matrices)


def similarity_log_prior(like: Tensor) -> Tensor:
    """Return (G,) logarithms of the grid's prior probabilities."""
    energies = [
        -0.5 * ((math.log(s) / SCALE_SPREAD) ** 2 + (t / TURN_SPREAD_RAD) ** 2)
        for s in SCALES
        for t in TURNS_RAD
    ]
    return like.new_tensor(energies).log_softmax(0)


def transitions(steps: Tensor) -> Tensor:
    """Return (B, G, N - 1, S, S) scores of steps between states, absent ones included.

    Absent above leads to itself or to a candidate; a candidate to a candidate or to absent below;
    absent below only to itself.
    """
    count = steps.shape[-1]
    full = steps.new_full((*steps.shape[:-2], count + 2, count + 2), IMPOSSIBLE)
    full[..., :count, :count] = steps
    full[..., count, : count + 1] = 0.0
    full[..., :count, count + 1] = 0.0
    full[..., count + 1, count + 1] = 0.0
    return full


def forward_scores(states: Tensor, moves: Tensor) -> Tensor:
    """Return (B, G, N, S): log of the summed paths that end in each state, that state included."""
    current = _first_scores(states, moves)
    rows = [current]
    for landmark in range(1, states.shape[2]):
        reached = (current[..., :, None] + moves[:, :, landmark - 1]).logsumexp(-2)
        current = reached + states[:, :, landmark]
        rows.append(current)
    return torch.stack(rows, 2)


def backward_scores(states: Tensor, moves: Tensor) -> Tensor:
    """Return (B, G, N, S): log of the summed paths that go on from each state."""
    current = torch.zeros_like(moves[:, :, 0, :, 0])
    rows = [current]
    for landmark in range(states.shape[2] - 1, 0, -1):
        ahead = current + states[:, :, landmark]
        current = (moves[:, :, landmark - 1] + ahead[..., None, :]).logsumexp(-1)
        rows.append(current)
    return torch.stack(rows[::-1], 2)


def best_path(states: Tensor, moves: Tensor) -> Tensor:
    """Return (B, N) states of the path with the highest score, over all turns and scalings."""
    current = _first_scores(states, moves)
    sources = []
    for landmark in range(1, states.shape[2]):
        best = (current[..., :, None] + moves[:, :, landmark - 1]).max(-2)
        sources.append(best.indices)
        current = best.values + states[:, :, landmark]
    images = torch.arange(len(states), device=states.device)
    grid = current.amax(-1).argmax(-1)
    state = current[images, grid].argmax(-1)
    path = [state]
    for source in reversed(sources):
        state = source[images, grid, state]
        path.append(state)
    return torch.stack(path[::-1], 1)


def _by_end(in_view: Tensor, cut: Tensor, grid: int) -> Tensor:
    """(B, G, N, S) states: first the last landmark a candidate, then certainly absent below.

    So at least one landmark is in view; paths without any would be cheap, and say nothing.
    """
    is_out = torch.zeros((2, *in_view.shape[1:]), dtype=torch.bool, device=in_view.device)
    is_out[0, :, -1] = True
    is_out[0, -1, -2] = True
    is_out[1, -1, :-1] = True
    ends = torch.stack([in_view, cut], 1).masked_fill(is_out, IMPOSSIBLE)
    return ends.repeat_interleave(grid, 1)


def _first_scores(states: Tensor, moves: Tensor) -> Tensor:
    """(B, G, S) of the first landmark with the grid's prior; no path begins absent below."""
    prior = similarity_log_prior(states)
    prior = prior.repeat(moves.shape[1] // len(prior))
    current = states[:, :, 0] + prior[:, None]
    return torch.cat([current[..., :-1], torch.full_like(current[..., -1:], IMPOSSIBLE)], -1)


def _depth(points_mm: Tensor, view_mm: Tensor) -> Tensor:
    """(...) how far points of (B, ..., 2) lie within the edges of the (B, 2, 2) view; 0 outside."""
    first, last = (view_mm[:, edge, None, None, None] for edge in (0, 1))
    inwards = torch.minimum(points_mm - first, last - points_mm)
    return inwards.amin(-1).clamp_min(0)


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
