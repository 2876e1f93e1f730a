"""`export`, and `localize` with what it wrote, on the real demo study and on the data set."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from monai.data import MetaTensor

from spine_monai.cli import main
from spine_monai.transforms.scale import at_scale
from spine_monai.workflows import exporting
from spine_monai.workflows.backends import exported_predict, open_exported, open_torchscript
from spine_monai.workflows.bundle import parse_config
from spine_monai.workflows.configuration import prepare_bundle
from spine_monai.workflows.exporting import compare, export
from spine_monai.workflows.recipe import EvaluatorPredict

DATA = os.environ.get("SPINE_MONAI_DATA", "")
RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino"}
TOLERANCE_MM = 0.1


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The shipped bundle, exported by the command as ONNX and as OpenVINO."""
    folder = tmp_path_factory.mktemp("exported")
    for kind in RUNTIMES:
        assert main(["export", "--format", kind, "--out", str(folder / kind)]) == 0
    return folder


def config_of(root, study, **values):
    given = {"studies": [str(study)], "device": "$torch.device('cpu')", **values}
    return parse_config(root, "inference.yaml", **given)


def both_ways(config, file, backend):
    """What the bundle and what the file find on each case: items, theirs, its."""
    reference = EvaluatorPredict(config.get_parsed_content("evaluator"))
    predict = exported_predict(file, backend, config)
    for prepared in config.get_parsed_content("dataset"):
        items = prepared if isinstance(prepared, list) else [prepared]
        yield items, reference(items), predict(items)


def test_torchscript_is_written_and_runs_without_the_package(run, tmp_path):
    file = tmp_path / "bundle.ts"
    code, said = run("export", "--format", "torchscript", "--out", file)
    assert code == 0, said
    assert "gave the bundle's landmarks" in said
    assert open_torchscript(file).signature["landmarks"][0] == "T12-L1"
    script = (
        "import sys, torch; torch.manual_seed(0); module = torch.jit.load(sys.argv[1]);"
        "points = module(torch.rand(3, 1, 251, 201), torch.full((3, 2), 1.2))[0];"
        "assert points.shape == (3, 11, 2); assert 'spine_monai' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_command_knows_its_formats(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["export", "--format", "coreml", "--out", str(tmp_path / "file")])
    assert "'torchscript', 'onnx', 'openvino'" in capsys.readouterr().err


def test_a_file_that_does_not_agree_is_not_written(bundle_copy, tmp_path, monkeypatch):
    """No graph is equal to a billionth of a millimetre; the shipped study serves any bundle."""
    monkeypatch.setattr(exporting, "TOLERANCE_MM", 1e-9)
    folder = tmp_path / "out"
    with pytest.raises(ValueError, match=r"must give the landmarks of the bundle: .* mm away"):
        export(folder / "f.ts", "torchscript", bundle=bundle_copy)
    assert list(folder.iterdir()) == []


def test_a_study_that_is_none_ends_with_an_error_and_no_file(run, tmp_path):
    code, said = run(
        "export", "--format", "torchscript", "--out", tmp_path / "f.ts", "--study", tmp_path
    )
    assert code == 2, said
    assert not (tmp_path / "f.ts").exists()


def test_a_bundle_with_an_iteration_of_its_own_is_refused(bundle_copy, tmp_path):
    file = bundle_copy / "configs" / "inference.yaml"
    content = yaml.safe_load(file.read_text())
    content["iteration"] = {"_target_": "spine_monai.landmarks.load_registry"}
    content["iteration"]["name_or_file"] = "lumbar11"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match="iteration must be CoarseToFine or none"):
        export(tmp_path / "f.ts", "torchscript", bundle=bundle_copy)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", RUNTIMES)
def test_localize_gives_the_same_study_through_a_file(kind, files, run, demo_series, tmp_path):
    options = ("--formats", "json", "--device", "cpu")
    assert run("localize", demo_series, "--out", tmp_path / "torch", *options)[0] == 0
    backend = ("--backend", RUNTIMES[kind], "--model", files / kind)
    code, said = run("localize", demo_series, "--out", tmp_path / "file", *options, *backend)
    assert code == 0, said
    records = [
        json.loads(next((tmp_path / way).glob("*/landmarks.json")).read_text())
        for way in ("torch", "file")
    ]
    for ours, its in zip(*(record["landmarks"] for record in records), strict=True):
        places = [np.array(entry["position_lps_mm"]) for entry in (ours, its)]
        assert np.linalg.norm(places[0] - places[1]) <= TOLERANCE_MM
        assert ours["status"] == its["status"]
        assert abs(ours["confidence"] - its["confidence"]) <= 1e-3
    assert records[0]["slice"] == records[1]["slice"]


