"""What an exported file says of itself, for the shipped bundle."""

import json
from pathlib import Path

import pytest

from spine_monai.files import sha256_of_file
from spine_monai.landmarks import LUMBAR11
from spine_monai.workflows.bundle import find_bundle, parse_config
from spine_monai.workflows.signature import (
    FORMAT,
    FORMAT_VERSION,
    check_same_bundle,
    read_signature,
    signature_of,
)

FILE = Path("some.onnx")


def config(**values):
    return parse_config(find_bundle(), "inference.yaml", studies=["none"], **values)


@pytest.fixture(scope="module")
def signature():
    return signature_of(config())


def test_it_names_the_landmarks_in_order(signature):
    assert signature["landmarks"] == list(LUMBAR11.names)


def test_it_has_the_digest_of_each_weights_file(signature):
    for name, digest in signature["weights_sha256"].items():
        assert digest == sha256_of_file(find_bundle() / "models" / name)
    assert len(signature["weights_sha256"]) == 3


def test_it_says_how_images_are_preprocessed_but_not_how_they_are_chosen(signature):
    steps = {step["_target_"]: step for step in signature["preprocessing"]}
    assert steps["spine_monai.transforms.PhysicalScaled"]["spacing_mm"] == 1.2
    assert any("istogram" in name for name in steps)
    assert not any("Load" in name or "CentralSlices" in name for name in steps)


def test_it_says_what_it_may_be_used_for_and_is_plain_json(signature):
    assert "Research only" in json.loads(json.dumps(signature))["use"]


def test_it_is_read_back(signature):
    assert read_signature(json.dumps(signature), FILE) == signature


@pytest.mark.parametrize("text", [None, "", "{}", "[1]", '{"format": "other"}', "no json"])
def test_a_file_without_a_signature_is_refused(text):
    with pytest.raises(ValueError, match=r"some\.onnx must be a file of `spine-monai export`"):
        read_signature(text, FILE)


def test_another_version_of_the_format_is_refused():
    text = json.dumps({"format": FORMAT, "format_version": FORMAT_VERSION + 1})
    with pytest.raises(ValueError, match=r"must have version 1 of the format: got 2"):
        read_signature(text, FILE)


def test_the_same_bundle_is_accepted_whatever_changes_no_graph(signature):
    changed = config(central_slices=3, min_confidence=0.9, output_dir="elsewhere")
    check_same_bundle(json.loads(json.dumps(signature)), changed, FILE)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("weights_sha256", {"model.pt": "0"}),
        ("landmarks", ["L1"]),
        ("preprocessing", []),
        ("window_size", [1, 2]),
    ],
)
def test_a_file_of_another_bundle_is_refused(signature, key, value):
    with pytest.raises(ValueError, match=rf"exported from the bundle .*its {key} differ"):
        check_same_bundle({**signature, key: value}, config(), FILE)


def test_another_scale_of_the_images_is_refused(signature):
    with pytest.raises(ValueError, match="its preprocessing differ"):
        check_same_bundle(signature, config(spacing_mm=1.0), FILE)
