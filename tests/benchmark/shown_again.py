"""An arm's trained networks shown their held-out subjects again, otherwise than it does."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accuracy_arms import ARMS, ONE_LOOK, SEVEN_LOOKS, placed_by
from augmented import AveragedInferer
from monai.inferers import Inferer, SimpleInferer

from spine_monai.data import read_datalist
from spine_monai.data.predictions import store_predictions
from spine_monai.networks import load_weights
from spine_monai.workflows.bundle import find_bundle, parse_config
from spine_monai.workflows.stages import prediction_file


@dataclass(frozen=True)
class Showing:
    """How an arm's networks of one kind are shown their subjects.

    Args:
        row: under whose name the predictions are stored.
        arm: whose networks; needs those of the folds, which are not kept.
        network: ``heatmap`` or ``coordinates``.
        placing: arm or row whose coordinates place the windows of heatmaps.
        values: ids of the training file that differ from the arm's.
        inferer: calls the networks.
    """

    row: str
    arm: str
    network: str = "heatmap"
    placing: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    inferer: Inferer = field(default_factory=SimpleInferer)


SHOWINGS = (
    Showing("tta", "narrow_window", placing=placed_by("narrow_window"), inferer=AveragedInferer()),
    Showing("again_by_one_look", "again", placing="one_look"),
    Showing("again_looks", "again", "coordinates", values=SEVEN_LOOKS),
    Showing("again_looks", "again", placing="again_looks"),  # after its coordinates
    Showing("masks_looks", "with_masks", "coordinates", values=SEVEN_LOOKS),
    Showing("looks_once", "default", "coordinates", values=ONE_LOOK),
    Showing("looks_once", "default", placing="looks_once"),
)


def show_again(work: Path, datalist: Path) -> None:
    """Store the predictions that are not there yet, where the networks are."""
    for showing in SHOWINGS:
        for fold in sorted({item["fold"] for item in read_datalist(datalist)}):
            name = f"runs/{showing.network}/fold-{fold}/model.pt"
            weights = work / showing.arm / name
            path = prediction_file(work / showing.row, showing.network, fold)
            if weights.is_file() and not path.is_file():
                values = {"datalist": str(datalist), "val_folds": [fold]}
                predict(showing, weights, path, **values | values_of(showing, work))


def values_of(showing: Showing, work: Path) -> dict[str, Any]:
    """Return the ids of the training file by which the networks are shown their subjects."""
    values = {**ARMS[showing.arm].values.get(showing.network, {}), **showing.values}
    if showing.placing:
        values["coordinates_dir"] = str(work / showing.placing / "predictions" / "coordinates")
    return values


def predict(showing: Showing, weights: Path, path: Path, **values: Any) -> None:
    """Store one network's predictions on the fold of ``values``."""
    parser = parse_config(find_bundle(None), f"train_{showing.network}.yaml", **values)
    network = load_weights(parser.get_parsed_content("network_def"), weights)
    dataset = parser.get_parsed_content("predict::dataset")
    store_predictions(network, showing.inferer, dataset, torch.device("cpu"), path)
