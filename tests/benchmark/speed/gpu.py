"""What a CUDA GPU does: forward passes, decoding, training steps, and epochs that must feed it.

Everything computes in bfloat16 and is held against the matrix rate that is measured first. Each
group of figures stands alone: what fails, or does not fit the time, becomes a note.
"""

import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speed.decoding import POINTS_PX, columns, differences, shipped_joint
from speed.forward import PAPER_SIGMA_MM, executed_flops, image_of, paper_networks
from speed.gpu_report import (
    BATCHES,
    LANDMARKS,
    PRECISION,
    SIZE,
    Report,
    guarded,
    ms_of,
    seconds_of,
)
from speed.gpu_training import NETWORKS, TRAININGS, compiled, loading, training
from speed.timing import goal
from spine_monai.fusion import FusedPoints, FusionModel
from spine_monai.joint import JointFusion
from spine_monai.networks import prepare

MATRIX_SIDE, COPIED_BYTES = 8192, 1 << 30
DRAWN = 8  # images with a spine each; larger batches hold them again
Fusion = FusionModel | JointFusion


def measure(device: str = "cuda") -> dict[str, Any]:
    """Return all that is measured of the device."""
    report = Report(device)
    for name, group in groups().items():
        guarded(report, name, group)
    report.notes += [
        f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}; times are medians, "
        "each call waited for. Inference runs as `prepare` makes the networks.",
        "A training step is forward, loss, backward and optimizer on one batch that is already "
        "there; the default trainings' epochs are as in *Training*.",
    ]
    known = ("rows", "goals", "notes")
    return {"title": "GPU"} | {name: getattr(report, name) for name in known}


def groups() -> dict[str, Callable[[Report], None]]:
    """Return what is measured, by name; what may fail without loss comes last."""
    alone = partial(decoding, name="each landmark alone", make=paper_fusion)
    jointly = partial(decoding, name="all together", make=shipped_fusion)
    return {
        "rates": rates,
        "forward": forward,
        "decoding, each alone": alone,
        "decoding, all together": jointly,
        **{f"training, {title}": partial(training, file=file) for file, title in NETWORKS.items()},
        **{f"loading, {file}": partial(loading, file=file) for file in TRAININGS},
        "CUDA graph": replayed_forward,
        "compiled forward": compiled_forward,
        **{f"compiled training, {NETWORKS[f]}": partial(compiled, file=f) for f in TRAININGS},
        "CUDA graph of decoding, each alone": partial(replayed_decoding, make=paper_fusion),
        "CUDA graph of decoding, all together": partial(replayed_decoding, make=shipped_fusion),
    }


def rates(report: Report) -> None:
    """Measure what bounds everything: products of random matrices, and copies."""
    dtype, side = getattr(torch, PRECISION), MATRIX_SIDE
    matrix = torch.randn(side, side, device=report.device, dtype=dtype)
    ms = ms_of(lambda: matrix @ matrix, repeats=25, warm_ups=5)
    report.flop_ms = 2 * side**3 / ms
    tflop_s = round(report.flop_ms / 1e9, 1)
    report.add(f"{PRECISION} product of {side} x {side} matrices", ms=ms, tflop_s=tflop_s)
    source = torch.zeros(COPIED_BYTES, dtype=torch.uint8, device=report.device)
    target = torch.empty_like(source)
    ms = ms_of(lambda: target.copy_(source))
    gb_s = round(2 * COPIED_BYTES / ms / 1e6, 1)
    report.add(f"copy of {COPIED_BYTES >> 20} MiB, read and written", ms=ms, gb_s=gb_s)


def forward(report: Report) -> None:
    """Measure the paper's networks, each and both, and without the parts that batches run in."""
    networks = paper_pair(report.device)
    chosen = {"pair": networks} | {title: [networks[i]] for i, title in enumerate(titles())}
    for title, some in chosen.items():
        flops = pair_flops(some, report.device)
        for count in BATCHES:
            image = image_of(count, SIZE).to(report.device)
            ms = ms_of(partial(run_all, some, image))
            report.add(f"forward, {title}, batch {count}", **report.pace(count, ms, flops * count))
            if title == "pair":
                report.forward_ms[count] = ms
    flops = pair_flops(networks, report.device)
    for count in BATCHES[1:]:
        image = image_of(count, SIZE).to(report.device)
        ms = ms_of(partial(run_undivided, networks, image))
        what = f"forward, pair, batch {count}, not in parts of four"
        report.add(what, **report.pace(count, ms, flops * count))


def titles() -> list[str]:
    """Return the networks' names, in the order of ``paper_networks``."""
    return list(NETWORKS.values())


def paper_pair(device: str) -> list[Any]:
    """Return both of the paper's networks as inference runs them on a device."""
    return [prepare(network, PRECISION, device) for network in paper_networks()]


def pair_flops(networks: list[Any], device: str) -> int:
    """Return the operations of networks on one image."""
    image = image_of(1, SIZE).to(device)
    return executed_flops(lambda: run_all(networks, image))


