"""The bundle as MONAI sees it: properties, networks, training, resuming, evaluating."""

import json
import logging
import os
import re
import shutil

import numpy as np
import pytest
import torch
import yaml
from ignite.engine import Events
from monai.bundle import ConfigParser, ConfigWorkflow, run, verify_metadata, verify_net_in_out

from spine_monai.cli import main
from spine_monai.data import write_datalist
from spine_monai.data.synthetic import make_study
from spine_monai.files import sha256_of_file
from spine_monai.landmarks import LUMBAR11, LUMBAR13
from spine_monai.networks import precision, save_weights
from spine_monai.workflows import localize
from spine_monai.workflows.bundle import parse_config
from spine_monai.workflows.causes import root_cause
from spine_monai.workflows.configuration import prepare_bundle
from spine_monai.workflows.stages import train
from spine_monai.workflows.training import run_training

TRAININGS = ("train_heatmap.yaml", "train_coordinates.yaml", "train_fusion.yaml")
WORKFLOWS = (*TRAININGS, "inference.yaml")
HEATMAP_VARIANTS = ("adaptive", "dsnt", "fcn", "hourglass", "hrnet", "scn")
VARIANTS = ("other_contrasts", "paper", "whole_image", "xception_fc", *HEATMAP_VARIANTS)


def heavy(variant):
    return pytest.param(variant, marks=pytest.mark.heavy)


TINY = {
    "spacing_mm": 4.0,
    "canvas_size": [80, 64],
    "roomy_size": [88, 64],
    "window_size": [72, 48],
    "coordinates_input_size": 64,
    "target_sigma_px": 1.5,
    "epochs": 2,
    "batch_size": 2,
    "val_interval": 1,
    "save_interval": 1,
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
REQUIRED_METADATA = (
    *("schema", "version", "monai_version", "pytorch_version", "numpy_version", "task"),
    *("required_packages_version", "description", "authors", "copyright", "network_data_format"),
)


@pytest.fixture(scope="module")
def datalist(tmp_path_factory):
    """Four phantoms: two to train on, two held out, one landmark of one not annotated."""
    folder = tmp_path_factory.mktemp("data")
    items = []
    for seed, fold in enumerate((1, 2, 0, 0)):
        study = make_study(shape=(72, 60, 3), spacing_mm=(4.0, 3.0, 4.0), seed=seed)
        image = study.write_nifti(folder / f"case-{seed}.nii.gz")
        items.append(study.datalist_item(image, case=f"case-{seed}", fold=fold))
    items[2]["points_lps"]["L3"] = None
    write_datalist(items, folder / "datalist.json", LUMBAR11.name)
    return folder / "datalist.json"


@pytest.fixture(scope="module")
def tiny_variant(tmp_path_factory):
    path = tmp_path_factory.mktemp("variant") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory, datalist, tiny_variant):
    """A complete bundle from `spine-monai train`, very small."""
    out = tmp_path_factory.mktemp("trained")
    arguments = ["--datalist", datalist, "--out", out, "--variant", tiny_variant]
    assert main(["train", *map(str, arguments), "--exclude", "case-0"]) == 0
    return out


def config_of(bundle, name):
    return yaml.safe_load((bundle / "configs" / name).read_text())


def evaluate_bundle(bundle, study, out, **values):
    run(
        run_id="evaluating",
        config_file=str(bundle / "configs" / "inference.yaml"),
        bundle_root=str(bundle),
        logging_file=False,
        dataset_dir=str(study),
        output_dir=str(out),
        **values,
    )


def run_stage(bundle, name, datalist, **values):
    run(
        run_id="training",
        config_file=str(bundle / "configs" / name),
        bundle_root=str(bundle),
        logging_file=False,
        datalist=str(datalist),
        **values,
    )


@pytest.fixture(scope="module")
def variant_weights(bundle, tmp_path_factory):
    """Untrained weights of a variant's networks, under the ids of inference.yaml."""

    def of(variant):
        parser = ConfigParser(config_of(bundle, "inference.yaml"))
        parser.update(config_of(bundle, f"variants/{variant}.yaml"))
        folder = tmp_path_factory.mktemp(variant)
        for part in ("heatmap", "coordinates", "fusion"):
            name = "fusion_def" if part == "fusion" else f"{part}_network_def"
            save_weights(parser.get_parsed_content(name), folder / f"{part}.pt")
        return {f"{part}_weights": str(folder / f"{part}.pt") for part in parts}

    parts = ("heatmap", "coordinates", "fusion")
    return of


