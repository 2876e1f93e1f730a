"""Time calls side by side, and hold the figures against what was asked."""

import operator
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

RELATIONS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt}


def side_by_side(
    calls: Mapping[str, Callable[[], object]], *, repeats: int = 9, warm_ups: int = 2
) -> dict[str, float]:
    """Return the median time of each call in ms; the calls take turns, so load hits all alike."""
    for _ in range(warm_ups):
        for call in calls.values():
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(milliseconds(call))
    return {name: statistics.median(values) for name, values in times.items()}


def milliseconds(call: Callable[[], object]) -> float:
    """Return the time of one call in ms, until a GPU has done what the call asked of it."""
    finish()
    started = time.perf_counter()
    call()
    finish()
    return 1000 * (time.perf_counter() - started)


def finish() -> None:
    """Wait for the GPU, where one is in use."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def goal(what: str, reached: float, relation: str, asked: float, unit: str = "") -> dict[str, Any]:
    """Return a figure beside what was asked of it.

    Args:
        what: the figure, in words.
        reached: its value.
        relation: ``<=``, ``<`` or ``>=``: how it should stand to ``asked``.
        asked: the goal.
        unit: of both.
    """
    is_met = bool(RELATIONS[relation](reached, asked))
    return {
        "what": what,
        "reached": float(f"{reached:.4g}"),
        "asked": f"{relation} {asked:g}",
        "unit": unit,
        "is_met": is_met,
    }
