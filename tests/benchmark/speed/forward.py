"""Inference of both networks and their product: a plain MONAI pipeline, ours, and the bound.

The plain pipeline runs the networks as they are in a ``SupervisedEvaluator``, in float32 and
contiguous memory, and takes the product and its argmax in numpy. The bound is what our networks
really compute, over the fastest convolution or matrix product measured between the same calls.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.engines import SupervisedEvaluator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from speed.timing import goal, side_by_side
from spine_monai.fusion import FusionModel
from spine_monai.heatmaps import ij_from_edge_fractions
from spine_monai.networks import PlainInferer, prepare
from spine_monai.networks.precision import choose_precision
from spine_monai.workflows.bundle import find_bundle

PAPER_IMAGE, PAPER_SPACING_MM, PAPER_SIGMA_MM = (512, 512), 0.6, 15.0
DEFAULT_WINDOW, DEFAULT_CANVAS = (256, 192), (320, 320)
SLICES = 9  # that the default looks at
PAPER_REPEATS, DEFAULT_REPEATS = 5, 9
SHAPES = ((64, 64, 256), (128, 128, 256), (256, 128, 128), (512, 64, 64))  # channels, H, W
MATRIX_SIDE = 1024

Networks = tuple[nn.Module, nn.Module]
Batch = dict[str, Tensor]


def measure() -> dict[str, Any]:
    """Return the times of the paper's pair and of the default pair beside their bounds."""
    dtype = choose_precision("auto", "cpu")
    paper, paper_goals = paper_pair(dtype)
    rows = [*paper, *default_pair(dtype)]
    notes = [
        f"Ours computes in {str(dtype).removeprefix('torch.')}, as `inference_precision: auto` has "
        "it here.",
        "The bound counts what our networks execute: Winograd's transform halves the products of "
        "wide 3 x 3 convolutions, so it is lower than that of the direct ones.",
    ]
    if dtype == torch.float32:
        notes.append("This processor has no bfloat16 instructions: nothing is said about bfloat16.")
    title = "Forward pass of both networks"
    return {"title": title, "rows": rows, "goals": paper_goals, "notes": notes}


def paper_pair(dtype: torch.dtype) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of the full-size networks on one image, and what was asked of them."""
    networks = paper_networks()
    prepared = ready(networks)
    image = image_of(1, PAPER_IMAGE)
    calls: dict[str, Callable[[], object]] = {
        "plain pipeline": plain_pipeline(networks, image),
        "our pipeline": our_pipeline(prepared, image),
        **alone(networks, prepared, image, image),
    }
    flops = {name: executed_flops(call) for name, call in calls.items()}
    rates = reference_calls(dtype)
    times = side_by_side(calls | rates, repeats=PAPER_REPEATS, warm_ups=1)
    rate = best_rate(times, rates)
    rows = rows_of("paper, one image", times, flops, rate)
    plain_ms, our_ms = times["plain pipeline"], times["our pipeline"]
    bound_ms = flops["our pipeline"] / rate / 1e6
    asked = [
        goal("paper pair: times as fast as the plain pipeline", plain_ms / our_ms, ">=", 2.5),
        goal("paper pair: times its bound", our_ms / bound_ms, "<=", 1.3),
    ]
    return rows, asked


def default_pair(dtype: torch.dtype) -> list[dict[str, Any]]:
    """Return the rows of the shipped networks on the slices of a study, and on one slice."""
    networks = networks_of(None)
    prepared = ready(networks)
    rows = []
    for count in (SLICES, 1):
        window, canvas = image_of(count, DEFAULT_WINDOW), image_of(count, DEFAULT_CANVAS)
        calls = alone(networks, prepared, window, canvas)
        for name in ("plain", "our"):
            parts = [call for key, call in calls.items() if key.startswith(name)]
            calls[f"{name} networks"] = lambda parts=parts: [part() for part in parts]
        flops = {name: executed_flops(call) for name, call in calls.items()}
        rates = reference_calls(dtype)
        times = side_by_side(calls | rates, repeats=DEFAULT_REPEATS)
        rows += rows_of(f"default, batch of {count}", times, flops, best_rate(times, rates))
    return rows


def paper_networks() -> Networks:
    """Return the paper's networks, untrained, with norms that norm something."""
    torch.manual_seed(0)
    networks = networks_of("paper")
    for norm in itertools.chain(*(network.modules() for network in networks)):
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 2.0)
    return networks


def networks_of(variant: str | None) -> Networks:
    """Return the heatmap and the coordinate network; the default ones with their weights."""
    root = find_bundle()
    parser = ConfigParser()
    parser.read_config(str(root / "configs" / "inference.yaml"))
    parser["bundle_root"] = str(root)
    names = ("network", "coordinates_network")
    if variant:
        file = root / "configs" / "variants" / f"{variant}.yaml"
        parser.update(ConfigParser.load_config_file(str(file)))
        names = ("heatmap_network_def", "coordinates_network_def")
    heatmap, coordinates = (parser.get_parsed_content(name).eval() for name in names)
    return heatmap, coordinates


def ready(networks: Networks) -> Networks:
    """Return both networks as ``localize`` runs them."""
    heatmap, coordinates = (prepare(network) for network in networks)
    return heatmap, coordinates


