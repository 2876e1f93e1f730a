"""An arm's trained heatmap networks shown their held-out subjects again, otherwise than it does."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accuracy_arms import ARMS, placed_by
from augmented import AveragedInferer
from monai.inferers import Inferer, SimpleInferer

from spine_monai.data import read_datalist
from spine_monai.data.predictions import store_predictions
from spine_monai.networks import load_weights
from spine_monai.workflows.bundle import parse_config
from spine_monai.workflows.stages import prediction_file


@dataclass(frozen=True)
class Showing:
    """How an arm's networks are shown their subjects.

    Args:
        arm: whose networks; needs those of the folds, which are not kept.
        placing: arm whose coordinates place the windows.
        inferer: calls them.
    """

    arm: str
    placing: str
    inferer: Inferer = field(default_factory=SimpleInferer)


SHOWINGS = {
    "tta": Showing("narrow_window", placed_by("narrow_window"), AveragedInferer()),
    "again_by_default": Showing("again", "default"),
}


def show_again(work: Path, datalist: Path) -> None:
    """Store the predictions that are not there yet, where the networks are."""
    for name, showing in SHOWINGS.items():
        values = dict(ARMS[showing.arm].values["heatmap"])
        values["coordinates_dir"] = str(work / showing.placing / "predictions" / "coordinates")
        for fold in sorted({item["fold"] for item in read_datalist(datalist)}):
            weights = work / showing.arm / "runs" / "heatmap" / f"fold-{fold}" / "model.pt"
            path = prediction_file(work / name, "heatmap", fold)
            if weights.is_file() and not path.is_file():
                given = values | {"datalist": str(datalist), "val_folds": [fold]}
                predict(work / showing.arm, weights, showing.inferer, path, **given)


def predict(bundle: Path, weights: Path, inferer: Inferer, path: Path, **values: Any) -> None:
    """Store one network's predictions on the fold of ``values``.

    Args:
        bundle: of the arm.
        weights: of the network.
        inferer: calls it.
        path: file to write.
        **values: ids of ``train_heatmap.yaml``.
    """
    parser = parse_config(bundle, "train_heatmap.yaml", **values)
    network = load_weights(parser.get_parsed_content("network_def"), weights)
    dataset = parser.get_parsed_content("predict::dataset")
    store_predictions(network, inferer, dataset, torch.device("cpu"), path)
