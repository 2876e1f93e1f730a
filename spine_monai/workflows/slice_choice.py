"""From the landmarks of several slices to those of the study."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spine_monai.geometry import LPS_FROM_RAS, project_on_slice
from spine_monai.landmarks import HIT_RADIUS_MM, LandmarkSet
from spine_monai.slices import best_slice, slice_of_each_landmark
from spine_monai.transforms import ScoreSliced

Item = Mapping[str, Any]
Predict = Callable[[Sequence[Item]], Sequence[Item]]
"""From the preprocessed slices of one case, each with ``image``, (1, H, W) upright, at the
bundle's scale, to ``landmarks`` (a ``LandmarkSet``, LPS) and ``slice_score`` (N,) of each."""
Slices = Literal["one", "all"]
SLICES: tuple[Slices, ...] = ("one", "all")
SCORE = ScoreSliced("image")


@dataclass(frozen=True)
class SliceChoice:
    """Which slices were taken.

    Args:
        best: number, among those looked at, of the slice that all landmarks are shown on.
        landmarks: the study's landmarks.
        of_each: number of the slice that each landmark was taken from.
        reason: why, in words.
        warnings: what the user should know, each with ``code`` and ``message``.
    """

    best: int
    landmarks: LandmarkSet
    of_each: tuple[int, ...]
    reason: str
    warnings: tuple[Mapping[str, str], ...] = ()


def check_slices(slices: str) -> Slices:
    """Return the word if it is one.

    Raises:
        ValueError: it is neither ``one`` nor ``all``.
    """
    for word in SLICES:
        if slices == word:
            return word
    msg = f"slices must be 'one' or 'all': got {slices!r}."
    raise ValueError(msg)


def look_at_slices(items: Sequence[Item], predict: Predict, slices: Slices) -> SliceChoice:
    """Find a study's landmarks on the slices that need to be looked at.

    For ``all`` these are all of them. For ``one`` the networks see the middle slice, and from
    there the slice that shows the canal best behind the landmarks just found, until they have seen
    that one: most often it is the first or the second. Where the middle one shows nothing, they
    see all.

    Args:
        items: of each slice, ``image``, ``slice`` and ``native_image`` with its affine.
        predict: from slices to landmarks.
        slices: see ``choose_slices``.
    """
    if slices == "all" or len(items) == 1:
        return choose_slices(items, predict(items), slices)
    looked: dict[int, Any] = {}
    best = _middle(items)
    while best not in looked:
        looked[best] = predict([items[best]])[0]["landmarks"]
        scores = [_score(item, looked[best]) for item in items]
        best = best_slice(np.stack(scores))
        if not np.any(scores):
            return choose_slices(items, predict(items), slices)
    outputs = [{"landmarks": looked[best], "slice_score": score} for score in scores]
    return choose_slices(items, outputs, slices)


def choose_slices(
    items: Sequence[Item], outputs: Sequence[Mapping[str, Any]], slices: Slices
) -> SliceChoice:
    """Choose among the slices that were looked at, in their order.

    Args:
        items: of each slice, ``slice`` and ``native_image`` with its affine.
        outputs: of each slice, ``landmarks`` and, where there are several, ``slice_score``.
        slices: ``one`` takes all landmarks from the slice of the highest score; ``all`` takes each
            from the slice that the spine's bend puts it on. Its level is decided on the best slice.
    """
    found = [output["landmarks"] for output in outputs]
    if len(items) == 1:
        only = items[0]["slice"]
        reason = f"slice {only['index']} of {only['count']} was looked at alone"
        return SliceChoice(0, found[0], (0,) * len(found[0].registry), reason)
    scores = np.stack([output["slice_score"] for output in outputs])
    best = best_slice(scores)
    warnings = _warnings(items, best)
    reason = _reason(items, best)
    of_each: tuple[int, ...] = (best,) * scores.shape[1]
    landmarks = found[best]
    if slices == "all":
        wanted = slice_of_each_landmark(scores, _step_mm(items))
        of_each = _agreeing(found, items, best, wanted)
        landmarks = _gather(found, best, of_each)
        used = sorted({items[number]["slice"]["index"] for number in of_each})
        reason += f"; landmarks from slices {', '.join(map(str, used))}"
    return SliceChoice(best, landmarks, of_each, reason, warnings)


def _middle(items: Sequence[Item]) -> int:
    """Number, among those that may be looked at, of the study's middle slice."""
    frames = [item["slice"] for item in items]
    return int(np.argmin([abs(frame["index"] - frame["count"] // 2) for frame in frames]))


def _score(item: Item, landmarks: LandmarkSet) -> NDArray[np.float64]:
    """(N,) how well a slice shows the canal behind landmarks of this slice or one beside it."""
    scored: Mapping[Any, Any] = SCORE({"image": item["image"], "landmarks": landmarks})
    return np.asarray(scored["slice_score"])


def _reason(items: Sequence[Item], best: int) -> str:
    frame = items[best]["slice"]
    reason = f"slice {frame['index']} of {frame['count']} shows the canal best of "
    return reason + f"{len(items)}, the middle one is {frame['count'] // 2}"


def _warnings(items: Sequence[Item], best: int) -> tuple[Mapping[str, str], ...]:
    first, last = items[0]["slice"]["index"], items[-1]["slice"]["index"]
    count, index = items[0]["slice"]["count"], items[best]["slice"]["index"]
    may_lie_beyond = (index == first and first > 0) or (index == last and last < count - 1)
    if not may_lie_beyond:
        return ()
    message = f"slice {index} is the outermost one looked at ({first} to {last} of {count}): the "
    message += "spine may lie further aside; look at the picture, or name a slice with --slice"
    return ({"code": "slice_at_the_edge", "message": message},)


def _step_mm(items: Sequence[Item]) -> float:
    first, second = (np.asarray(item["native_image"].affine)[:3, 3] for item in items[:2])
    return float(np.linalg.norm(second - first))


def _agreeing(
    found: Sequence[LandmarkSet],
    items: Sequence[Item],
    best: int,
    wanted: NDArray[np.int64],
) -> tuple[int, ...]:
    """The slice nearest each wanted one on which the landmark lies where the best slice has it."""
    plane = LPS_FROM_RAS @ np.asarray(items[best]["native_image"].affine)
    points = np.stack([project_on_slice(one.points_lps, plane) for one in found])
    distances_mm = np.linalg.norm(points - points[best], axis=-1)
    agrees = distances_mm <= HIT_RADIUS_MM  # NaN, where absent, does not
    agrees[best] = True
    numbers = np.arange(len(found))
    rows = [numbers[column] for column in agrees.T]
    return tuple(int(r[np.abs(r - w).argmin()]) for r, w in zip(rows, wanted, strict=True))


def _gather(found: Sequence[LandmarkSet], best: int, of_each: Sequence[int]) -> LandmarkSet:
    rows = list(enumerate(of_each))
    return replace(
        found[best],
        points_lps=np.stack([found[number].points_lps[n] for n, number in rows]),
        confidence=np.array([found[number].confidence[n] for n, number in rows]),
        radius95_mm=np.array([found[number].radius95_mm[n] for n, number in rows]),
    )