def image_of(count: int, size: tuple[int, int]) -> Tensor:
    """Return (count, 1, H, W) images of noise."""
    return torch.rand((count, 1, *size), generator=torch.Generator().manual_seed(1))


class Both(nn.Module):
    """Both networks on one image."""

    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the heatmap logits and the coordinates."""
        return [network(image) for network in self.networks]


def plain_pipeline(networks: Networks, image: Tensor) -> Callable[[], object]:
    """Return a call of MONAI's evaluator and the naive product."""
    evaluator = evaluator_of(networks)
    return lambda: naive_product(*outputs_of(evaluator, image))


def our_pipeline(networks: Networks, image: Tensor) -> Callable[[], object]:
    """Return a call of the evaluator with our inferer, and of our decoding."""
    evaluator = evaluator_of(networks, inferer=PlainInferer())
    fusion = FusionModel(len(outputs_of(evaluator, image)[1][0]), prior_sigma_mm=PAPER_SIGMA_MM)
    spacing = torch.full((1, 2), PAPER_SPACING_MM)

    def call() -> object:
        logits, fractions = outputs_of(evaluator, image)
        return fusion.decode(logits, ij_from_edge_fractions(fractions, image.shape[-2:]), spacing)

    return call


def evaluator_of(networks: Networks, **options: Any) -> SupervisedEvaluator:
    """Return MONAI's evaluator of both networks."""
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=[],
        network=Both(networks),
        decollate=False,
        epoch_length=1,
        **options,
    )


def outputs_of(evaluator: SupervisedEvaluator, image: Tensor) -> list[Tensor]:
    """Run the evaluator on one batch."""
    evaluator.data_loader = [{"image": image}]
    evaluator.run()
    outputs: list[Tensor] = evaluator.state.output["pred"]
    return outputs


def naive_product(logits: Tensor, fractions: Tensor) -> list[tuple[int, ...]]:
    """Return the argmax of heatmaps times Gaussians, the way that the formula is written."""
    heatmaps = 1 / (1 + np.exp(-logits[0].numpy()))
    rows, columns = np.indices(heatmaps.shape[1:])
    found = []
    for heatmap, (down, along) in zip(heatmaps, fractions[0].numpy(), strict=True):
        row, column = down * heatmap.shape[0] - 0.5, along * heatmap.shape[1] - 0.5
        squares = ((rows - row) ** 2 + (columns - column) ** 2) * PAPER_SPACING_MM**2
        product = heatmap * np.exp(-squares / (2 * PAPER_SIGMA_MM**2))
        found.append(np.unravel_index(product.argmax(), product.shape))
    return found


def alone(
    networks: Networks, prepared: Networks, image: Tensor, canvas: Tensor
) -> dict[str, Callable[[], object]]:
    """Return calls of each network by itself, plain and ours."""
    calls: dict[str, Callable[[], object]] = {}
    for index, given in enumerate((image, canvas)):
        name = type(networks[index]).__name__
        for kind, network in (("plain", networks[index]), ("our", prepared[index])):
            calls[f"{kind} {name}"] = torch.no_grad()(
                lambda network=network, given=given: network(given)
            )
    return calls


def executed_flops(call: Callable[[], object]) -> int:
    """Return the floating point operations of a call's convolutions and matrix products."""
    mapping = {torch.ops.mkldnn._convolution_pointwise: packed_flops}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        call()
    total: int = counter.get_total_flops()
    return total


def packed_flops(_image: Sequence[int], weight: Sequence[int], *_: Any, out_shape: Any) -> int:
    """Return the operations of one convolution by oneDNN; grouped weights have an axis more."""
    return 2 * math.prod(out_shape) * math.prod(weight[-3:])


def reference_calls(dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """Return the convolutions and the matrix product whose rate bounds everything."""
    calls: dict[str, Callable[[], object]] = {}
    for channels, height, width in SHAPES:
        image = torch.rand(1, channels, height, width, dtype=dtype)
        weight = torch.rand(channels, channels, 3, 3, dtype=dtype)
        image, weight = (t.contiguous(memory_format=torch.channels_last) for t in (image, weight))
        call = lambda image=image, weight=weight: F.conv2d(image, weight, padding=1)  # noqa: E731
        calls[f"convolution of {channels} channels"] = call
    matrix = torch.rand(MATRIX_SIDE, MATRIX_SIDE, dtype=dtype)
    return calls | {"matrix product": lambda: matrix @ matrix}


def best_rate(times: Mapping[str, float], calls: Mapping[str, Callable[[], object]]) -> float:
    """Return the highest rate of the reference calls, in GFLOP/s."""
    return max(executed_flops(call) / times[name] / 1e6 for name, call in calls.items())


def rows_of(
    what: str, times: Mapping[str, float], flops: Mapping[str, int], rate: float
) -> list[dict[str, Any]]:
    """Return a row a call: its time, its operations, and its bound at the measured rate."""
    return [
        {
            "what": f"{what}: {name}",
            "ms": round(times[name], 1),
            "gflop": round(count / 1e9, 1),
            "bound_ms": round(count / rate / 1e6, 1),
            "times_bound": round(times[name] / (count / rate / 1e6), 2),
            "best_gflop_s": round(rate, 1),
        }
        for name, count in flops.items()
    ]
