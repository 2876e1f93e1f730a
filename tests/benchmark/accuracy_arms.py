"""What the accuracy bench trains: its arms, and several trainings at a time.

An arm is a configuration of one or both networks, trained without each fold in turn. A heatmap
network is shown windows that coordinates place, so it waits for those of its fold.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import yaml

from spine_monai.data import read_datalist
from spine_monai.heatmaps import paper_amplitude
from spine_monai.workflows.bundle import find_bundle
from spine_monai.workflows.configuration import prepare_bundle
from spine_monai.workflows.stages import hold_out, prediction_file

logger = logging.getLogger("spine_monai.bench")

BOTH = ("coordinates", "heatmap")
BASE = "shorter_coordinates"  # gives most arms the network that they do not train
CENTRED = {"_target_": "CenterSpatialCropd", "keys": "image", "roi_size": "@window_size"}
STRETCHED = {"_target_": "ScaleIntensityd", "keys": "image"}
COMMON_EPOCHS = 80  # of heatmap networks on three folds; fewer folds get more
# What every arm of a heatmap network but the default's own has, so that two cores can afford it.
COMMON = {"window_size": [256, 128], "roomy_size": [352, 224], "epochs": COMMON_EPOCHS}


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Args:
        title: what it is called in the tables.
        networks: that it trains; the other one's predictions are those of another arm.
        variant: overlay of the bundle.
        values: ids of the workflow files that it changes, by network.
        folds: of the three others, how many it trains on.
        other: arm that gives the network that it does not train, and so places the windows.
    """

    title: str
    networks: tuple[str, ...] = ("heatmap",)
    variant: str | None = None
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    folds: int = 3
    other: str = BASE


@dataclass(frozen=True)
class Job:
    """One training: an arm's network without a fold."""

    arm: str
    network: str
    fold: int


def common(title: str, variant: str | None = None, **values: Any) -> Arm:
    """Return a heatmap network in the narrower window, with a third of the default's steps."""
    own = {"heatmap": COMMON | values}
    return Arm(f"{title}, window of 307 x 154 mm", variant=variant, values=own)


