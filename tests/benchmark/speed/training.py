"""Training: drawing targets, and the share of an epoch that the network itself takes.

With SPINE_MONAI_DATA (a folder of case folders) an epoch is one of the default trainings on it;
without, one on the demo study, listed as often as the data set has subjects.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from monai.transforms import GenerateHeatmapd
from torch import Tensor

from speed.timing import goal, side_by_side
from spine_monai.data import datalist_from_markups, read_datalist, write_datalist
from spine_monai.heatmaps import decode_heatmaps, encode_heatmaps
from spine_monai.landmarks import LUMBAR11
from spine_monai.networks import precision_name
from spine_monai.transforms import DrawHeatmaps
from spine_monai.workflows.bundle import find_bundle, parse_config

TRAININGS = ("train_heatmap.yaml", "train_coordinates.yaml")
STUDIES = 20  # the demo study again and again; about as many as three folds of 28 subjects
EPOCHS = 3
IN_A_ROW = 20
PRECISION = precision_name("auto", "cpu")


def measure() -> dict[str, Any]:
    """Return rows and goals of drawing and of the default trainings, on the processor."""
    rows = [
        drawing((11, 512, 512), batch=1, sigma_px=1.2),  # the paper's
        drawing((13, 256, 192), batch=4, sigma_px=3.0),  # the default training's
    ]
    goals = [
        goal(f"drawing {row['what']}: GenerateHeatmapd's time over ours", row["ratio"], ">=", 200)
        for row in rows
    ]
    with tempfile.TemporaryDirectory() as folder:
        datalist = make_datalist(Path(folder))
        for name in TRAININGS:
            rows.append(epoch(name, datalist, Path(folder)))
            share = rows[-1]["network_share"]
            goals.append(goal(f"share of the network in an epoch of {name}", share, ">=", 0.95))
    notes = [
        "An epoch is all that the trainer does between two validations; beside it stand as many "
        "bare steps (forward, loss, backward, optimizer) on one batch that is already there.",
        "Where the processor has no bfloat16 arithmetic the trainings run in float32.",
    ]
    return {"title": "Training", "rows": rows, "goals": goals, "notes": notes}


def drawing(shape: tuple[int, int, int], *, batch: int, sigma_px: float) -> dict[str, Any]:
    """Return how long a batch's heatmaps take, as the training draws them and as MONAI does.

    Both on one thread, as everything so small; ours many times in a row, to be measurable at all.
    """
    count, *size = shape
    points_ij = torch.rand(batch, count, 2) * (torch.tensor(size) - 41) + 20
    item = {"image": torch.zeros(batch, 1, *size), "label": points_ij}
    ours = DrawHeatmaps(target_sigma_px=sigma_px)
    theirs = GenerateHeatmapd(
        "points", heatmap_keys="maps", sigma=sigma_px, spatial_shape=tuple(size)
    )
    calls: dict[str, Callable[[], object]] = {
        "ours": lambda: [ours(item) for _ in range(IN_A_ROW)],
        "fresh": lambda: [encode_heatmaps(points_ij, size, sigma_px) for _ in range(IN_A_ROW)],
        "monai": lambda: [theirs({"points": points}) for points in points_ij],
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    times = side_by_side(calls, repeats=15)
    torch.set_num_threads(threads)
    ours_ms, fresh_ms = times["ours"] / IN_A_ROW, times["fresh"] / IN_A_ROW
    error = (decode_heatmaps(ours(item)[1]) - points_ij).abs().max()
    return {
        "what": f"{batch} x {count} x {size[0]} x {size[1]}, sigma {sigma_px:g} px, one thread",
        "spine_monai_ms": ours_ms,
        "spine_monai_fresh_memory_ms": fresh_ms,
        "monai_generate_heatmapd_ms": times["monai"],
        "ratio": times["monai"] / ours_ms,
        "ratio_fresh_memory": times["monai"] / fresh_ms,
        "encode_decode_max_error_px": float(error),
    }


def make_datalist(folder: Path) -> Path:
    """Write the datalist of the data set, or of the demo study again and again."""
    path = folder / "datalist.json"
    data = os.environ.get("SPINE_MONAI_DATA")
    if data:
        items = datalist_from_markups([Path(data)], LUMBAR11, Path(data) / "cases.csv")
    else:
        (study,) = read_datalist(find_bundle() / "sample" / "datalist.json")
        items = [study | {"id": f"demo-{i}", "fold": 1} for i in range(STUDIES)]
    write_datalist(items, path, LUMBAR11.name)
    return path


def epoch(name: str, datalist: Path, folder: Path, **values: Any) -> dict[str, Any]:
    """Return how long epochs of a training take, and as many steps on one batch in place.

    Args:
        name: of the workflow file.
        datalist: that it trains on.
        folder: for what it writes.
        **values: ids of the file and their new values, beside those of ``trainer_of``.
    """
    trainer, loader = trainer_of(name, datalist, folder, **values)
    precision = values.get("precision", PRECISION)
    batch = trainer.prepare_batch(next(iter(loader)), trainer.state.device)

    def real() -> None:
        trainer.state.max_epochs = trainer.state.epoch + 1
        trainer.run()

    def bare() -> None:
        for _ in range(len(loader)):
            step(trainer, *batch)

    def load() -> None:
        for _ in loader:
            pass

    times = side_by_side({"real": real, "bare": bare, "load": load}, repeats=EPOCHS, warm_ups=1)
    return {
        "what": f"{name}, {len(loader)} steps of {loader.batch_size}, {precision}",
        "epoch_s": times["real"] / 1000,
        "network_alone_s": times["bare"] / 1000,
        "loader_alone_s": times["load"] / 1000,
        "network_share": times["bare"] / times["real"],
    }


def trainer_of(name: str, datalist: Path, folder: Path, **values: Any) -> tuple[Any, Any]:
    """Return the trainer of a workflow file and its loader, but for the validation.

    It runs on the processor, unless the values say otherwise.
    """
    given = {"datalist": str(datalist), "output_dir": str(folder / name), "epochs": 100}
    given |= {"device": "$torch.device('cpu')", "precision": PRECISION}
    parser = parse_config(find_bundle(), name, **given)
    parser.update(values)
    handlers = parser.get()["train"]["handlers"]
    handlers[:] = [h for h in handlers if h["_target_"] != "ValidationHandler"]
    trainer = parser.get_parsed_content("train::trainer")
    return trainer, parser.get_parsed_content("train::dataloader")


def step(trainer: Any, image: Tensor, label: Tensor) -> None:
    """Do what a trainer does in one step, and nothing else."""
    trainer.network.train()
    trainer.optimizer.zero_grad(set_to_none=True)
    trainer.loss_function(trainer.inferer(image, trainer.network), label).backward()
    trainer.optimizer.step()
