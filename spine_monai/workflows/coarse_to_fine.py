"""One Ignite iteration in two looks: coordinates see the whole slice, heatmaps a window of it.

The slices of a batch have one size. Between the networks everything is plain tensors and affines:
MONAI's transforms would keep a record of each step of each slice, for nobody.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.engines import EnsembleEvaluator
from monai.engines.utils import IterationEvents
from numpy.typing import NDArray
from torch import Tensor

from spine_monai.geometry import points_lps_from_ij
from spine_monai.heatmaps import ij_from_edge_fractions

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


class CoarseToFine:
    """The iteration of an ``EnsembleEvaluator`` over [coordinate network, heatmap network].

    The coordinate network sees the whole slice on a canvas of fixed size; the heatmap network sees
    the window that those coordinates place. Both are at one physical scale.

    Args:
        canvas_size: (rows, columns) of the canvas in pixels.
        window_size: (rows, columns) of the window in pixels.
    """

    def __init__(self, canvas_size: Sequence[int], window_size: Sequence[int]) -> None:
        self.canvas_size = np.array(canvas_size)
        self.window_size = np.array(window_size)

    def __call__(
        self, engine: EnsembleEvaluator, batch: Mapping[str, MetaTensor]
    ) -> dict[str, Any]:
        """Return the canvas under ``image``, and both networks' outputs under the engine's keys.

        The slice's own first and last pixel are under ``corners_lps``, (B, 2, 3) in mm.
        """
        images = batch["image"]
        slices, shape = images.as_tensor().to(engine.state.device), np.array(images.shape[-2:])
        coarse, fine = engine.networks
        starts = np.tile(_middle_start(shape, self.canvas_size), (len(slices), 1))
        canvases = _cut(slices, starts, self.canvas_size)
        coordinates = _infer(engine, coarse, canvases)
        places = ij_from_edge_fractions(coordinates.cpu().double(), canvases.shape[-2:]).numpy()
        places += starts[:, None]
        window_starts = _starts_about(places, shape, self.window_size)
        heatmaps = _infer(engine, fine, _cut(slices, window_starts, self.window_size))
        outputs = (coordinates, _with_place(heatmaps, images, window_starts))
        engine.state.output = {
            "image": _with_place(canvases, images, starts),
            "corners_lps": torch.from_numpy(_corners_lps(shape, images.affine.cpu().numpy())),
            **dict(zip(engine.pred_keys, outputs, strict=True)),
        }
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        output: dict[str, Any] = engine.state.output
        return output


def _infer(engine: EnsembleEvaluator, network: Any, images: Tensor) -> Tensor:
    with engine.mode(network):
        output: Tensor = engine.inferer(images, network)
    return output


def _middle_start(shape: IntArray, size: IntArray) -> IntArray:
    """First row and column of what ``ResizeWithPadOrCrop`` keeps; negative where it pads."""
    return np.where(size > shape, -((size - shape) // 2), np.maximum(shape // 2 - size // 2, 0))


def _starts_about(points_ij: FloatArray, shape: IntArray, size: IntArray) -> IntArray:
    """First row and column of windows about the means of (B, N, 2) points, NaN ones left out."""
    is_known = np.isfinite(points_ij).all(-1, keepdims=True)
    count = is_known.sum(1)
    total = np.where(is_known, points_ij, 0.0).sum(1)
    centres = np.where(count > 0, total / np.maximum(count, 1), (shape - 1) / 2)
    starts = np.rint(np.clip(centres, 0, shape - 1) - (size - 1) / 2)
    return np.asarray(starts.astype(np.int64))


def _cut(slices: Tensor, starts: IntArray, size: IntArray) -> Tensor:
    """Windows of one size out of (B, C, H, W) slices, zeros beyond them."""
    rows, columns = size.tolist()
    windows = slices.new_zeros((*slices.shape[:2], rows, columns))
    for image, window, (top, left) in zip(slices, windows, starts.tolist(), strict=True):
        seen = image[:, max(top, 0) : max(top + rows, 0), max(left, 0) : max(left + columns, 0)]
        inside = window[:, max(-top, 0) :, max(-left, 0) :]
        inside[:, : seen.shape[1], : seen.shape[2]] = seen
    return windows


def _corners_lps(shape: IntArray, affines: FloatArray) -> FloatArray:
    """The (B, 2, 3) LPS points in mm of the slices' first and last pixels."""
    corners_ij = np.stack([np.zeros(2), shape - 1.0])
    return np.stack([points_lps_from_ij(corners_ij, affine) for affine in affines])


def _with_place(tensor: Tensor, images: MetaTensor, starts: IntArray) -> MetaTensor:
    """The tensor with the metadata of the slices and the affines of windows that start there."""
    shifts = np.tile(np.eye(4), (len(starts), 1, 1))
    shifts[:, :2, 3] = starts
    affines = images.affine.cpu().double() @ torch.from_numpy(shifts)
    placed = MetaTensor(tensor, meta=dict(images.meta) | {"affine": affines})
    placed.applied_operations = [[] for _ in starts]
    placed.is_batch = True
    return placed
