"""Ours beside landmarker 0.4.1 and MONAI's own parts: networks, drawing, decoding, metrics.

landmarker lies in ``.peers``, out of our own environment: ``make bench-speed`` puts it there.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.metrics import RMSEMetric
from monai.networks.nets import BasicUNet, UNet
from monai.transforms import GenerateHeatmap
from torch import Tensor, nn

from speed.timing import side_by_side
from spine_monai.heatmaps import decode_heatmaps, encode_heatmaps
from spine_monai.metrics import radial_errors
from spine_monai.networks import SpatialConfigurationNet
from spine_monai.workflows.bundle import find_bundle, parse_config

PEERS = Path(__file__).parents[3] / ".peers"
SHAPE, COUNT, SIGMA_PX = (256, 256), 11, 3.0
CASES = 200
NOTES = (
    "the networks differ in size and in what they can do; the figures say what each costs as its "
    "authors ship it, not which is better",
    "landmarker's and ours draw to below the pixel, MONAI's `GenerateHeatmap` to the nearest one; "
    "argmax gives whole pixels, the others less",
    "`radial error` is one call for 200 cases of 11 landmarks in three dimensions",
)

Calls = dict[str, Callable[[], object]]


def measure() -> dict[str, Any]:
    """Return the medians of the same job done by each."""
    sys.path.append(str(PEERS))
    jobs = {
        "forward, 1 x 1 x 256 x 256": networks(),
        "draw 11 x 256 x 256": drawing(),
        "decode 11 x 256 x 256": decoding(),
        "radial error": metrics(),
    }
    rows = []
    for job, calls in jobs.items():
        times = side_by_side(calls)
        rows += [{"job": job, "who": who, "ms": times[who]} for who in times]
    return {"title": "Peers", "rows": rows, "notes": list(NOTES)}


def networks() -> Calls:
    """Return the forward passes of heatmap networks, channels last."""
    from landmarker.models import OriginalSpatialConfigurationNet
    from landmarker.models import SpatialConfigurationNet as TheirNet

    config = parse_config(find_bundle(), "inference.yaml", num_landmarks=COUNT)
    by_name: dict[str, nn.Module] = {
        "spine_monai, default (DynUNet)": config.get_parsed_content("heatmap_network_def"),
        "spine_monai, SpatialConfigurationNet": SpatialConfigurationNet(COUNT),
        "landmarker, SpatialConfigurationNet": TheirNet(2, 1, COUNT),
        "landmarker, OriginalSpatialConfigurationNet": OriginalSpatialConfigurationNet(1, COUNT),
        "MONAI, UNet 16-256": UNet(
            2, 1, COUNT, (16, 32, 64, 128, 256), (2, 2, 2, 2), num_res_units=2
        ),
        "MONAI, BasicUNet": BasicUNet(2, 1, COUNT),
    }
    image = torch.rand(1, 1, *SHAPE).contiguous(memory_format=torch.channels_last)
    return {name: _forward(network, image) for name, network in by_name.items()}


def _forward(network: nn.Module, image: Tensor) -> Callable[[], object]:
    ready = network.eval().to(memory_format=torch.channels_last)

    def forward() -> object:
        with torch.inference_mode():
            return ready(image)

    return forward


def drawing() -> Calls:
    """Return the drawing of Gaussian targets."""
    from landmarker.heatmap import GaussianHeatmapGenerator

    points_ij = _points()
    theirs = GaussianHeatmapGenerator(COUNT, sigmas=SIGMA_PX, heatmap_size=SHAPE)
    monai = GenerateHeatmap(sigma=SIGMA_PX, spatial_shape=SHAPE)
    return {
        "spine_monai": lambda: encode_heatmaps(points_ij, SHAPE, SIGMA_PX),
        "landmarker": lambda: theirs(points_ij[None]),
        "MONAI, GenerateHeatmap": lambda: monai(points_ij),
    }


def decoding() -> Calls:
    """Return the reading of points from heatmaps."""
    from landmarker.heatmap.decoder import heatmap_to_coord

    heatmaps = encode_heatmaps(_points(), SHAPE, SIGMA_PX)[None]
    return {
        "spine_monai, below the pixel": lambda: decode_heatmaps(heatmaps),
        "landmarker, local soft-argmax": lambda: heatmap_to_coord(
            heatmaps, method="local_soft_argmax"
        ),
        "landmarker, argmax": lambda: heatmap_to_coord(heatmaps, method="argmax"),
    }


def metrics() -> Calls:
    """Return the measuring of distances."""
    from landmarker.metrics import point_error

    generator = np.random.default_rng(0)
    ours, reference = generator.normal(size=(2, CASES, COUNT, 3)) * 10
    predicted_t, reference_t = torch.from_numpy(ours), torch.from_numpy(reference)
    monai = RMSEMetric(reduction="none")
    return {
        "spine_monai": lambda: radial_errors(ours, reference),
        "landmarker": lambda: point_error(reference_t, predicted_t, reduction="none"),
        "MONAI, RMSEMetric": lambda: monai(
            predicted_t.flatten(0, 1)[:, None], reference_t.flatten(0, 1)[:, None]
        ),
    }


def _points() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(COUNT, 2, generator=generator) * 200 + 28
