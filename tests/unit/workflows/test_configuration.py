"""The workflow files of a bundle to be trained."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from spine_monai.landmarks import load_registry
from spine_monai.workflows.bundle import find_bundle, parse_config
from spine_monai.workflows.configuration import WORKFLOWS, Configuration

PAIRS = [("inference.yaml", "landmark_set"), ("inference.yaml", "reported_set")]


def config_of(bundle, name):
    return yaml.safe_load((bundle / "configs" / name).read_text())


def test_values_of_a_training_stand_in_its_bundle_where_the_networks_are_built(tmp_path):
    values = {"coordinates_width": 0.3, "shrinkage": 0.5, "window_size": (np.int64(64), 32)}
    values |= {"roomy_size": np.array([96, 64])}
    Configuration(find_bundle(), "paper", values).write(tmp_path)
    for name in ("train_coordinates.yaml", "inference.yaml"):
        assert config_of(tmp_path, name)["coordinates_width"] == 0.3
        assert config_of(tmp_path, name)["num_landmarks"] == 11
        assert (tmp_path / "configs" / name).read_text().startswith(f"# {name} with the variant")
    assert config_of(tmp_path, "inference.yaml")["window_size"] == [64, 32]
    assert config_of(tmp_path, "train_heatmap.yaml")["roomy_size"] == [96, 64]
    assert config_of(tmp_path, "train_fusion.yaml")["shrinkage"] == 0.5


def test_a_bundle_keeps_its_own_landmark_set_wherever_it_is_used(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    Path("mine.yaml").write_text("name: mine\nlandmarks: [{name: L4, kind: vertebra}]\n")
    sets = {"landmark_set": "mine.yaml", "reported_set": "mine.yaml"}
    Configuration(find_bundle(), values=sets | {"num_landmarks": 1}).write(Path("first"))
    monkeypatch.chdir(tmp_path)
    Configuration(Path("a/first")).write(Path("second"))  # trained again, from that bundle
    for bundle in (Path("a/first"), Path("second")):
        for workflow, name in [("train_fusion.yaml", "landmark_set"), *PAIRS]:
            file = parse_config(bundle, workflow).get_parsed_content(name)
            assert file == str(bundle.absolute() / "configs" / f"{name}.yaml")
            assert load_registry(file).names == ("L4",)
        metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
        assert metadata["landmark_set"] == "mine"


@pytest.mark.parametrize("values", [{}, {"device": "cpu", "num_workers": 3, "dataset_dir": "/a"}])
def test_what_a_value_says_of_the_machine_stays_out_of_the_bundle(tmp_path, values):
    source = find_bundle()
    Configuration(source, values=values).write(tmp_path)
    for name in WORKFLOWS:
        own, shipped = (root / "configs" / name for root in (tmp_path, source))
        assert own.read_text() == shipped.read_text()


def test_paths_among_the_values_are_texts(tmp_path):
    Configuration(find_bundle(), values={"heatmap_weights": Path("a.pt")}).write(tmp_path)
    assert config_of(tmp_path, "inference.yaml")["heatmap_weights"] == "a.pt"
