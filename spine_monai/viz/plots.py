"""Plots of an evaluation: errors of each landmark, and their cumulative curve."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spine_monai.landmarks import HIT_RADIUS_MM
from spine_monai.viz.figures import new_figure, save_figure

LONGEST_MM = 20.0


def plot_landmark_errors(
    errors_mm: NDArray[np.float64], names: Sequence[str], path: Path, title: str
) -> None:
    """Plot every case's error at each landmark over the median, on a scale that shows the misses.

    Args:
        errors_mm: (cases, N); NaN where unknown, inf where missed (drawn at the top).
        names: of the N landmarks.
        path: PNG file to write.
        title: says data set and n.
    """
    figure = new_figure(9, 4.5)
    axes = figure.add_subplot()
    top = max(LONGEST_MM, float(np.max(errors_mm[np.isfinite(errors_mm)], initial=0)) * 1.05)
    shown = np.where(np.isinf(errors_mm), top, errors_mm)
    jitter = np.random.default_rng(0).uniform(-0.18, 0.18, shown.shape)
    places = np.arange(len(names)) + jitter
    axes.plot(places.ravel(), shown.ravel(), ".", color="#33658a", alpha=0.7, label="one case")
    medians = [
        float(np.median(c[~np.isnan(c)])) if (~np.isnan(c)).any() else np.nan for c in shown.T
    ]
    axes.plot(range(len(names)), medians, "_", color="#d1495b", markersize=22, label="median")
    axes.axhline(HIT_RADIUS_MM, color="gray", linestyle="--", linewidth=1, label="8 mm")
    axes.set_xticks(range(len(names)), names)
    axes.set_ylim(0, top * 1.02)
    axes.set_ylabel("error in the slice's plane (mm)")
    axes.set_title(title)
    axes.legend(loc="upper right", fontsize=8)
    figure.tight_layout()
    save_figure(figure, path)


def plot_cumulative_error(
    errors_mm: Mapping[str, NDArray[np.float64]], path: Path, title: str
) -> None:
    """Plot the share of landmarks whose error is at most so many millimetres.

    Args:
        errors_mm: arrays of errors by the curve's name; NaN is left out, inf never reached.
        path: PNG file to write.
        title: says data set and n.
    """
    figure = new_figure(6.5, 4.5)
    axes = figure.add_subplot()
    limits = np.linspace(0, LONGEST_MM, 401)
    for name, errors in errors_mm.items():
        known = errors[~np.isnan(errors)]
        if not len(known):
            continue
        axes.plot(limits, [(known <= limit).mean() for limit in limits], label=name)
    axes.axvline(HIT_RADIUS_MM, color="gray", linestyle="--", linewidth=1)
    axes.set_xlim(0, LONGEST_MM)
    axes.set_ylim(0, 1.01)
    axes.set_xlabel("error in the slice's plane (mm); dashed: 8 mm")
    axes.set_ylabel("share of landmarks")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.tight_layout()
    save_figure(figure, path)