@pytest.fixture
def values(request, datalist, trained, demo_series):
    """What a workflow needs from its caller before it can be checked."""

    def of(name, variant):
        if name == "train_fusion.yaml":
            return {"dataset_dir": str(trained / "predictions")}
        if name == "train_heatmap.yaml":
            predictions = str(trained / "predictions" / "coordinates")
            return {"datalist": str(datalist), "coordinates_dir": predictions}
        if name != "inference.yaml":
            return {"datalist": str(datalist)}
        weights = request.getfixturevalue("variant_weights")(variant) if variant else {}
        return {"dataset_dir": str(demo_series)} | weights

    return of


@pytest.mark.parametrize("variant", [None, "paper", *map(heavy, VARIANTS[1:])])
@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_workflow_has_all_of_monais_properties(bundle, values, name, variant):
    files = [str(bundle / "configs" / name)]
    files += [str(bundle / "configs" / "variants" / f"{variant}.yaml")] if variant else []
    workflow = ConfigWorkflow(
        files,
        workflow_type="infer" if name == "inference.yaml" else "train",
        logging_file=False,
        bundle_root=str(bundle),
        **values(name, variant),
    )
    workflow.initialize()
    assert workflow.check_properties() == []


def test_both_networks_keep_what_the_metadata_promise(bundle):
    meta = json.loads((bundle / "configs" / "metadata.json").read_text())
    config = str(bundle / "configs" / "inference.yaml")
    files = {"config_file": config, "bundle_root": str(bundle), "device": "cpu"}
    verify_net_in_out("network_def", meta_file=str(bundle / "configs" / "metadata.json"), **files)
    swapped = meta | {"network_data_format": meta["coordinates_data_format"]}
    verify_net_in_out("coordinates_network_def", meta_file=swapped, **files)


def test_the_metadata_are_complete_and_in_the_registrys_order(bundle):
    meta = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert not [key for key in REQUIRED_METADATA if key not in meta]
    assert meta["version"] in meta["changelog"]
    for key in ("network_data_format", "coordinates_data_format"):
        channels = meta[key]["outputs"]["pred"]["channel_def"]
        assert tuple(channels[str(index)] for index in range(13)) == LUMBAR13.names


def test_the_metadata_fit_monais_schema(bundle, tmp_path):
    schema = os.environ.get("MONAI_SCHEMA")
    if not schema:
        pytest.skip("MONAI_SCHEMA does not name a copy of MONAI's metadata schema")
    copy = shutil.copy(schema, tmp_path / "schema.json")
    verify_metadata(meta_file=str(bundle / "configs" / "metadata.json"), filepath=str(copy))


def one_slice(steps):
    """Inference's steps, with one slice taken instead of several."""
    several = {"_target_": "spine_monai.transforms.CentralSlicesd", "keys": "image"}
    several["count"] = "@central_slices"
    one = {"_target_": "spine_monai.transforms.SagittalSliced", "keys": "image"}
    assert several in steps
    return [one if step == several else step for step in steps]


def test_the_preprocessing_is_the_same_in_every_workflow_but_for_the_number_of_slices(bundle):
    lists = [
        config_of(bundle, "train_heatmap.yaml")["image_steps"],
        config_of(bundle, "train_coordinates.yaml")["image_steps"],
        one_slice(config_of(bundle, "inference.yaml")["preprocessing_steps"]),
    ]
    assert lists[0] == lists[1] == lists[2]
    coordinates, inference = (config_of(bundle, f) for f in (TRAININGS[1], "inference.yaml"))
    heatmap = config_of(bundle, TRAININGS[0])
    assert inference["canvas_size"] == coordinates["canvas_size"]
    assert inference["window_size"] == heatmap["window_size"]
    assert inference["spacing_mm"] == coordinates["spacing_mm"] == heatmap["spacing_mm"]
    sigma_mm = heatmap["target_sigma_px"] * heatmap["spacing_mm"]
    assert inference["target_sigma_mm"] == pytest.approx(sigma_mm)


