"""A small untrained bundle for tests of many processes, whose preprocessing is slow or deadly."""

import os
import shutil
import signal
import time
from pathlib import Path

import yaml
from monai.bundle import ConfigParser

from spine_monai.networks import save_weights
from spine_monai.workflows.configuration import prepare_bundle

WEIGHTS = {
    "heatmap_network_def": "model.pt",
    "coordinates_network_def": "model_coordinates.pt",
}
TINY = {
    "spacing_mm": 4.0,
    "canvas_size": [80, 64],
    "window_size": [72, 48],
    "coordinates_input_size": 64,
    "coordinates_width": 0.125,
    "heatmap_network_def": {
        "_target_": "DynUNet",
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": "@num_landmarks",
        "filters": [8, 16, 16],
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, 2],
        "upsample_kernel_size": [2, 2],
        "norm_name": ["group", {"num_groups": 8}],
    },
}


class Hazard:
    """First step of the preprocessing: notes which case was begun, waits, and may kill.

    Args:
        log: file that gets a line for each case that is begun.
        seconds: to wait at each case.
        deadly: ids of the cases that kill their process.
    """

    def __init__(self, log, seconds=0.0, deadly=()):
        self.log, self.seconds, self.deadly = log, seconds, deadly

    def __call__(self, item):
        with open(self.log, "a") as stream:
            stream.write(f"{item['id']}\n")
        time.sleep(self.seconds)
        if item["id"] in self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return item


def make_bundle(source: Path, folder: Path, **hazard) -> Path:
    """Write an untrained bundle of tiny networks; ``hazard`` are the arguments of ``Hazard``."""
    variant = folder.parent / f"{folder.name}.yaml"
    variant.write_text(yaml.safe_dump(TINY))
    prepare_bundle(source, folder, variant)
    file = folder / "configs" / "inference.yaml"
    config = yaml.safe_load(file.read_text())
    first = {"_target_": "deadly.Hazard", "log": str(folder / "begun.txt"), **hazard}
    config["preprocessing_steps"].insert(0, first)
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    parser = ConfigParser(config)
    for network, weights in WEIGHTS.items():
        save_weights(parser.get_parsed_content(network), folder / "models" / weights)
    shutil.copy(source / "models" / "fusion.pt", folder / "models")
    return folder


def begun(bundle: Path) -> list[str]:
    """Return the cases that were begun with a bundle, in order."""
    file = bundle / "begun.txt"
    return file.read_text().split() if file.is_file() else []
