"""Train: all stages in order, from a datalist to a complete bundle, with its figures.

Each network is trained once without each fold, for predictions on subjects it has not seen, and
once on all folds, for the bundle. The fusion is fitted on the unseen ones' predictions.
"""

import json
import logging
import os
import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from spine_monai import __version__
from spine_monai.data import read_datalist, read_training_cases
from spine_monai.files import place_of, sha256_of_file, write_text
from spine_monai.landmarks import describe_set, load_registry
from spine_monai.workflows.arms import FUSION_FILE, measure_arms
from spine_monai.workflows.bundle import LANDMARK_SETS, find_bundle
from spine_monai.workflows.card import write_card
from spine_monai.workflows.causes import root_cause
from spine_monai.workflows.checks import (
    check_folds,
    check_images,
    check_landmarks,
    check_neighbours,
    check_path,
    check_reported,
    check_same_training,
)
from spine_monai.workflows.configuration import COUNT, NETWORKS, Configuration

logger = logging.getLogger(__name__)

NEVER = 10**6  # epochs between validations of a training that holds nothing out
METRICS_FILE = "metrics.json"
RECIPE_FILE = "training.json"  # what the training in a folder is of


def train(
    datalist: str | Path,
    output_dir: str | Path,
    *,
    variant: str | Path | None = None,
    bundle: str | Path | None = None,
    exclude: Sequence[str] = (),
    **values: Any,
) -> dict[str, Any]:
    """Train both networks fold by fold and on all folds, fit the fusion, and measure the arms.

    Every stage goes on from its last checkpoint, so an interrupted run is started again with the
    same words; finished stages are not done again.

    Args:
        datalist: cases with landmarks and folds.
        output_dir: becomes a complete bundle: configs, models, predictions, metrics, model card.
        variant: name of an overlay in the bundle's ``configs/variants``, or a YAML file.
        bundle: the bundle whose configuration is used; see ``find_bundle``.
        exclude: subjects that the bundle's own weights are not trained or fitted on; they are
            measured where held out.
        **values: further ids of the workflow files, put into those that have them.

    Returns:
        The figures that ``metrics.json`` holds, by arm.

    Raises:
        ValueError: the datalist, the variant, the bundle, a subject's name or a value's id is
            wrong; there are fewer than two folds, or some cases have none; the landmark sets do not
            fit each other or the cases; or ``output_dir`` holds parts of another training.
        FileNotFoundError: the datalist or an image is not there.
    """
    cases = read_training_cases(datalist)
    root = Path(output_dir).absolute()  # MONAI would evaluate one that begins with $
    exclude = [str(subject) for subject in exclude]
    _check_excluded(exclude, {item["subject"] for item in read_datalist(datalist)}, Path(datalist))
    folds = _folds(cases)
    configuration = Configuration(find_bundle(bundle), variant, values)
    _check_start(root, Path(datalist), cases, exclude, configuration)
    configuration.write(root)
    given = {"datalist": str(place_of(datalist)), **values}
    cross_validate(root, folds, given)
    for network in NETWORKS:
        run_stage(
            root, f"train_{network}.yaml", given | _on_all_folds(root, network, folds, exclude)
        )
    run_stage(root, FUSION_FILE, given | {"exclude": list(exclude)})
    command = _command(datalist, variant, bundle, exclude, values)
    metrics = circumstances(command, exclude) | measure_arms(root, datalist)
    write_text(root / METRICS_FILE, json.dumps(metrics, indent=1) + "\n")
    write_card(root, metrics, exclude)
    return metrics


def _check_start(
    root: Path,
    datalist: Path,
    items: Sequence[Mapping[str, Any]],
    exclude: Sequence[str],
    configuration: Configuration,
) -> None:
    """Refuse what would fail, or come to nothing, after hours."""
    check_path("output_dir", root)
    check_path("datalist", place_of(datalist))
    landmarks = configuration.landmarks
    registry, reported = (load_registry(landmarks[name]) for name in LANDMARK_SETS)
    check_landmarks(registry, reported, landmarks[COUNT])
    folds = _folds(items)
    check_folds(folds)
    check_neighbours(items, _left_out(items, folds, exclude), registry)
    check_reported(items, reported)
    check_images(items, datalist)
    recipe = {
        "datalist": sha256_of_file(datalist),
        "configuration": configuration.digest,
        **{name: describe_set(landmarks[name]) for name in LANDMARK_SETS},
        "exclude": sorted(exclude),
        "values": dict(configuration.values),
    }
    root.mkdir(parents=True, exist_ok=True)
    check_same_training(root / RECIPE_FILE, recipe)