def test_the_networks_of_training_and_inference_are_the_same(bundle):
    inference = config_of(bundle, "inference.yaml")
    heatmap = config_of(bundle, "train_heatmap.yaml")
    coordinates = config_of(bundle, "train_coordinates.yaml")
    assert inference["heatmap_network_def"] == heatmap["heatmap_network_def"]
    for key in ("coordinates_width", "coordinates_input_size", "landmark_set", "num_landmarks"):
        assert inference[key] == coordinates[key]
    assert inference["target_sigma_mm"] == config_of(bundle, "train_fusion.yaml")["target_sigma_mm"]


@pytest.fixture
def chosen_anew():
    precision.choose_precision.cache_clear()
    yield
    precision.choose_precision.cache_clear()


@pytest.mark.usefixtures("chosen_anew")
@pytest.mark.parametrize("file", TRAININGS[:2])
@pytest.mark.parametrize(("has", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_trainings_run_in_what_the_device_has_instructions_for(
    bundle, file, has, dtype, monkeypatch
):
    monkeypatch.setattr(precision, "has_bfloat16", lambda _device_type: has)
    parser = parse_config(bundle, file, device="$torch.device('cpu')")
    assert parser.get_parsed_content("train::inferer").dtype == dtype


def test_the_configuration_is_short_and_safe(bundle):
    for path in (bundle / "configs").rglob("*.yaml"):
        text = path.read_text()
        assert text.startswith("# ")
        assert "lambda" not in text
        expressions = re.findall(r"[:-] *'?\"?(\$.*)$", text, flags=re.M)
        assert not [e for e in expressions if len(e.split("  #")[0]) > 82], path


def test_the_paper_variant_has_the_papers_networks(bundle):
    parser = ConfigParser(config_of(bundle, "inference.yaml"))
    parser.update(config_of(bundle, "variants/paper.yaml"))
    heatmap = parser.get_parsed_content("network_def")
    assert sum(p.numel() for p in heatmap.parameters()) == pytest.approx(31.1e6, rel=0.01)
    coordinates = parser.get_parsed_content("coordinates_network_def")
    assert sum(p.numel() for p in coordinates.parameters()) == pytest.approx(20.8e6, rel=0.01)


@pytest.mark.parametrize("variant", [None, *VARIANTS])
def test_a_variant_of_the_networks_leaves_the_fit_of_the_fusion_alone(bundle, tmp_path, variant):
    """It has steps of a millimetre; those of a network would leave the sigmas where they start."""
    prepare_bundle(bundle, tmp_path, variant)
    parser = parse_config(tmp_path, "train_fusion.yaml")
    fit = parser.get_parsed_content(parser["train"]["trainer"]["optimizer"].lstrip("@"))
    assert [group["lr"] for group in fit.param_groups] == [1.0, 0.03, 0.003]
    epochs = parser["train"]["trainer"]["max_epochs"]
    assert parser[epochs.lstrip("@")] == 60


@pytest.mark.parametrize("network", ["coordinates", "heatmap"])
def test_grey_values_are_inverted_before_anything_is_padded(bundle, datalist, network):
    padded = {"_target_": "ResizeWithPadOrCropd", "keys": "image", "spatial_size": [400, 400]}
    own = {"datalist": str(datalist), "train_folds": [1], "augmentation": [padded], "plain": []}
    own |= {"roomy_size": [400, 400], "field_of_view": []} if network == "heatmap" else {}
    images = []
    for share in (0.0, 1.0):
        parser = parse_config(bundle, f"train_{network}.yaml", inverted_share=share, **own)
        images.append(parser.get_parsed_content("train::dataset")[0]["image"][0])
    as_it_is, inverted = images
    shown = as_it_is > 0
    assert 0 < shown.sum() < shown.numel() / 2
    expected = as_it_is[shown].min() + as_it_is.max() - as_it_is[shown]
    torch.testing.assert_close(inverted[shown], expected)
    assert not inverted[~shown].any()


def test_the_shipped_weights_are_small_enough(bundle):
    sizes = [path.stat().st_size / 2**20 for path in (bundle / "models").glob("*.pt")]
    assert len(sizes) == 3
    assert max(sizes) < 25
    assert sum(sizes) < 40


def test_evaluating_gives_what_localize_gives_to_the_last_digit(bundle, demo_series, tmp_path):
    evaluate_bundle(bundle, demo_series, tmp_path / "monai")
    assert main(["localize", str(demo_series), "--out", str(tmp_path / "cli")]) == 0
    (ours,), (theirs,) = (
        list((tmp_path / door).glob("*/landmarks.json")) for door in ("cli", "monai")
    )
    assert ours.read_text() == theirs.read_text()


@pytest.mark.parametrize("door", ["monai", "python"])
def test_other_weights_are_named_in_the_record_and_looked_with_again(
    bundle, demo_series, tmp_path, door
):
    doors = {
        "monai": evaluate_bundle,
        "python": lambda _, study, out, **own: localize([study], out, **own),
    }
    other = tmp_path / "other.pt"
    state = torch.load(bundle / "models" / "model.pt", weights_only=True)
    torch.save({name: value * 0.99 for name, value in state.items()}, other)
    digests = []
    for values in ({}, {"heatmap_weights": str(other)}):
        doors[door](bundle, demo_series, tmp_path / "out", **values)
        (file,) = (tmp_path / "out").glob("*/landmarks.json")
        digests.append(json.loads(file.read_text())["bundle"]["weights_sha256"])
    assert digests[1] == digests[0] | {"model.pt": sha256_of_file(other)}
    assert digests[0]["model.pt"] == sha256_of_file(bundle / "models" / "model.pt")


def test_a_bundle_without_weights_is_refused_unless_they_are_given(bundle, demo_series, tmp_path):
    bare, models = tmp_path / "bare", bundle / "models"
    prepare_bundle(bundle, bare)
    with pytest.raises(ValueError, match=r"bare/models must hold .*: model.pt, .* missing"):
        localize([demo_series], tmp_path / "out", bundle=bare)
    given = {"heatmap_weights": "model.pt", "coordinates_weights": "model_coordinates.pt"}
    given = {name: str(models / file) for name, file in given.items()}
    given["fusion_weights"] = str(models / "fusion.pt")
    assert localize([demo_series], tmp_path / "out", bundle=bare, **given).cases[0].status == "done"


def test_the_papers_product_alone_is_one_override_away(bundle, demo_series, tmp_path, monkeypatch):
    monkeypatch.setattr("spine_monai.joint.JointFusion.decode", None)
    evaluate_bundle(
        bundle,
        demo_series,
        tmp_path,
        **{"postprocessing::transforms::0::fusion": "$@fusion.fusion"},
    )
    (file,) = tmp_path.glob("*/landmarks.json")
    assert {point["status"] for point in json.loads(file.read_text())["landmarks"]} == {"found"}


@pytest.mark.parametrize("network", ["coordinates", "heatmap"])
def test_held_out_cases_are_measured_on_the_annotated_slice_where_that_is_asked(
    bundle, datalist, tmp_path, network
):
    content = json.loads(datalist.read_text())
    items = [item | {"slice_index": 2} for item in content["training"] if item["fold"] == 0]
    for item in items:
        item["image"] = str(datalist.parent / item["image"])
    own = tmp_path / "datalist.json"
    write_datalist(items, own, LUMBAR11.name)
    for slices, expected in (("middle", None), ("annotated", 2)):
        values = {"datalist": str(own), "held_out_slices": slices}
        parser = parse_config(bundle, f"train_{network}.yaml", **values)
        for name in ("validate::dataset::data", "predict::dataset::data"):
            config = parser[name]
            found = parser.get_parsed_content(f"{name}::items" if "items" in config else name)
            assert {item.get("slice_index") for item in found} == {expected}


def test_evaluating_fails_when_a_case_fails(bundle, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        evaluate_bundle(bundle, tmp_path, tmp_path / "out")
    assert "1 of 1 cases failed" in str(root_cause(caught.value))


def test_training_gives_a_complete_bundle(trained, datalist, tmp_path):
    for name in (*WORKFLOWS, "metadata.json", "logging.conf"):
        assert (trained / "configs" / name).is_file()
    assert {path.name for path in (trained / "models").iterdir()} == {
        *("model.pt", "model_coordinates.pt", "fusion.pt")
    }
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["fused"]["overall"]["n"] == 43
    assert metrics["coordinates"]["subjects"] == 4
    assert {path.name for path in (trained / "predictions" / "heatmap").iterdir()} == {
        *("fold-0.npz", "fold-1.npz", "fold-2.npz")
    }
    arguments = ["localize", datalist, "--out", tmp_path, "--bundle", trained]
    assert main(list(map(str, arguments))) == 0
    assert len(list(tmp_path.glob("*/landmarks.json"))) == 4


def test_a_trained_bundle_tells_of_itself_and_not_of_the_shipped_one(trained, bundle):
    shipped, own = (config_of(root, "metadata.json") for root in (bundle, trained))
    assert own["version"] == f"{shipped['version']}+trained"
    assert list(own["changelog"]) == [own["version"]]
    assert "SPIDER" not in own["data_source"]
    card = (trained / "docs" / "README.md").read_text()
    fused = json.loads((trained / "metrics.json").read_text())["fused"]["overall"]
    for said in (own["version"], "Not for clinical use", f"{fused['mre_mm']:.2f} mm", "case-0"):
        assert said in card
    command = "spine-monai train --datalist datalist.json --out DIR --variant tiny.yaml"
    assert f"`{command} --exclude case-0`" in card
    assert not set(re.findall(r"\b[0-9a-f]{64}\b", card))


def test_the_metadata_of_a_variant_name_its_landmarks(bundle, tmp_path):
    prepare_bundle(bundle, tmp_path, "paper")
    metadata = config_of(tmp_path, "metadata.json")
    assert metadata["landmark_set"] == "lumbar11"
    for key in ("network_data_format", "coordinates_data_format"):
        prediction = metadata[key]["outputs"]["pred"]
        assert tuple(prediction["channel_def"].values()) == LUMBAR11.names
        assert prediction["num_channels"] == len(LUMBAR11.names)


def test_training_stores_predictions_of_the_held_out_fold_alone(trained):
    with np.load(trained / "predictions" / "heatmap" / "fold-0.npz") as stored:
        assert stored["ids"].tolist() == ["case-2"] * 5 + ["case-3"] * 5
        assert stored["outputs"].shape == (10, 13, 72, 48)
        assert np.isnan(stored["points_lps"][0]).any(-1).sum() == 3  # L3, and two at the head
        assert stored["in_view"][0].sum() == 10
        assert stored["in_view"][1].tolist()[2:5] == [False, True, True]  # cut above L1


def test_training_writes_curves(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curves = EventAccumulator(str(trained / "runs" / "heatmap" / "fold-0"))
    curves.Reload()
    assert {"train_loss", "val_error_mm", "val_loss"} <= set(curves.Tags()["scalars"])


class PowerCutError(Exception):
    """What ends a training in the middle."""


@pytest.mark.parametrize("name", TRAININGS[:2])
def test_an_interrupted_training_goes_on_from_its_last_checkpoint(
    trained, datalist, tmp_path, name
):
    copy = shutil.copytree(trained, tmp_path / "bundle")
    shutil.rmtree(copy / "runs")
    parser = parse_config(copy, name, datalist=str(datalist))
    trainer = parser.get_parsed_content("train::trainer")

    def cut():
        raise PowerCutError

    trainer.add_event_handler(Events.EPOCH_STARTED(once=2), cut)
    content = parser.get_parsed_content("run::0::content")
    settings = parser.get_parsed_content("run::0::settings")
    with pytest.raises(PowerCutError):
        run_training(trainer, content, parser.get_parsed_content("output_dir"), settings=settings)
    (checkpoint,) = (copy / "runs").glob("*/checkpoint.pt")
    half = torch.load(checkpoint, weights_only=True)["trainer"]["iteration"]
    run_stage(copy, name, datalist)
    whole = torch.load(checkpoint, weights_only=True)
    assert whole["trainer"]["iteration"] == 2 * half
    assert whole["scheduler"]["last_epoch"] == 2 * half


OF_FOLD_0 = {"train_folds": [1, 2]}  # what `spine-monai train` trained the fold's network on


def test_going_on_with_another_number_of_epochs_is_refused(trained, datalist, tmp_path):
    copy = shutil.copytree(trained, tmp_path / "bundle")
    place = str(copy / "runs" / "heatmap" / "fold-0")
    with pytest.raises(RuntimeError) as caught:
        run_stage(copy, "train_heatmap.yaml", datalist, **OF_FOLD_0, epochs=3, output_dir=place)
    assert "expected 2, got 3" in str(root_cause(caught.value))


def test_going_on_from_a_checkpoint_of_other_parts_is_refused(trained, datalist, tmp_path):
    """Of an earlier version, say: what it lacks would begin anew without a word."""
    copy = shutil.copytree(trained, tmp_path / "bundle")
    place = copy / "runs" / "heatmap" / "fold-0"
    parts = torch.load(place / "checkpoint.pt", weights_only=True)
    torch.save({name: parts[name] for name in parts if name != "loss"}, place / "checkpoint.pt")
    with pytest.raises(RuntimeError) as caught:
        run_stage(copy, "train_heatmap.yaml", datalist, **OF_FOLD_0, output_dir=str(place))
    expected = "must hold ['loss', 'network', 'optimizer', 'scheduler', 'settings', 'trainer']"
    assert expected in str(root_cause(caught.value))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"val_folds": [1]}, "val_folds must be that of the run to go on with: expected [0]"),
        (
            {"exclude": ["case-1"]},
            "exclude must be that of the run to go on with: expected 0 subjects",
        ),
        ({"seed": 7}, "seed must be that of the run to go on with: expected 0, got 7"),
    ],
)
def test_going_on_with_other_settings_is_refused(trained, datalist, tmp_path, changed, said):
    """A finished checkpoint would pass off a network as trained without what it has seen."""
    copy = shutil.copytree(trained, tmp_path / "bundle")
    place = str(copy / "runs" / "heatmap" / "fold-0")
    with pytest.raises(RuntimeError) as caught:
        run_stage(copy, "train_heatmap.yaml", datalist, output_dir=place, **OF_FOLD_0 | changed)
    assert said in str(root_cause(caught.value))