@pytest.mark.heavy
@pytest.mark.parametrize("kind", RUNTIMES)
@pytest.mark.parametrize("spacing_mm", [1.1, 1.3])
def test_images_of_other_sizes_are_found_alike(kind, spacing_mm, files, bundle):
    """Larger and smaller than the canvas, H != W; the file's own check of the scale is left out."""
    config = config_of(bundle, bundle / "sample" / "datalist.json")
    predict = exported_predict(files / kind, RUNTIMES[kind], config)
    reference = EvaluatorPredict(config.get_parsed_content("evaluator"))
    items = config.get_parsed_content("dataset")[0]
    others = [{"image": at_scale(item["image"], spacing_mm)[:, 3:, 20:]} for item in items]
    assert compare(predict(others), reference(others)).problems == ()


@pytest.mark.heavy
@pytest.mark.parametrize("kind", RUNTIMES)
def test_one_slice_and_five_are_found_alike(kind, files, bundle):
    config = config_of(bundle, bundle / "sample" / "datalist.json")
    predict = exported_predict(files / kind, RUNTIMES[kind], config)
    items = config.get_parsed_content("dataset")[0]
    alone = [predict([item])[0] for item in items]
    agreement = compare(alone, predict(items))
    assert agreement.slices == 5
    assert agreement.largest_mm < 1e-2
    assert agreement.problems == ()


@pytest.mark.heavy
@pytest.mark.parametrize("kind", RUNTIMES)
def test_a_file_of_other_weights_is_refused(kind, files, bundle_copy, run, demo_series, tmp_path):
    weights = bundle_copy / "models" / "fusion.pt"
    state = torch.load(weights, weights_only=True)
    torch.save({name: value * 1.01 for name, value in state.items()}, weights)
    backend = ("--backend", RUNTIMES[kind], "--model", files / kind, "--bundle", bundle_copy)
    code, said = run("localize", demo_series, "--out", tmp_path / "out", *backend)
    assert code == 2
    assert "its weights_sha256 differ" in said


@pytest.fixture(scope="module")
def whole_image_bundle(bundle, tmp_path_factory):
    """The variant that squeezes whole slices into a square, with the shipped weights."""
    root = tmp_path_factory.mktemp("whole_image")
    prepare_bundle(bundle, root, "whole_image")
    shutil.copytree(bundle / "models", root / "models")
    return root


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["torchscript", *RUNTIMES])
def test_whole_images_with_oblong_pixels_are_exported(kind, whole_image_bundle, tmp_path, bundle):
    export(tmp_path / "file", kind, bundle=whole_image_bundle)
    if kind == "torchscript":
        return
    config = config_of(whole_image_bundle, bundle / "sample" / "datalist.json")
    ((items, reference, found),) = both_ways(config, tmp_path / "file", RUNTIMES[kind])
    assert compare(found, reference).problems == ()
    stretched = [{"image": stretch(item["image"])} for item in items]
    expected = EvaluatorPredict(config.get_parsed_content("evaluator"))(stretched)
    predict = exported_predict(tmp_path / "file", RUNTIMES[kind], config)
    assert compare(predict(stretched), expected).problems == ()


def stretch(image):
    """The same pixels, said to be 0.7 as high and 1.2 as wide."""
    affine = image.affine.clone()
    affine[:3, 0] *= 0.7
    affine[:3, 1] *= 1.2
    return MetaTensor(image.as_tensor(), affine=affine)


@pytest.mark.heavy
@pytest.mark.skipif(not DATA, reason="SPINE_MONAI_DATA does not name the data set")
@pytest.mark.parametrize("kind", RUNTIMES)
def test_every_subject_of_the_data_set_is_found_alike(kind, files, bundle, tmp_path):
    datalist = tmp_path / "datalist.json"
    folds = str(Path(DATA) / "cases.csv")
    assert main(["convert", "markups", DATA, "--folds", folds, "--out", str(datalist)]) == 0
    config = config_of(bundle, datalist)
    slices = 0
    for items, reference, found in both_ways(config, files / kind, RUNTIMES[kind]):
        agreement = compare(found, reference)
        assert agreement.problems == (), items[0]["id"]
        assert [a["landmarks"].statuses for a in found] == [
            b["landmarks"].statuses for b in reference
        ]
        slices += agreement.slices
    assert slices >= 28


@pytest.mark.heavy
def test_onnx_in_openvino_is_the_same_too(files, bundle):
    assert open_exported(files / "onnx", "openvino").signature["landmark_set"] == "lumbar11"
