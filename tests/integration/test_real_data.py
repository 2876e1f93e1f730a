"""The data set itself, where SPINE_MONAI_DATA names its folder (a folder a subject, cases.csv)."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

DATA = os.environ.get("SPINE_MONAI_DATA", "")
pytestmark = pytest.mark.skipif(not DATA, reason="SPINE_MONAI_DATA does not name the data set")


@pytest.fixture(scope="module")
def datalist(tmp_path_factory):
    from spine_monai.cli import main

    out = tmp_path_factory.mktemp("data") / "datalist.json"
    folds = str(Path(DATA) / "cases.csv")
    assert main(["convert", "markups", DATA, "--folds", folds, "--out", str(out)]) == 0
    return out


def test_every_subject_is_converted_with_all_eleven_landmarks(datalist):
    items = json.loads(datalist.read_text())["training"]
    assert len(items) == 28
    assert {item["fold"] for item in items} == {0, 1, 2, 3}
    for item in items:
        points = np.array([item["points_lps"][name] for name in ("T12-L1", "L3", "L5-S1")])
        assert (np.diff(points[:, 2]) < -30).all(), "head to foot"


def test_the_held_out_fold_is_localized_well(run, datalist, tmp_path):
    content = json.loads(datalist.read_text())
    content["training"] = [item for item in content["training"] if item["fold"] == 0]
    for item in content["training"]:
        item["image"] = str((datalist.parent / item["image"]).resolve())
        item.pop("slice_index")
    held_out = tmp_path / "held_out.json"
    held_out.write_text(json.dumps(content))
    assert run("localize", held_out, "--out", tmp_path / "results")[0] == 0
    code, said = run(
        "evaluate", tmp_path / "results", "--reference", held_out, "--out", tmp_path / "figures"
    )
    assert code == 0, said
    overall = json.loads((tmp_path / "figures" / "metrics.json").read_text())["overall"]
    assert overall["n"] == 77
    assert overall["sdr"]["8"] > 0.9
    assert overall["median_mm"] < 2.0
