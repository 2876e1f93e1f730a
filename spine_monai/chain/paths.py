"""Paths through the states of all landmarks: their sums, the best one, and what is likely.

Symbols: B images, N landmarks, K candidates, E ends, G turns and scalings of the grid, S = K + 2
states; see ``spine_monai.chain``.
"""

import math
from itertools import product

import torch
from torch import Tensor

SCALES = (0.75, 0.87, 1.0, 1.15, 1.32)
TURNS_RAD = tuple(math.radians(degrees) for degrees in (-24.0, -12.0, 0.0, 12.0, 24.0))
SCALE_SPREAD = 0.12  # of the logarithm
TURN_SPREAD_RAD = math.radians(10.0)
IMPOSSIBLE = -1e6
LEAST = -620.0  # logarithm of the least chance of a move; of those that are impossible, too


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
