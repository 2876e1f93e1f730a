"""What each network costs: parameters, operations, time and memory, inference and training.

    python tests/benchmark/cost.py

Every network runs in a process of its own, so that its peak memory is its own; two threads,
float32 for inference (one image), what this processor is fastest in for a training step (one
batch). Writes docs/benchmarks/cost.json.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from accuracy_arms import ARMS, Arm
from monai.bundle import ConfigParser
from torch.utils.flop_counter import FlopCounterMode

from spine_monai.heatmaps import HeatmapLoss, SmoothCoordinateLoss
from spine_monai.networks import AutocastInferer, group_norm_memory_format, precision_name
from spine_monai.workflows.bundle import find_bundle
from spine_monai.workflows.stages import circumstances

ROOT = Path(__file__).parents[2]
OUTPUT = ROOT / "docs" / "benchmarks" / "cost.json"
REPEATS = 7
WINDOW, COMMON_WINDOW, COORDINATES = (256, 192), (256, 128), (320, 320)
NETWORKS = {
    "default: coordinates": ("coordinates_network_def", "default", COORDINATES, 8),
    "one_look: coordinates": ("coordinates_network_def", "one_look", COORDINATES, 8),
    "smaller_coordinates: coordinates": (
        "coordinates_network_def",
        "smaller_coordinates",
        COORDINATES,
        8,
    ),
    "xception_fc: coordinates": ("coordinates_network_def", "xception_fc", COORDINATES, 8),
    "default: heatmap": ("heatmap_network_def", "default", WINDOW, 4),
    "narrow_window: heatmap": ("heatmap_network_def", "narrow_window", COMMON_WINDOW, 4),
    "fcn: heatmap": ("heatmap_network_def", "fcn", COMMON_WINDOW, 4),
    "scn: heatmap": ("heatmap_network_def", "scn", COMMON_WINDOW, 4),
    "hourglass: heatmap": ("heatmap_network_def", "hourglass", COMMON_WINDOW, 4),
    "hrnet: heatmap": ("heatmap_network_def", "hrnet", COMMON_WINDOW, 4),
    "paper_512: heatmap": ("heatmap_network_def", "paper_512", (512, 512), 4),
}


def main() -> None:
    """Measure all networks, one process each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", default="auto", help="of a training step")
    precision = precision_name(parser.parse_args().precision, "cpu")
    context = multiprocessing.get_context("spawn")
    costs = {}
    for name in NETWORKS:
        with context.Pool(1, maxtasksperchild=1) as pool:
            costs[name] = pool.apply(measure, (name, precision))
        print(name, json.dumps(costs[name]), flush=True)
    content = circumstances("python tests/benchmark/cost.py", [])
    content |= {"training_precision": precision, "networks": costs}
    OUTPUT.write_text(json.dumps(content, indent=1) + "\n")


def measure(name: str, precision: str) -> dict[str, Any]:
    """Return the cost of one network."""
    torch.set_num_threads(2)
    key, arm, shape, batch = NETWORKS[name]
    network = network_of(key, ARMS[arm]).to(memory_format=torch.channels_last)
    before_mb = peak_mb()
    forward_ms = milliseconds(lambda: infer(network, shape))
    inference_mb = peak_mb() - before_mb
    layout = training_layout(key, ARMS[arm], precision)
    inferer = AutocastInferer(precision, layout)
    network.to(memory_format=layout)
    step_ms = milliseconds(lambda: step(network, inferer, key, shape, batch))
    training_mb = peak_mb() - before_mb
    at_512 = operations(network, (512, 512)) if key.startswith("heatmap") else None
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "gflop": round(operations(network, shape) / 1e9, 2),
        "gflop_at_512": at_512 and round(at_512 / 1e9, 1),
        "inference_ms": round(forward_ms),
        "inference_peak_mb": round(inference_mb),
        "training_step_ms": round(step_ms),
        "training_batch": batch,
        "training_peak_mb": round(training_mb),
    }


def network_of(key: str, arm: Arm) -> torch.nn.Module:
    """Return a network of the bundle's configuration, with an arm's variant and values on top."""
    configs = find_bundle(None) / "configs"
    parser = ConfigParser()
    parser.read_config(str(configs / "inference.yaml"))
    if arm.variant:
        overlay = configs / "variants" / f"{arm.variant}.yaml"
        parser.update(ConfigParser.load_config_file(str(overlay)))
    parser.update(dict(arm.values.get(key.removesuffix("_network_def"), {})))
    network: torch.nn.Module = parser.get_parsed_content(key)
    return network


def operations(network: torch.nn.Module, shape: tuple[int, int]) -> int:
    """Return the floating point operations of one forward pass, multiply and add counted apart."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, 1, *shape))
    total: int = counter.get_total_flops()
    return total


def infer(network: torch.nn.Module, shape: tuple[int, int]) -> None:
    """Run one image in float32."""
    with torch.inference_mode():
        AutocastInferer("float32")(torch.rand(1, 1, *shape), network.eval())


def training_layout(key: str, arm: Arm, precision: str) -> torch.memory_format:
    """Return the memory format in which the bundle trains a network."""
    has_group_norm = key.startswith("heatmap") and "memory_format" not in arm.values.get(
        "heatmap", {}
    )
    return group_norm_memory_format(precision, "cpu") if has_group_norm else torch.channels_last


def step(
    network: torch.nn.Module, inferer: AutocastInferer, key: str, shape: tuple[int, int], batch: int
) -> None:
    """Run one training step, without the optimizer's update."""
    output = inferer(torch.rand(batch, 1, *shape), network.train())
    outputs = output if isinstance(output, list) else [output]
    loss = HeatmapLoss() if key.startswith("heatmap") else SmoothCoordinateLoss()
    torch.autograd.backward(sum(loss(one, torch.rand_like(one)) for one in outputs))


def milliseconds(call: Any) -> float:
    """Return the median time of a call, after one to warm up."""
    call()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def peak_mb() -> float:
    """Return the most memory that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