def test_a_resumed_training_does_not_draw_the_first_epochs_again(trained, datalist, tmp_path):
    copy = shutil.copytree(trained, tmp_path / "bundle")
    place = copy / "runs" / "heatmap" / "fold-0"
    drawn = []
    for is_resumed in (False, True):
        values = {"datalist": str(datalist), "output_dir": str(place), **OF_FOLD_0}
        parser = parse_config(copy, "train_heatmap.yaml", **values)
        parser.get_parsed_content("initialize")
        trainer = parser.get_parsed_content("train::trainer")
        content = parser.get_parsed_content("run::0::content")
        checkpoint = torch.load(place / "checkpoint.pt", weights_only=True)
        checkpoint["trainer"] |= {"iteration": checkpoint["trainer"]["iteration"] // 2}
        torch.save(checkpoint, place / "checkpoint.pt")
        folder = place if is_resumed else tmp_path / "anew"

        def note(engine):
            drawn.append(engine.state.batch["image"].clone())
            engine.terminate()

        trainer.add_event_handler(Events.ITERATION_STARTED, note)
        settings = parser.get_parsed_content("run::0::settings")
        run_training(trainer, content, folder, settings=settings)
    first, resumed = drawn
    assert not torch.equal(first, resumed)


def test_a_fusion_is_fitted_again_on_what_is_there_now(trained, tmp_path):
    copy = shutil.copytree(trained, tmp_path / "bundle")
    before = torch.load(copy / "models" / "fusion.pt", weights_only=True)
    for file in (copy / "predictions" / "coordinates").glob("*.npz"):
        arrays = dict(np.load(file))
        arrays["outputs"] = arrays["outputs"] + np.float16(0.2)
        np.savez_compressed(file, **arrays)
    run(
        run_id="training",
        config_file=str(copy / "configs" / "train_fusion.yaml"),
        bundle_root=str(copy),
        logging_file=False,
    )
    after = torch.load(copy / "models" / "fusion.pt", weights_only=True)
    key = "fusion.prior_sigma_mm"
    assert not torch.equal(before[key], after[key])


def test_a_variant_of_the_coordinates_leaves_the_heatmaps_alone(bundle, tmp_path):
    prepare_bundle(bundle, tmp_path, "xception_fc")
    plain, own = (config_of(root, "train_heatmap.yaml") for root in (bundle, tmp_path))
    assert own == plain


@pytest.mark.parametrize("variant", ["paper", "whole_image"])
def test_a_variant_of_the_preprocessing_still_looks_at_several_slices(bundle, tmp_path, variant):
    prepare_bundle(bundle, tmp_path, variant)
    config = config_of(tmp_path, "inference.yaml")
    assert config["preprocessing"] == {"_target_": "Compose", "transforms": "@preprocessing_steps"}
    trained = config_of(tmp_path, "train_heatmap.yaml")["image_steps"]
    assert one_slice(config["preprocessing_steps"]) == trained


def test_a_record_says_what_was_reported_and_is_done_again_with_another_set(
    bundle, demo_series, tmp_path
):
    for reported in (LUMBAR11, LUMBAR13):
        evaluate_bundle(bundle, demo_series, tmp_path, reported_set=reported.name)
        (file,) = tmp_path.glob("*/landmarks.json")
        record = json.loads(file.read_text())
        assert record["options"]["reported_set"] == reported.name
        assert len(record["landmarks"]) == len(reported)


def test_leaving_out_a_subject_that_is_not_there_is_refused(datalist, tmp_path):
    with pytest.raises(ValueError, match=r"exclude must name subjects of .*: got case-9"):
        train(datalist, tmp_path, exclude=["case-9"])


def test_finished_training_is_not_repeated(trained, datalist, tmp_path):
    copy = shutil.copytree(trained, tmp_path / "bundle")
    place, weights = copy / "runs" / "heatmap" / "fold-0", tmp_path / "again.pt"
    run_stage(
        copy,
        "train_heatmap.yaml",
        datalist,
        **OF_FOLD_0,
        output_dir=str(place),
        weights=str(weights),
    )
    assert weights.read_bytes() == (place / "model.pt").read_bytes()


def test_the_evaluate_overlay_scores_trained_weights(trained, bundle, datalist, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    copy = shutil.copytree(trained, tmp_path / "bundle")
    shutil.copy(bundle / "configs" / "evaluate.yaml", copy / "configs")
    run(
        run_id="evaluating",
        config_file=[str(copy / "configs" / n) for n in ("train_heatmap.yaml", "evaluate.yaml")],
        bundle_root=str(copy),
        logging_file=False,
        datalist=str(datalist),
    )
    assert "val_error_mm" in caplog.text
    assert "Epoch[1]" in caplog.text


@pytest.mark.parametrize("name", TRAININGS[:2])
def test_training_on_less_than_a_batch_is_an_error(trained, datalist, tmp_path, name):
    """MONAI would warn, and leave the network as it was drawn."""
    with pytest.raises(RuntimeError) as caught:
        run_stage(trained, name, datalist, batch_size=99, output_dir=str(tmp_path))
    assert "a batch of batch_size 99: got 6 slices" in str(root_cause(caught.value))


@pytest.mark.parametrize("name", TRAININGS[:2])
def test_training_without_cases_is_an_error(bundle, datalist, tmp_path, name):
    with pytest.raises(RuntimeError) as caught:
        run_stage(bundle, name, datalist, train_folds=[9], output_dir=str(tmp_path))
    assert "must have cases in folds [9]: got none" in str(root_cause(caught.value))


def test_a_folder_that_is_no_bundle_is_an_error(bundle, datalist, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        run(
            run_id="training",
            config_file=str(bundle / "configs" / "train_heatmap.yaml"),
            bundle_root=str(tmp_path),
            logging_file=False,
            datalist=str(datalist),
        )
    assert "bundle_root must hold configs/metadata.json" in str(root_cause(caught.value))
