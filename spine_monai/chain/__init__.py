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

from spine_monai.chain.model import FLOOR_LOG_HEAT, TAIL, Beliefs, SpineChain
from spine_monai.chain.paths import (
    IMPOSSIBLE,
    SCALE_SPREAD,
    SCALES,
    TURN_SPREAD_RAD,
    TURNS_RAD,
    best_path,
    best_scores,
    forward_scores,
    similarity_grid,
    similarity_log_prior,
    state_probabilities,
    transitions,
)
from spine_monai.chain.statistics import offset_statistics

__all__ = [
    "FLOOR_LOG_HEAT",
    "IMPOSSIBLE",
    "SCALES",
    "SCALE_SPREAD",
    "TAIL",
    "TURNS_RAD",
    "TURN_SPREAD_RAD",
    "Beliefs",
    "SpineChain",
    "best_path",
    "best_scores",
    "forward_scores",
    "offset_statistics",
    "similarity_grid",
    "similarity_log_prior",
    "state_probabilities",
    "transitions",
]
