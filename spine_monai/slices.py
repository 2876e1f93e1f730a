"""Which of several sagittal slices shows the landmarks best.

The heatmaps are as high beside the middle of the spine as in it, for the networks learned the same
targets on neighbouring slices. What tells the slices apart is the spinal canal: bright on T2, right
behind the column where the slice runs through its middle, and gone some millimetres beside it.

Images are upright: row towards the feet, column towards posterior. Symbols: K slices, N landmarks.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

FloatArray = NDArray[np.float64]

CANAL_MM = 20.0  # front to back, with what lies about it
DEPTHS_MM = (18.0, 36.0)  # from a landmark backwards to the middle of the canal
STEP_MM = 1.2
HEIGHT_MM = 8.4  # of the piece of canal behind a landmark
BEND_MM = 18.0  # how far tilt and curve may each take the spine out of one slice
BEND_PRICE = 1e-4  # of the score, per mm squared; settled on 28 subjects
BEND_GAIN = 0.015  # of the score, that a bend must bring to be believed; settled likewise
TOO_CLOSE = 0.005  # scores that differ by less do not tell slices apart; settled likewise
FINENESS = 4  # places tried between two slices


def canal_brightness(image: Tensor, points_ij: FloatArray, spacing_mm: FloatArray) -> FloatArray:
    """Measure how bright the canal is behind each landmark.

    Args:
        image: (H, W) upright slice, equalized to 0 ... 1.
        points_ij: (N, 2) landmarks from head to foot, in pixels; NaN where absent.
        spacing_mm: (2,) of rows and columns.

    Returns:
        (N,) the brightest mean over a canal's width, at right angles behind the column; 0 where the
        landmark is absent.
    """
    brightness = np.zeros(len(points_ij))
    is_there = np.isfinite(points_ij).all(-1)
    points_mm = points_ij[is_there] * spacing_mm
    if not len(points_mm):
        return brightness
    along, behind = _directions(points_mm)
    reach = np.arange(DEPTHS_MM[0] - CANAL_MM / 2, DEPTHS_MM[1] + CANAL_MM / 2 + 1e-6, STEP_MM)
    aside = np.linspace(-HEIGHT_MM / 2, HEIGHT_MM / 2, 8)
    places_mm = points_mm[:, None, None] + behind[:, None, None] * reach[:, None, None]
    places_mm = places_mm + along[:, None, None] * aside[:, None]
    profiles = _sample(image, places_mm / spacing_mm).mean(-1)
    width = round(CANAL_MM / STEP_MM)
    means = F.avg_pool1d(profiles[:, None], width, stride=1)[:, 0]
    brightness[is_there] = means.amax(-1).numpy()
    return brightness


def best_slice(scores: FloatArray) -> int:
    """Return the slice of the highest mean score; of those too close to tell, the most central.

    Args:
        scores: (K, N) of each landmark on each slice, in the order of the slices.
    """
    means = scores.mean(1)
    best = np.flatnonzero(means >= means.max() - TOO_CLOSE)
    return int(best[np.abs(best - len(means) // 2).argmin()])


def slice_of_each_landmark(scores: FloatArray, step_mm: float) -> NDArray[np.int64]:
    """Return the slice of each landmark, along the smooth bend that the scores show.

    One landmark's scores are too noisy to choose by; the spine bends as a whole. Of all straight,
    tilted and bent columns that one is taken whose score, less a price on the bend, is highest; the
    best slice for all, where no bend is clearly better.

    Args:
        scores: (K, N) of each landmark on each slice, in the order of the slices.
        step_mm: between neighbouring slices.

    Returns:
        (N,) numbers of slices.
    """
    count, landmarks = scores.shape
    if count == 1:
        return np.zeros(landmarks, dtype=np.int64)
    along = np.linspace(-1.0, 1.0, landmarks)
    starts = np.linspace(0, count - 1, FINENESS * (count - 1) + 1)
    bends = np.linspace(-BEND_MM, BEND_MM, 25)
    start, tilt, curve = (g.ravel()[:, None] for g in np.meshgrid(starts, bends, bends))
    columns = start + (tilt * along + curve * (along**2 - 1 / 3)) / step_mm
    columns = columns.clip(0, count - 1)
    totals = _score_along(scores, columns)
    best = (totals - BEND_PRICE * (tilt**2 + curve**2)[:, 0]).argmax()
    if totals[best] - scores.mean(1).max() < BEND_GAIN:
        return np.full(landmarks, best_slice(scores))
    return np.rint(columns[best]).astype(np.int64)


def _directions(points_mm: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Unit vectors along the column at each of its points, and at right angles to posterior."""
    along = np.tile([1.0, 0.0], (len(points_mm), 1))
    if len(points_mm) > 1:
        steps = np.gradient(points_mm, axis=0)
        along = steps / np.linalg.norm(steps, axis=1, keepdims=True).clip(1e-6)
    behind = np.stack([-along[:, 1], along[:, 0]], -1)
    return along, behind * np.where(behind[:, 1:] < 0, -1.0, 1.0)


def _sample(image: Tensor, places_ij: FloatArray) -> Tensor:
    """Values of an image at (..., 2) places in pixels, bilinear; 0 beyond its edge."""
    height, width = image.shape
    edges = (places_ij + 0.5) / [height, width] * 2 - 1
    grid = torch.from_numpy(edges[..., ::-1].copy()).float().view(1, -1, 1, 2)
    values = F.grid_sample(image.float()[None, None], grid, align_corners=False)
    return values.view(places_ij.shape[:-1])


def _score_along(scores: FloatArray, columns: FloatArray) -> FloatArray:
    """Mean score of each of (M, N) columns of places between the slices."""
    lower = np.floor(columns).astype(np.int64).clip(0, len(scores) - 2)
    share, landmark = columns - lower, np.arange(scores.shape[1])
    between = (1 - share) * scores[lower, landmark] + share * scores[lower + 1, landmark]
    means: FloatArray = between.mean(1)
    return means