def fewer_subjects(folds: int) -> Arm:
    """Return the common heatmap network trained on fewer folds, with as many steps."""
    values = {"heatmap": COMMON | {"epochs": COMMON_EPOCHS * 3 // folds}}
    return Arm(f"{7 * folds} training subjects", values=values, folds=folds)


def without_equalization() -> Arm:
    """Return the common heatmap network on grey values as they are, stretched to 0 to 1."""
    loading = [
        {"_target_": "spine_monai.transforms.LoadSpineStudyd", "keys": "image"},
        {"_target_": "spine_monai.transforms.SagittalSliced", "keys": "image"},
    ]
    scale = {"_target_": "spine_monai.transforms.PhysicalScaled", "keys": "image"}
    steps = [*loading, STRETCHED, scale | {"spacing_mm": "@spacing_mm"}]
    return common("without equalization", image_steps=steps)


def at_512() -> Arm:
    """Return the common heatmap network on pixels half as wide, the same in millimetres."""
    steps = shipped("train_heatmap.yaml")["augmentation"]
    steps[0]["translate_range"] = [2 * step for step in steps[0]["translate_range"]]
    sizes = {"window_size": [512, 256], "roomy_size": [704, 448]}
    width = {"spacing_mm": 0.6, "target_sigma_px": 6.0}
    return common("512 x 256 pixels of 0.6 mm", **sizes, **width, augmentation=steps)


def paper_at_512() -> Arm:
    """Return a U-Net on the paper's grid and targets, else trained as the others are."""
    whole = shipped("variants/whole_image.yaml")
    *steps, resized = whole["image_steps"]
    first, *others = whole["augmentation"]
    factor = 512 / resized["spatial_size"][0]
    moved = {"translate_range": [factor * step for step in first["translate_range"]]}
    values = {
        "image_steps": [*steps, resized | {"spatial_size": [512, 512]}],
        "augmentation": [first | moved, *others],
        "target_sigma_px": 1.2,
        "epochs": 50,
        "memory_format": "$torch.channels_last",
        "heatmap_network_def": SMALL_UNET,
    }
    title = (
        "U-Net of 16 channels on the paper's grid (512 x 512) and targets (1.2 px), else our recipe"
    )
    return Arm(title, variant="whole_image", values={"heatmap": values}, other="xception_fc")


def with_deep_cuts() -> Arm:
    """Return the default's coordinates, also trained on images that end above L4-L5."""
    cut, *others = shipped("train_coordinates.yaml")["augmentation"]
    deep = cut | {"prob": 0.5, "max_cut": [0.45, 0.25]}
    values = SEED_2 | SEVEN_LOOKS | {"augmentation": [deep, *others]}
    title = "the default's coordinates, trained on images that lose up to 45 % of their height"
    return Arm(title, ("coordinates",), values={"coordinates": values}, other="default")


def with_masks() -> Arm:
    """Return coordinates that learn the data's masks, too; see ``mask_target``."""
    coordinates = shipped("train_coordinates.yaml")
    loaded = {"_target_": "mask_target.LoadMaskd", "keys": "id", "datalist": "@datalist"}
    kept = {"_target_": "SelectItemsd", "keys": ["image", "points_lps", "mask"]}
    network = coordinates["coordinates_network_def"] | {"_target_": "mask_target.MaskXception"}
    values = {
        "coordinates_network_def": network,
        "coordinates_loss": {"_target_": "mask_target.MaskCoordinateLoss"},
        "training_items": [loaded, kept],
        "plain": [{"_target_": "mask_target.WithMaskd", "keys": "label"}, *coordinates["plain"]],
    }
    own = {"coordinates": SHORT_COORDINATES["coordinates"] | values}
    title = "coordinates of `shorter_coordinates` that learn the data's masks, too"
    return Arm(title, ("coordinates",), values=own)


def seen_once(arm: Arm) -> Arm:
    """Return an arm whose coordinates look at an image once."""
    own = ONE_LOOK | arm.values.get("coordinates", {})
    return replace(arm, values={**arm.values, "coordinates": own})


def shipped(file: str) -> dict[str, Any]:
    """Return a configuration file of the shipped bundle."""
    text = (find_bundle(None) / "configs" / file).read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


def differs_in_one_thing(name: str) -> bool:
    """Return whether an arm's heatmap network is that of ``narrow_window`` but for one thing."""
    return name != "narrow_window" and "window_size" in ARMS[name].values.get("heatmap", {})


SMALL_UNET = {
    "_target_": "BasicUNet",
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": "@num_landmarks",
    "features": [16, 32, 64, 128, 256, 16],
    "norm": "batch",
}
PAPER = {network: {"precision": "bfloat16"} for network in BOTH}
SHORT = {"heatmap": {"epochs": COMMON_EPOCHS}}
SHORT_COORDINATES = {"coordinates": {"epochs": 170}}
SEED_1, SEED_2 = {"seed": 1}, {"seed": 2}
ONE_LOOK: dict[str, Any] = {"coordinates_looks": []}
SEVEN_LOOKS = {"coordinates_looks": shipped("train_coordinates.yaml")["coordinates_looks"]}
REMAPPED = {"remapped_share": 0.15, "inverted_share": 0.1}
SHARP = {"heatmap": {"target_sigma_px": 1.0, "remapped_share": 0.06, "inverted_share": 0.04}}
SMALLER = {
    "coordinates": {
        "coordinates_width": 0.5,
        "coordinates_input_size": 160,
        **SHORT_COORDINATES["coordinates"],
    }
}
ARMS = {
    "default": Arm(
        "window of 307 x 230 mm at one scale, DynUNet, seven looks of the coordinates, from seed 2",
        BOTH,
        values={"coordinates": SEED_2 | SEVEN_LOOKS, "heatmap": SEED_2},
    ),
    "one_look": Arm("the default with one look of the coordinates, from seed 0", BOTH),
    "remapped": Arm(
        "`one_look` trained on a quarter of remapped or inverted images",
        BOTH,
        values=dict.fromkeys(BOTH, REMAPPED),
    ),
    "sharp": Arm(
        "heatmaps of `one_look` on targets of 1 px, one image in ten remapped or inverted",
        values=SHARP,
        other="one_look",
    ),
    "other_contrasts": Arm(
        "coordinates of `one_look` trained on one in ten remapped or inverted",
        ("coordinates",),
        "other_contrasts",
    ),
    "deep_cuts": with_deep_cuts(),
    BASE: Arm(
        "`one_look` with a third of the steps for the coordinates", BOTH, values=SHORT_COORDINATES
    ),
    "shorter": Arm("heatmaps of `one_look` with a third of the steps", values=SHORT),
    "narrow_longer": common("DynUNet, as many steps as the default", epochs=3 * COMMON_EPOCHS),
    "narrow_window": common("DynUNet"),
    "smaller_coordinates": Arm(
        "narrower Xception on a coarser canvas", ("coordinates",), values=SMALLER
    ),
    "with_masks": with_masks(),
    "xception_fc": Arm(
        "Xception + FC, the paper's recipe, small",
        ("coordinates",),
        "xception_fc",
        SHORT_COORDINATES,
    ),
    "whole_image": Arm("whole image squeezed, DynUNet", variant="whole_image", values=SHORT),
    "fcn": common("FCN-8s", "fcn"),
    "scn": common("SpatialConfiguration-Net", "scn"),
    "hourglass": common("stacked hourglass", "hourglass"),
    "hrnet": common("HRNet", "hrnet"),
    "paper": Arm("the paper's pair at full size", BOTH, "paper", PAPER),
    "paper_512": paper_at_512(),
    "dsnt": common("numerical coordinate regression", "dsnt"),
    "adaptive": common("targets that sharpen from 5 to 1 px (AdaLoss)", "adaptive"),
    "again": Arm(
        "the default with one look of the coordinates, from seed 1",
        BOTH,
        values=dict.fromkeys(BOTH, SEED_1),
    ),
    "no_augmentation": common("without augmentation", augmentation=[CENTRED], field_of_view=[]),
    "mildly_remapped": common("one image in ten remapped or inverted", "other_contrasts"),
    "no_equalization": without_equalization(),
    "subjects_14": fewer_subjects(2),
    "subjects_7": fewer_subjects(1),
    "narrow": common("targets of 1 px", target_sigma_px=1.0),
    "broad": common("targets of 5 px", target_sigma_px=5.0),
    "window_512": at_512(),
    "second_form": common(
        "targets of the paper's second form", target_amplitude=paper_amplitude(3.0, 10.0)
    ),
}
ARMS = {name: arm if name == "default" else seen_once(arm) for name, arm in ARMS.items()}
AVERAGED = {"two": ("one_look", "sharp"), "seeds": ("one_look", "again_by_one_look")}
UNTRAINED = {  # rows of others' networks
    "again_looks": Arm("the networks of `again`, with seven looks of the coordinates", BOTH),
    "masks_looks": Arm(
        "the networks of `with_masks`, with seven looks of the coordinates", ("coordinates",)
    ),
    "looks_once": Arm("the networks of `default`, with one look of the coordinates", BOTH),
    "two": Arm("mean heatmaps of `one_look` and `sharp`; not the headline", other="one_look"),
    "seeds": Arm(
        "mean heatmaps of `one_look` and `again`, in windows of `one_look`; not the headline",
        other="one_look",
    ),
    "tta": Arm(
        "heatmaps of `narrow_window` averaged over nine turned and scaled windows; not the headline"
    ),
}


def train_arms(
    names: Sequence[str], work: Path, datalist: Path, jobs: int = 1, **values: Any
) -> None:
    """Train what is not there yet, so many networks at a time; a failed one fails the others last.

    Args:
        names: arms, in order of importance.
        work: gets a bundle an arm.
        datalist: cases with landmarks and folds.
        jobs: trainings at a time.
        **values: ids of the workflow files that differ from every arm's, such as ``precision``.

    Raises:
        RuntimeError: some training failed; the others are finished.
    """
    folds = sorted({item["fold"] for item in read_datalist(datalist)})
    waiting = [job for job in with_placing(names, folds) if not is_done(work, job)]
    prepare_arms(dict.fromkeys([*names, *(job.arm for job in waiting)]), work)
    failed, running = [], dict[Future[None], Job]()
    start = partial(train_one, work=work, datalist=datalist, threads=max(1, 2 // jobs), **values)
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        while waiting or running:
            ready = [job for job in waiting if is_ready(work, job)][: jobs - len(running)]
            waiting = [job for job in waiting if job not in ready]
            running |= {pool.submit(start, job, folds=folds): job for job in ready}
            if not running:
                placing = placed_by(waiting[0].arm)
                msg = f"coordinates of {placing} must be trained first: {waiting[0]} needs them."
                raise RuntimeError(msg)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                if future.exception():
                    logger.error("%s: %r", job, future.exception())
                    failed.append(job)
    if failed:
        msg = f"every training must end: {len(failed)} failed, the first {failed[0]}. See above."
        raise RuntimeError(msg)


def with_placing(names: Sequence[str], folds: Sequence[int]) -> list[Job]:
    """Return the arms' trainings; before them the coordinates that place their windows."""
    own = [job for name in names for job in jobs_of(name, folds)]
    placing = [
        Job(placed_by(job.arm), "coordinates", job.fold) for job in own if job.network == "heatmap"
    ]
    return list(dict.fromkeys([*placing, *own]))


def prepare_arms(names: Iterable[str], work: Path) -> None:
    """Make the bundles of arms, without weights, that are not there yet."""
    for name in names:
        if not (work / name / "configs").is_dir():
            prepare_bundle(find_bundle(None), work / name, ARMS[name].variant)


def jobs_of(name: str, folds: Sequence[int]) -> list[Job]:
    """Return an arm's trainings, coordinates first."""
    return [Job(name, network, fold) for network in ARMS[name].networks for fold in folds]


def is_done(work: Path, job: Job) -> bool:
    """Return whether a training's predictions are there."""
    return prediction_file(work / job.arm, job.network, job.fold).is_file()


def is_ready(work: Path, job: Job) -> bool:
    """Return whether what places the windows of a training is there."""
    return job.network == "coordinates" or is_done(
        work, Job(placed_by(job.arm), "coordinates", job.fold)
    )


def placed_by(name: str) -> str:
    """Return the arm whose coordinates place an arm's windows."""
    return name if "coordinates" in ARMS[name].networks else ARMS[name].other


def train_one(
    job: Job, work: Path, datalist: Path, folds: Sequence[int], *, threads: int = 2, **values: Any
) -> None:
    """Train one network without a fold."""
    if not logger.hasHandlers():  # a process of the pool
        logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
        logging.getLogger("spine_monai").setLevel(logging.INFO)
    arm = ARMS[job.arm]
    others = [fold for fold in folds if fold != job.fold]
    others.sort(key=lambda fold: (fold - job.fold) % len(folds))
    placing = work / placed_by(job.arm) / "predictions" / "coordinates"
    given = {
        "datalist": str(datalist.resolve()),
        "coordinates_dir": str(placing.resolve()),
        "train_folds": others[: arm.folds],
        **arm.values.get(job.network, {}),
        **values,
    }
    torch.set_num_threads(threads)
    hold_out(work / job.arm, job.network, job.fold, folds, given)