def _left_out(
    items: Sequence[Mapping[str, Any]], folds: Sequence[int], exclude: Sequence[str]
) -> dict[str, Collection[str]]:
    """Subjects that each fit leaves out, by words for them."""
    held_out = {
        f"without fold {fold}": {item["subject"] for item in items if item["fold"] == fold}
        for fold in folds
    }
    words = f"without the {len(exclude)} excluded subjects" if exclude else "of all cases"
    return {words: exclude, **held_out}


def _folds(items: Iterable[Mapping[str, Any]]) -> list[int]:
    return sorted({item["fold"] for item in items if "fold" in item})


def _check_excluded(exclude: Sequence[str], subjects: Collection[str], datalist: Path) -> None:
    unknown = sorted(set(exclude) - set(subjects))
    if unknown:
        msg = f"exclude must name subjects of {datalist}: got {', '.join(unknown)}."
        raise ValueError(msg)


def cross_validate(
    bundle: Path,
    folds: Sequence[int],
    values: Mapping[str, Any],
    networks: Sequence[str] = NETWORKS,
) -> None:
    """Train networks without each fold in turn and store their predictions on it.

    Args:
        bundle: gets ``runs/<network>/fold-<k>`` and ``predictions/<network>/fold-<k>.npz``.
        folds: numbers of all folds; at least two.
        values: ids of the workflow files and their values.
        networks: which to train; ``coordinates`` before ``heatmap``.

    Raises:
        ValueError: there is only one fold.
    """
    check_folds(folds)
    for fold in folds:
        for network in networks:
            hold_out(bundle, network, fold, folds, values)


def hold_out(
    bundle: Path, network: str, fold: int, folds: Sequence[int], values: Mapping[str, Any]
) -> None:
    """Train a network without one fold and store its predictions on it, unless they are there.

    Args:
        bundle: as for ``cross_validate``.
        network: ``coordinates`` or ``heatmap``.
        fold: held out.
        folds: numbers of all folds.
        values: ids of the workflow files and their values; ``train_folds`` among them trains on
            fewer than all the others.
    """
    if prediction_file(bundle, network, fold).is_file():
        return
    place = bundle / "runs" / network / f"fold-{fold}"
    own = {
        "val_folds": [fold],
        "output_dir": str(place),
        "weights": str(place / "model.pt"),
    }
    others = {"train_folds": [other for other in folds if other != fold]}
    logger.info("%s network, held out: fold %d", network, fold)
    run_stage(bundle, f"train_{network}.yaml", {**others, **values, **own}, run_id="training")


def prediction_file(bundle: Path, network: str, fold: int) -> Path:
    """Return where a network's predictions on a held-out fold lie."""
    return bundle / "predictions" / network / f"fold-{fold}.npz"


def _on_all_folds(
    bundle: Path, network: str, folds: Sequence[int], exclude: Sequence[str]
) -> dict[str, Any]:
    return {
        "train_folds": list(folds),
        "val_folds": list(folds),
        "val_interval": NEVER,
        "exclude": list(exclude),
        "output_dir": str(bundle / "runs" / network / "all-folds"),
    }


def _command(
    datalist: str | Path,
    variant: str | Path | None,
    bundle: str | Path | None,
    exclude: Sequence[str],
    values: Mapping[str, Any],
) -> str:
    """Name what trains a bundle again, by the files' names alone."""
    files = {"--datalist": datalist, "--out": "DIR", "--variant": variant, "--bundle": bundle}
    words = [f"{option} {Path(file).name}" for option, file in files.items() if file]
    words += [" ".join(["--exclude", *exclude])] if exclude else []
    changed = [f"{name}={value}" for name, value in values.items()]
    return " ".join(["spine-monai train", *words]) + (
        f", with {', '.join(changed)}" * bool(changed)
    )


def circumstances(command: str, exclude: Sequence[str]) -> dict[str, Any]:
    """Return what must stand beside every figure: machine, load, versions, command.

    Args:
        command: what prints the figures.
        exclude: subjects that the bundle's own weights were not trained or fitted on.
    """
    return {
        "command": command,
        "held_out": "each fold by networks and a fusion that were trained and fitted on the others",
        "shipped_weights_without": list(exclude),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "threads": torch.get_num_threads(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "software": {"spine_monai": __version__, "torch": torch.__version__},
    }


def run_stage(bundle: Path, file: str, values: Mapping[str, Any], *, run_id: str = "run") -> None:
    """Run one training file of a bundle with those of the values whose ids it has."""
    from monai.bundle import ConfigWorkflow

    logger.info("stage %s", file)
    config = yaml.safe_load((bundle / "configs" / file).read_text(encoding="utf-8"))
    known = {name: value for name, value in values.items() if name in config}
    workflow = ConfigWorkflow(
        str(bundle / "configs" / file),
        workflow_type="train",
        run_id=run_id,
        logging_file=False,
        bundle_root=str(bundle),
        **known,
    )
    try:
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    except RuntimeError as error:
        raise root_cause(error) from None
