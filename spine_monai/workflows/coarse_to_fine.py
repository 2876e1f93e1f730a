"""One Ignite iteration in two looks: coordinates see the whole slice, heatmaps a window of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor, decollate_batch
from monai.data.utils import collate_meta_tensor
from monai.engines import EnsembleEvaluator
from monai.engines.utils import IterationEvents
from monai.transforms import ResizeWithPadOrCrop
from torch import Tensor

from spine_monai.transforms.decode import points_lps_from_fractions
from spine_monai.transforms.scale import crop_about
from spine_monai.transforms.views import corners_lps


class CoarseToFine:
    """The iteration of an ``EnsembleEvaluator`` over [coordinate network, heatmap network].

    The coordinate network sees the whole slice on a canvas of fixed size; the heatmap network sees
    the window that those coordinates place. Both are at one physical scale.

    Args:
        canvas_size: (rows, columns) of the canvas in pixels.
        window_size: (rows, columns) of the window in pixels.
    """

    def __init__(self, canvas_size: Sequence[int], window_size: Sequence[int]) -> None:
        self.on_canvas = ResizeWithPadOrCrop(tuple(canvas_size))
        self.window_size = tuple(window_size)

    def __call__(
        self, engine: EnsembleEvaluator, batch: Mapping[str, MetaTensor]
    ) -> dict[str, Any]:
        """Return the canvas under ``image``, and both networks' outputs under the engine's keys.

        The slice's own first and last pixel are under ``corners_lps``, (B, 2, 3) in mm.
        """
        slices = decollate_batch(batch["image"].to(engine.state.device))
        coarse, fine = engine.networks
        canvases = collate_meta_tensor([self.on_canvas(image) for image in slices])
        coordinates = _infer(engine, coarse, canvases)
        windows = [
            crop_about(image, points_lps_from_fractions(fractions, canvas), self.window_size)
            for image, canvas, fractions in zip(
                slices, decollate_batch(canvases), coordinates, strict=True
            )
        ]
        heatmaps = _infer(engine, fine, collate_meta_tensor(windows))
        outputs = dict(zip(engine.pred_keys, (coordinates, heatmaps), strict=True))
        corners = torch.from_numpy(np.stack([corners_lps(image) for image in slices]))
        engine.state.output = {"image": canvases, "corners_lps": corners} | outputs
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        output: dict[str, Any] = engine.state.output
        return output


def _infer(engine: EnsembleEvaluator, network: Any, images: Tensor) -> Tensor:
    with engine.mode(network):
        output: Tensor = engine.inferer(images, network)
    return output
