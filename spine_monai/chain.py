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

Symbols: B images, N landmarks, K candidates, E ends (the last landmark in view, or not), G turns
and scalings of the grid, S = K + 2 states (the last two: absent above the first, below the last
landmark in view). A hypothesis is an end with a turn and scaling. Grids have their axes along rows
and columns; spacing is (between rows, between columns) in mm.

Source: Tompson 2014, arXiv 1406.2984 (a graphical model over a network's heatmaps); Rabiner 1989,
doi 10.1109/5.18626 (the recursions); Lange 1989, doi 10.2307/2290063 (Student's distribution).
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spine_monai.candidates import Candidates, find_candidates
from spine_monai.fusion.windows import is_graph, may_look

ALIGNMENTS = 10  # rounds, after which the mean step stands still
TAIL = 20.0  # degrees of freedom of the steps' distribution
FLOOR_LOG_HEAT = -12.0  # what is darker is equally dark
SCALES = (0.75, 0.87, 1.0, 1.15, 1.32)
TURNS_RAD = tuple(math.radians(degrees) for degrees in (-24.0, -12.0, 0.0, 12.0, 24.0))
SCALE_SPREAD = 0.12  # of the logarithm
TURN_SPREAD_RAD = math.radians(10.0)
IMPOSSIBLE = -1e6
LEAST = -620.0  # logarithm of the least chance of a move; of those that are impossible, too


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
        view; paths without any would be cheap, and say nothing.
        """
        weights = torch.stack([self.prior_weight, self.cut_prior_weight]).abs()
        seen = heat[:, None] - 0.5 * weights[:, None, None] * strays[:, None]
        absent = torch.stack([self.absent_above, self.absent_below]).expand(*seen.shape[:3], 2)
        scores = torch.cat([seen, absent], -1)
        scores[:, 0, :, -1] = IMPOSSIBLE
        scores[:, 0, -1, -2] = IMPOSSIBLE
        scores[:, 1, -1, :-1] = IMPOSSIBLE
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


def similarity_grid(*, undo: bool = False) -> Tensor:
    """Return (G, 2, 2) matrices that do each turn and scaling of the grid, or undo them."""
    matrices = []
    for scale, turn in product(SCALES, TURNS_RAD):
        size, angle = (1 / scale, -turn) if undo else (scale, turn)
        cos, sin = size * math.cos(angle), size * math.sin(angle)
        matrices.append([[cos, -sin], [sin, cos]])
    return torch.tensor(matrices)


def similarity_log_prior(like: Tensor) -> Tensor:
    """Return (G,) logarithms of the grid's prior probabilities."""
    energies = [
        -0.5 * ((math.log(scale) / SCALE_SPREAD) ** 2 + (turn / TURN_SPREAD_RAD) ** 2)
        for scale, turn in product(SCALES, TURNS_RAD)
    ]
    total = math.log(sum(math.exp(energy) for energy in energies))
    return like.new_tensor([energy - total for energy in energies])


def transitions(steps: Tensor) -> Tensor:
    """Return (B, G, N - 1, S, S) scores of steps between states, absent ones included.

    Absent above leads to itself or to a candidate; a candidate to a candidate or to absent below;
    absent below only to itself.
    """
    images, grid, moves, count, _ = steps.shape
    full = steps.new_full((moves, count + 2, images, grid, count + 2), IMPOSSIBLE)
    full = full.permute(2, 3, 0, 1, 4)  # so that sums and maxima run over what lies far apart
    full[..., :count, :count] = steps
    full[..., count, : count + 1] = 0.0
    full[..., :count, count + 1] = 0.0
    full[..., count + 1, count + 1] = 0.0
    return full


def forward_scores(states: Tensor, moves: Tensor) -> list[Tensor]:
    """Return N (B, G, E, S): log of the summed paths that end in each state, that one included."""
    rows, steps = _steps(states, moves)
    for own, move in steps:
        rows.append((move + rows[-1].unsqueeze(0).transpose(0, -1)).logsumexp(0) + own)
    return rows


def best_scores(states: Tensor, moves: Tensor) -> Tensor:
    """Return (N, B, G, E, S): score of the best path to each state, that one included."""
    rows, steps = _steps(states, moves)
    for own, move in steps:
        rows.append((move + rows[-1].unsqueeze(0).transpose(0, -1)).amax(0) + own)
    return torch.stack(rows)


def best_path(best: Tensor, moves: Tensor) -> Tensor:
    """Return (B, N) states of the path with the highest score, over all hypotheses."""
    ends = best.shape[3]
    hypothesis = best[-1].amax(-1).flatten(1).argmax(-1)
    images = torch.arange(moves.shape[0], device=moves.device)
    scores = best.flatten(2, 3)[:, images, hypothesis]  # (N, B, S)
    own_moves = moves[images, torch.div(hypothesis, ends, rounding_mode="floor")]
    sources = (own_moves.transpose(0, 1) + scores[:-1].unsqueeze(-1)).argmax(-2)
    path = [scores[-1].argmax(-1, keepdim=True)]
    for source in reversed(sources.unbind(0)):
        path.append(source.gather(-1, path[-1]))
    return torch.cat(path[::-1], 1)


def state_probabilities(best: Tensor, states: Tensor, moves: Tensor) -> Tensor:
    """Return (B, N, S) probabilities of the states, summed over all paths of all hypotheses.

    Forwards, the sums over the paths that end in a state, in units of the best score of any state
    there: so they neither overflow nor vanish together. Backwards, the share of each in what was
    reached from it. Both in double precision, which holds what is less likely by exp(-600).
    """
    chances = _chances(moves)
    units = best.amax(-1, keepdim=True).double()
    own = states.permute(2, 0, 1, 3)[1:, :, None].double()
    shares = (own - units.diff(dim=0)).exp_().flatten(1, 2)
    sums, reached = [(best[0].double() - units[0]).exp_().flatten(0, 1)], []
    for chance, share in zip(chances.unbind(0), shares.unbind(0), strict=True):
        reached.append(torch.bmm(sums[-1], chance))
        sums.append(reached[-1] * share)
    beliefs = [_per_image(sums[-1], units[-1])]
    backwards = zip(
        sums[-2::-1], chances.transpose(-2, -1).unbind(0)[::-1], reached[::-1], strict=True
    )
    for start, chance, end in backwards:
        beliefs.append(torch.bmm(beliefs[-1] / end, chance) * start)
    per_hypothesis = torch.stack(beliefs[::-1], 1)  # (B G, N, E, S)
    return per_hypothesis.unflatten(0, best.shape[1:3]).sum((1, 3)).to(states.dtype)


def _chances(moves: Tensor) -> Tensor:
    """(N - 1, B G, S, S) exponentials of the moves' scores in double precision.

    By way of eighth roots, which single precision holds, for its exponentials are fast.
    """
    roots = (moves.permute(2, 3, 0, 1, 4) / 8).clamp_min_(LEAST / 8).exp_()
    return roots.flatten(2, 3).transpose(1, 2).double().square_().square_().square_()


def _per_image(sums: Tensor, units: Tensor) -> Tensor:
    """(B G, E, S) shares in each image of sums in (B, G, E, 1) units."""
    scale = (units - units.amax((1, 2), keepdim=True)).exp_()
    total = (sums.view(*units.shape[:3], -1) * scale).sum((1, 2, 3), keepdim=True)
    return sums * (scale / total).flatten(0, 1)


def _steps(states: Tensor, moves: Tensor) -> tuple[list[Tensor], list[tuple[Tensor, Tensor]]]:
    """Scores of the first landmark, (B, G, E, S), and of each other one with the move to it.

    Those are (B, 1, E, S) and (S, B, G, 1, S), from state to state. The grid's prior is with the
    first landmark; no path begins absent below.
    """
    first, *others = states[:, None].unbind(3)
    first = first + similarity_log_prior(states)[:, None, None]
    first[..., -1] = IMPOSSIBLE
    by_landmark = moves.permute(2, 3, 0, 1, 4).unsqueeze(-2).unbind(0)
    return [first], list(zip(others, by_landmark, strict=True))


def _inverse_root(covariances: Tensor) -> Tensor:
    """(..., 2, 2) lower triangles L with L C L' = 1; in closed form, as graphs have no Cholesky."""
    first = covariances[..., 0, 0].rsqrt()
    slope = covariances[..., 1, 0] * first
    second = (covariances[..., 1, 1] - slope.square()).rsqrt()
    entries = [first, torch.zeros_like(first), -slope * first * second, second]
    return torch.stack(entries, -1).unflatten(-1, (2, 2))


def _depths(points_mm: Tensor, ahead_mm: Tensor, view_mm: Tensor) -> Tensor:
    """(2, B, G, N - 1, K) how far what comes next lies within the (B, 2, 2) view; 0 outside.

    First what is below each landmark but the last, then what is above each but the first.
    """
    ends = torch.stack([points_mm[:, :-1], points_mm[:, 1:]]).unsqueeze(2)
    first, last = view_mm[:, None, None, None].unbind(-2)
    hidden = ends + ahead_mm
    return torch.minimum(hidden - first, last - hidden).amin(-1).clamp_min(0)


def _charge(moves: Tensor, prices: Tensor) -> None:
    """Lower the scores of turning absent by (2, B, G, N - 1, K) prices, below and above."""
    below, above = (-prices).unbind(0)
    count = prices.shape[-1]
    moves[..., :count, count + 1] = below
    moves[..., count, :count] = above


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
