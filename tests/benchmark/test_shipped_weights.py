"""The three arms - coordinates, heatmap, fused - of the shipped weights on the fold they never saw.

    SPINE_MONAI_DATA=<data set> make bench

Writes docs/benchmarks/one_split.json, whose table the model card shows.
"""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from spine_monai.data import datalist_from_markups, write_datalist
from spine_monai.data.predictions import store_predictions
from spine_monai.landmarks import LUMBAR11
from spine_monai.networks import load_weights
from spine_monai.workflows.bundle import parse_config
from spine_monai.workflows.stages import circumstances, measure_arms, prepare_bundle

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "spine_landmarks"
OUTPUT = ROOT / "docs" / "benchmarks" / "one_split.json"
DATA = os.environ.get("SPINE_MONAI_DATA", "")
DEMO_SUBJECT = "sub-034"


def predict(bundle, datalist, file, network):
    values = {"datalist": str(datalist), "precision": "float32", "device": torch.device("cpu")}
    parser = parse_config(bundle, file, **values)
    store_predictions(
        load_weights(
            parser.get_parsed_content("network_def"), parser.get_parsed_content("weights")
        ),
        parser.get_parsed_content("validate::inferer"),
        parser.get_parsed_content("validate::dataset"),
        torch.device("cpu"),
        bundle / "predictions" / network / "fold-0.npz",
    )


@pytest.mark.skipif(not DATA, reason="SPINE_MONAI_DATA does not name the data set")
def test_the_shipped_weights_on_the_held_out_fold(tmp_path):
    items = datalist_from_markups([Path(DATA)], LUMBAR11, Path(DATA) / "cases.csv")
    datalist, bundle = tmp_path / "datalist.json", tmp_path / "bundle"
    write_datalist(items, datalist, LUMBAR11.name)
    prepare_bundle(BUNDLE, bundle)
    shutil.copytree(BUNDLE / "models", bundle / "models")
    for name in ("heatmap", "coordinates"):
        predict(bundle, datalist, f"train_{name}.yaml", name)
    metrics = circumstances("SPINE_MONAI_DATA=<data set> make bench", [DEMO_SUBJECT])
    metrics |= measure_arms(bundle, datalist, [DEMO_SUBJECT])
    OUTPUT.write_text(json.dumps(metrics, indent=1) + "\n")
    for arm in ("coordinates", "heatmap", "fused"):
        print(arm, json.dumps(metrics[arm]["overall"] | {"intervals": "see the file"}))
    assert metrics["fused"]["overall"]["sdr"]["8"] > metrics["coordinates"]["overall"]["sdr"]["8"]
