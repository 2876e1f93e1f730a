"""Training steps on the GPU, and whether loading keeps up with them."""

import importlib.util
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from speed.forward import executed_flops, image_of
from speed.gpu_report import BATCHES, LANDMARKS, PRECISION, SIZE, Report, ms_of, seconds_of
from speed.timing import goal
from speed.training import TRAININGS, epoch, make_datalist, step, trainer_of
from spine_monai.workflows.bundle import find_bundle

STEPS = 20  # images' worth of training steps that are timed in a row; at least three steps
WORKERS = (0, min(8, os.cpu_count() or 1))
NETWORKS = dict(zip(TRAININGS, ("U-Net", "Xception"), strict=True))


def training(report: Report, file: str) -> None:
    """Measure training steps of a paper network with its weights laid out in every way."""
    title = NETWORKS[file]
    trainer = paper_trainer(file, report.device)
    flops = step_flops(trainer, report.device)
    rows = [
        steps(report, f"{title}, {way}", count, trainer, flops)
        for way, batches in ways(trainer)
        for count in batches
    ]
    share_goal(report, f"training, {title}", rows)


def share_goal(report: Report, what: str, rows: list[dict[str, Any]]) -> None:
    """Hold the best of some rows against the matrix rate."""
    shares = {row["what"]: row["share_of_matrix_rate"] for row in rows if report.flop_ms}
    if shares:
        best = max(shares, key=lambda name: shares[name])
        text = f"{what}: share of the matrix rate (best: {best})"
        report.goals.append(goal(text, shares[best], ">=", 0.4))


def ways(trainer: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Lay a trainer's weights out in one way after the other; name it, and the batches to try."""
    yield "weights as they are", BATCHES
    channels_last(trainer)
    yield "weights channels last", BATCHES
    torch.backends.cudnn.benchmark = True
    try:
        yield "weights channels last, cudnn.benchmark", BATCHES[-1:]
    finally:
        torch.backends.cudnn.benchmark = False


def channels_last(trainer: Any) -> None:
    """Lay a trainer's weights out as its images are; the optimizer's memory follows anew."""
    trainer.network.to(memory_format=torch.channels_last)
    trainer.optimizer.state.clear()


def steps(report: Report, what: str, count: int, trainer: Any, flops: int) -> dict[str, Any]:
    """Measure training steps on one batch of so many images; ``flops`` are those of one image."""
    batch, in_a_row = resident_batch(trainer, count, report.device), max(3, STEPS // count)

    def some_steps() -> None:
        for _ in range(in_a_row):
            step(trainer, *batch)

    ms = ms_of(some_steps, repeats=3, warm_ups=1) / in_a_row
    pace = report.pace(count, ms, flops * count)
    what = f"training step, {what}, batch {count}"
    return report.add(what, steps_a_second=round(1000 / ms, 2), **pace)


def step_flops(trainer: Any, device: str) -> int:
    """Return the operations of one training step on one image: three forward passes.

    Not counted, for the backward pass of grouped convolutions is counted as if they had no groups.
    """
    image, _ = resident_batch(trainer, 1, device)
    trainer.network.train()
    return 3 * executed_flops(lambda: trainer.inferer(image, trainer.network))


def resident_batch(trainer: Any, count: int, device: str) -> tuple[Tensor, Tensor]:
    """Return images and targets on the device."""
    points = torch.rand(count, LANDMARKS, 2)
    batch: tuple[Tensor, Tensor] = trainer.prepare_batch(
        {"image": image_of(count, SIZE), "label": points}, torch.device(device)
    )
    return batch


def paper_trainer(file: str, device: str) -> Any:
    """Return the trainer of a paper network; its data set is only there to be built."""
    variant = find_bundle() / "configs" / "variants" / "paper.yaml"
    paper = yaml.safe_load(variant.read_text(encoding="utf-8"))
    values = paper | values_for(device) | {"is_writer": False}
    with tempfile.TemporaryDirectory() as folder:
        trainer, _ = trainer_of(file, make_datalist(Path(folder)), Path(folder), **values)
    return trainer


def values_for(device: str) -> dict[str, Any]:
    """Return what a workflow file must have to train on a device; the curves need TensorBoard."""
    return {
        "device": f"$torch.device('{device}')",
        "precision": PRECISION,
        "is_writer": importlib.util.find_spec("tensorboard") is not None,
    }


def compiled(report: Report, file: str) -> None:
    """Measure training steps of a compiled paper network, at the largest batch."""
    title, count = NETWORKS[file], BATCHES[-1]
    trainer = paper_trainer(file, report.device)
    flops = step_flops(trainer, report.device)
    channels_last(trainer)
    trainer.network = compiled_network(trainer.network)
    batch = resident_batch(trainer, count, report.device)
    first_s = seconds_of(lambda: step(trainer, *batch))
    what = f"{title}, weights channels last, torch.compile"
    row = steps(report, what, count, trainer, flops)
    row["first_call_s"] = first_s
    share_goal(report, f"training, {title}, torch.compile", [row])


def compiled_network(network: nn.Module) -> Any:
    """Return a network compiled for the shapes that it meets."""
    return torch.compile(network, dynamic=False)


def loading(report: Report, file: str) -> None:
    """Measure the network's share in epochs of a default training, with and without workers."""
    with tempfile.TemporaryDirectory() as folder:
        datalist = make_datalist(Path(folder))
        for workers in dict.fromkeys(WORKERS):
            values = values_for(report.device) | {"num_workers": workers}
            if workers:
                values["train::dataloader::persistent_workers"] = True
            row = epoch(file, datalist, Path(folder), **values)
            what = row.pop("what") + f", {workers} workers"
            report.add(what, **{name: round(value, 4) for name, value in row.items()})
    text = f"share of the network in an epoch of {what}"
    report.goals.append(goal(text, row["network_share"], ">=", 0.95))
