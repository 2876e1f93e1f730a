"""Distances between neighbouring landmarks, measured against what is usual.

A vertebra's landmark and that of the disc below it lie some 18 mm apart. A distance far from usual
shows a landmark on the wrong structure; if all of them are too large or too small by one factor,
the pixel spacing of the image is in doubt.

Each pair has two ranges, both made from the same subjects (``normal_ranges.py``): the plain one in
mm, and one that is scaled to the *size* of the spine: the median, over its distances, of distance
by usual distance. A distance is *unusual* outside both, so that neither a small spine nor one with
a low disc is marked for that alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spine_monai.viz.normal_ranges import NORMAL_MM

Judgement = Literal["usual", "unusual", "far"]
# A landmark on the neighbouring structure makes a distance of about none or twice the usual one;
# the references of the ranges' own subjects deviate by at most a third.
FAR_SHARE = 0.5
USUAL_SIZES = (0.65, 1.35)


@dataclass(frozen=True)
class Normal:
    """What is usual for the distance of one pair of neighbours, in mm.

    Args:
        median_mm: the usual distance.
        plain_mm: 2.5 and 97.5 percentile.
        sized_mm: the same of the distances divided by the size of their spine.
    """

    median_mm: float
    plain_mm: tuple[float, float]
    sized_mm: tuple[float, float]


@dataclass(frozen=True)
class LevelDistance:
    """One measured distance between neighbours.

    Args:
        upper: name of the landmark nearer to the head.
        lower: name of the next one.
        distance_mm: NaN where one of them is absent.
        normal: what is usual; ``None`` where that is not known.
        size: of the spine; 1 is the usual one.
    """

    upper: str
    lower: str
    distance_mm: float
    normal: Normal | None
    size: float

    @property
    def sized_mm(self) -> tuple[float, float] | None:
        """The range of a spine of this size."""
        if self.normal is None:
            return None
        low, high = self.normal.sized_mm
        return low * self.size, high * self.size

    @property
    def judgement(self) -> Judgement | None:
        """``usual``, ``unusual`` (outside both ranges) or ``far``; ``None`` where unknown."""
        if self.normal is None or self.sized_mm is None or np.isnan(self.distance_mm):
            return None
        if abs(self.distance_mm / (self.normal.median_mm * self.size) - 1) > FAR_SHARE:
            return "far"
        ranges = (self.normal.plain_mm, self.sized_mm)
        is_usual = any(low <= self.distance_mm <= high for low, high in ranges)
        return "usual" if is_usual else "unusual"


NORMAL: Mapping[tuple[str, str], Normal] = {pair: Normal(*row) for pair, row in NORMAL_MM.items()}


def measure_levels(names: Sequence[str], points_lps: ArrayLike) -> list[LevelDistance]:
    """Measure the distances of neighbouring landmarks, head to foot.

    Args:
        names: of the N landmarks, in order.
        points_lps: (N, 3) points in mm; NaN where absent.

    Returns:
        N - 1 distances.
    """
    points = np.asarray(points_lps, dtype=np.float64).reshape(-1, 3)
    distances_mm = np.linalg.norm(np.diff(points, axis=0), axis=-1)
    normals = [NORMAL.get(pair) for pair in pairwise(names)]
    medians_mm = np.array([normal.median_mm if normal else np.nan for normal in normals])
    size = spine_size(distances_mm, medians_mm)
    rows = zip(pairwise(names), distances_mm, normals, strict=True)
    return [LevelDistance(*pair, float(mm), normal, size) for pair, mm, normal in rows]


def spine_size(distances_mm: NDArray[np.float64], medians_mm: NDArray[np.float64]) -> float:
    """Return the size of a spine against the usual one: the median of its relative distances.

    Args:
        distances_mm: (P,) distances of the pairs; NaN where unknown.
        medians_mm: (P,) usual distances; NaN where unknown.

    Returns:
        1 for the usual size, and where nothing is known.
    """
    relative = distances_mm / medians_mm
    known = relative[~np.isnan(relative)]
    return float(np.median(known)) if len(known) else 1.0


def is_usual_size(size: float) -> bool:
    """Whether a spine of this size may be an adult's, with the right pixel spacing."""
    return USUAL_SIZES[0] <= size <= USUAL_SIZES[1]