def run_all(networks: list[Any], image: Tensor) -> list[Tensor]:
    """Run networks one after the other."""
    return [network(image) for network in networks]


def run_undivided(networks: list[Any], image: Tensor) -> list[Tensor]:
    """Run networks on a whole batch at once, however large."""
    with torch.inference_mode():
        return [network._run(image) for network in networks]


def compiled_forward(report: Report) -> None:
    """Measure the paper's pair with the networks compiled; large batches first."""
    networks = paper_pair(report.device)
    flops = pair_flops(networks, report.device)
    for network in networks:
        network.network = torch.compile(network.network, dynamic=False)
    for count in reversed(BATCHES):
        image = image_of(count, SIZE).to(report.device)
        first_s = seconds_of(partial(run_all, networks, image))
        ms = ms_of(partial(run_all, networks, image))
        figures = report.pace(count, ms, flops * count) | {"first_call_s": first_s}
        report.add(f"forward, pair, batch {count}, torch.compile", **figures)


def replayed_forward(report: Report) -> None:
    """Measure the paper's pair on one image, replayed as a CUDA graph."""
    networks = paper_pair(report.device)
    flops = pair_flops(networks, report.device)
    image = image_of(1, SIZE).to(report.device)
    ms = ms_of(recorded(lambda: run_all(networks, image)).replay)
    report.add("forward, pair, batch 1, CUDA graph", **report.pace(1, ms, flops))


def recorded(call: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """Return a call's kernels as a graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph


def paper_fusion() -> Fusion:
    """Return the paper's fusion: each landmark by itself."""
    return FusionModel(LANDMARKS, prior_sigma_mm=PAPER_SIGMA_MM)


def shipped_fusion() -> Fusion:
    """Return the shipped fusion with the chain over all landmarks."""
    return shipped_joint(LANDMARKS)


def decoding(report: Report, name: str, make: Callable[[], Fusion]) -> None:
    """Measure decoding of logits on the device, and compare with the processor's points."""
    drawn = columns((LANDMARKS, *SIZE), min(DRAWN, max(BATCHES)))
    expected = make().decode(*drawn)
    model = make().to(report.device)
    for count in BATCHES:
        given = [repeated(tensor, count).to(report.device) for tensor in drawn]
        row = decode_batch(report, f"decoding, {name}", count, partial(model.decode, *given))
        if "share_of_forward" in row:
            text = f"{row['what']}: share of the forward time"
            report.goals.append(goal(text, row["share_of_forward"], "<", 0.05))
    given = [tensor.to(report.device) for tensor in drawn]
    apart = differences(on_cpu(model.decode(*given)), expected)["points_px"]
    waits = host_waits(partial(model.decode, *given), report.device)
    report.add(f"decoding, {name}", points_differ_from_cpu_px=apart, host_waits=waits.total())
    report.goals += [
        goal(f"decoding, {name}: points equal to the CPU's", apart, "<=", POINTS_PX, "px"),
        goal(f"decoding, {name}: times that the host waits in it", waits.total(), "<=", 1),
    ]
    if waits:
        places = ", ".join(f"{place} ({times})" for place, times in waits.most_common())
        report.notes.append(f"decoding, {name}: the host waits in {places}")


def decode_batch(
    report: Report, what: str, count: int, call: Callable[[], object]
) -> dict[str, Any]:
    """Measure the decoding of a batch beside the forward pass of as many images."""
    ms = ms_of(call)
    figures: dict[str, Any] = {"ms": round(ms, 3), "images_a_second": round(1000 * count / ms)}
    if count in report.forward_ms:
        figures["share_of_forward"] = round(ms / report.forward_ms[count], 4)
    return report.add(f"{what}, batch {count}", **figures)


def repeated(tensor: Tensor, count: int) -> Tensor:
    """Return so many images of a batch, again from the first one on when all are taken."""
    return tensor[torch.arange(count) % len(tensor)]


def on_cpu(fused: FusedPoints) -> FusedPoints:
    """Return what was decided, where the processor can read it."""
    there = {name: part.cpu() for name, part in fused._asdict().items() if part is not None}
    return FusedPoints(**there)


def host_waits(call: Callable[[], object], device: str) -> Counter[str]:
    """Return where in a call the host waits for the device, and how often."""
    if torch.device(device).type != "cuda":
        return Counter()
    call()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [one for one in caught if "synchronizing CUDA operation" in str(one.message)]
    return Counter(f"{Path(one.filename).name}:{one.lineno}" for one in waits)


def replayed_decoding(report: Report, make: Callable[[], Fusion]) -> None:
    """Measure decoding of one image, replayed as a CUDA graph."""
    model = make().to(report.device)
    given = [tensor.to(report.device) for tensor in columns((LANDMARKS, *SIZE))]
    graph = recorded(partial(model.decode, *given))
    decode_batch(report, f"decoding, {type(model).__name__}, CUDA graph", 1, graph.replay)
