"""The accuracy benchmark: what it trains, in which order, and what travels of its predictions."""

import importlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from spine_monai.heatmaps import decode_heatmaps, encode_heatmaps

BENCHMARK = Path(__file__).parents[1] / "benchmark"


@pytest.fixture
def bench(monkeypatch):
    """A module of the benchmark, by its name."""
    monkeypatch.syspath_prepend(str(BENCHMARK))
    return importlib.import_module


@pytest.fixture
def arms(bench):
    return bench("accuracy_arms")


@pytest.fixture
def packing(bench):
    return bench("packing")


def store(path, outputs, **others):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, outputs=outputs, ids=np.array(["a"]), **others)
    return path


def test_packed_heatmaps_keep_their_peaks(packing, tmp_path):
    points = torch.tensor([[[20.3, 31.8], [40.6, 12.1]]])
    logits = encode_heatmaps(points, (64, 48), 3.0).clamp(1e-6, 0.9).logit()
    source = store(
        tmp_path / "work" / "a" / "predictions" / "heatmap" / "fold-0.npz", logits.half()
    )
    packing.pack(source, tmp_path / "small.npz")
    packing.unpack(tmp_path / "small.npz", tmp_path / "back.npz")
    back = np.load(tmp_path / "back.npz")
    assert back["outputs"].shape == (1, 2, 64, 48)
    assert back["outputs"].dtype == np.float16
    kept = decode_heatmaps(torch.from_numpy(back["outputs"]).double().sigmoid())
    assert torch.allclose(
        kept.float(), decode_heatmaps(logits.double().sigmoid()).float(), atol=0.1
    )
    assert back["ids"].tolist() == ["a"]


def test_coordinates_travel_as_they_are(packing, tmp_path):
    outputs = np.random.default_rng(0).random((1, 13, 2)).astype(np.float16)
    source = store(tmp_path / "fold-0.npz", outputs)
    packing.pack(source, tmp_path / "small.npz")
    packing.unpack(tmp_path / "small.npz", tmp_path / "back.npz")
    assert (np.load(tmp_path / "back.npz")["outputs"] == outputs).all()


def test_heatmaps_wait_for_the_coordinates_that_place_them(arms, tmp_path):
    job = arms.Job("scn", "heatmap", 2)
    store(tmp_path / "default" / "predictions" / "coordinates" / "fold-2.npz", np.zeros(3))
    assert not arms.is_ready(tmp_path, job)
    store(tmp_path / arms.BASE / "predictions" / "coordinates" / "fold-2.npz", np.zeros(3))
    assert arms.is_ready(tmp_path, job)
    assert arms.is_ready(tmp_path, arms.Job("paper", "coordinates", 1))


def test_the_coordinates_that_place_an_arm_are_trained_before_it(arms):
    jobs = arms.with_placing(["default", "scn"], [0, 1])
    assert len(set(jobs)) == len(jobs) == 8
    for fold in (0, 1):
        for arm, placing in (("scn", arms.BASE), ("default", "default")):
            own = jobs.index(arms.Job(arm, "heatmap", fold))
            assert jobs.index(arms.Job(placing, "coordinates", fold)) < own
    assert arms.Job(arms.BASE, "heatmap", 0) not in jobs


def test_nothing_is_trained_twice(arms, tmp_path):
    job = arms.Job("default", "coordinates", 2)
    assert not arms.is_done(tmp_path, job)
    store(tmp_path / "default" / "predictions" / "coordinates" / "fold-2.npz", np.zeros(3))
    assert arms.is_done(tmp_path, job)


@pytest.mark.parametrize(("arm", "expected"), [("default", 3), ("subjects_14", 2), ("narrow", 3)])
def test_a_fold_is_trained_on_others_only(arms, monkeypatch, tmp_path, arm, expected):
    given = {}
    monkeypatch.setattr(arms, "hold_out", lambda *_args: given.update(_args[-1]))
    for fold in range(4):
        arms.train_one(arms.Job(arm, "heatmap", fold), tmp_path, tmp_path / "d.json", range(4))
        assert len(set(given["train_folds"])) == expected
        assert fold not in given["train_folds"]


def test_every_arm_names_ids_that_its_workflow_has(arms):
    from spine_monai.workflows.bundle import find_bundle, parse_config

    for arm in arms.ARMS.values():
        for network in arm.values:
            parse_config(find_bundle(), f"train_{network}.yaml", **arm.values[network])


def test_only_the_default_and_its_candidate_look_several_times_of_what_is_trained(arms):
    looks = {n: a.values["coordinates"]["coordinates_looks"] for n, a in arms.ARMS.items()}
    assert [name for name, own in looks.items() if own] == ["default", "deep_cuts"]


def test_averaging_over_turned_images_keeps_points_where_they_are(bench):
    augmented = bench("augmented")
    points = torch.tensor([[[40.0, 70.0], [88.0, 30.0]]])
    image = encode_heatmaps(points, (128, 96), 4.0)
    seen = []

    def network(images):  # whose logits are the image itself
        seen.append(decode_heatmaps(images))
        return 10 * images + augmented.EMPTY

    logits = augmented.AveragedInferer()(image, network)
    assert len(seen) == 9
    assert torch.allclose(decode_heatmaps(logits - augmented.EMPTY), points, atol=0.2)
    farthest = (seen[0] - points).norm(dim=-1).amax()
    assert farthest > 3.0  # the network saw other places


def test_a_turn_is_a_turn_of_pixels_whatever_the_shape(bench):
    augmented = bench("augmented")
    shape, centre = (128, 96), torch.tensor([63.5, 47.5])
    points = torch.tensor([[[40.0, 70.0], [88.0, 30.0]]])
    image = encode_heatmaps(points, shape, 4.0)
    moved = augmented.resampled(image, augmented.turned(0.2, 1.1, shape))
    before = (points - centre).norm(dim=-1)
    after = (decode_heatmaps(moved) - centre).norm(dim=-1)
    assert torch.allclose(after, before / 1.1, atol=0.2)


def test_the_curve_of_a_resumed_training_has_each_step_once(bench, tmp_path):
    writers = pytest.importorskip("torch.utils.tensorboard")
    for number, (first, value) in enumerate([(1, 1.0), (3, 2.0)]):
        writer = writers.SummaryWriter(tmp_path, filename_suffix=f".{number}")
        for step in range(first, first + 4):
            writer.add_scalar("train_loss", value, step)
        writer.close()
        (file,) = tmp_path.glob(f"*.{number}")
        file.rename(tmp_path / f"events.out.tfevents.{number}")
    curve = bench("accuracy_page")._scalars(tmp_path)["train_loss"]
    assert curve == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0), (5, 2.0), (6, 2.0)]


def spine(places, **others):
    """A stored image of a column of landmarks: as good heatmaps as those of the points given."""
    points = torch.as_tensor(places, dtype=torch.float32)
    maps = encode_heatmaps(points, (128, 64), 3.0)
    item = {"image": maps.clamp(1e-4, 0.9).logit(), "label": points, "predicted_ij": points}
    return item | {"spacing_mm": torch.tensor([1.2, 0.9])} | others


@pytest.fixture
def spines():
    generator = np.random.default_rng(0)
    return [
        spine([(top + 22.0 * n, side + 3.0 * n + generator.normal()) for n in range(4)])
        for top, side in generator.uniform((10, 10), (50, 40), (12, 2))
    ]


def test_the_graphical_model_takes_the_peak_that_the_others_expect(bench, spines):
    model = bench("spatial_model").SpatialModel(spines)
    truth = torch.tensor([[20.0, 20.0], [42.0, 23.0], [64.0, 26.0], [86.0, 29.0]])
    item = spine(truth)
    wrong = encode_heatmaps(torch.tensor([[110.0, 32.0]]), (128, 64), 3.0)[0]
    item["image"][1] = (
        torch.maximum(0.7 * item["image"][1].sigmoid(), wrong).clamp(1e-4).logit(1e-4)
    )
    assert (decode_heatmaps(item["image"].sigmoid())[1] - truth[1]).norm() > 60
    found = model.decode(item)
    assert (found - truth).norm(dim=-1).amax() < 1.5


def test_the_graphical_model_knows_which_way_is_which(bench, spines):
    """Offsets are not even: a column that goes on by 22 rows and 3 columns, in mm of this grid."""
    model = bench("spatial_model").SpatialModel(spines)
    assert model.mean_mm[1, 0].tolist() == pytest.approx([22 * 1.2, 3 * 0.9], abs=0.6)
    item = spine([(20.0, 20.0), (42.0, 23.0), (64.0, 26.0), (86.0, 29.0)])
    item["image"][2] = torch.full((128, 64), -9.0)  # it has not been seen
    assert (model.decode(item)[2] - torch.tensor([64.0, 26.0])).norm() < 2.0


@pytest.mark.parametrize(("shift_mm", "expected"), [(1.0, 2.0), (14.1, 10.0), (28.2, 20.0)])
def test_the_sigma_of_an_image_is_what_its_coordinates_are_off_by(bench, shift_mm, expected):
    """Of one axis, as sigma is; the shift goes along both."""
    item = spine([(20.0, 20.0), (50.0, 30.0), (90.0, 40.0)])
    item["predicted_ij"] = item["predicted_ij"] + shift_mm / item["spacing_mm"] / 2**0.5
    assert bench("decoders").likeliest_sigma_mm(item) == expected


def test_rows_stay_whose_predictions_are_not_here(bench, tmp_path, monkeypatch):
    accuracy = bench("accuracy")
    output = tmp_path / "accuracy.json"
    kept = {"rows": {"tta: chain": {"n": 308}}, "cases": {}}
    output.write_text(json.dumps(kept))
    (tmp_path / "datalist.json").write_text('{"training": []}')
    monkeypatch.setattr(accuracy, "OUTPUT", output)
    monkeypatch.setattr(accuracy, "ProcessPoolExecutor", lambda jobs, _: ThreadPoolExecutor(jobs))
    monkeypatch.setattr(accuracy, "decode_arm", lambda *_: ({}, {}))
    accuracy.decode_arms(["tta"], tmp_path, tmp_path / "datalist.json", 1)
    assert json.loads(output.read_text())["rows"] == kept["rows"]


def test_rows_go_that_are_no_longer_made(bench):
    accuracy = bench("accuracy")
    rows = {"a: chain": 1, "a: peak": 2, "ab: peak": 3}
    figures = {"rows": dict(rows), "cases": dict(rows)}
    accuracy.drop_rows(figures, "a", ["a: chain"])
    assert figures["rows"] == figures["cases"] == {"a: chain": 1, "ab: peak": 3}


@pytest.mark.parametrize(
    ("arm", "coordinates", "heatmap"),
    [
        ("default", "default", "default"),
        ("scn", "shorter_coordinates", "scn"),
        ("paper_512", "xception_fc", "paper_512"),
        ("smaller_coordinates", "smaller_coordinates", "shorter_coordinates"),
        ("two", "one_look", "two"),
        ("tta", "shorter_coordinates", "tta"),
        ("again_looks", "again_looks", "again_looks"),
    ],
)
def test_what_an_arm_did_not_train_is_another_arms(bench, tmp_path, arm, coordinates, heatmap):
    folders = bench("accuracy").folders_of(tmp_path / arm)
    assert folders == {
        "coordinates": tmp_path / coordinates / "predictions" / "coordinates",
        "heatmap": tmp_path / heatmap / "predictions" / "heatmap",
    }


def test_heatmaps_are_averaged_where_all_members_have_the_fold(bench, tmp_path):
    for number, member in enumerate(("one_look", "sharp")):
        for fold in range(2 - number):  # the second has one fold less
            file = tmp_path / member / "predictions" / "heatmap" / f"fold-{fold}.npz"
            store(file, np.full((1, 2, 4, 3), float(number)), ras_from_index=np.eye(4)[None])
    bench("accuracy").average("two", tmp_path)
    (file,) = (tmp_path / "two").rglob("*.npz")
    assert file.name == "fold-0.npz"
    assert (np.load(file)["outputs"] == 0.5).all()
    assert np.load(file)["ids"].tolist() == ["a"]


def test_heatmaps_of_other_windows_are_not_averaged(bench, tmp_path):
    for number, member in enumerate(("one_look", "sharp")):
        file = tmp_path / member / "predictions" / "heatmap" / "fold-0.npz"
        moved = (1 + number) * np.eye(4)[None]
        store(file, np.zeros((1, 2, 4, 3)), ras_from_index=moved)
    with pytest.raises(ValueError, match=r"same windows: fold-0\.npz"):
        bench("accuracy").average("two", tmp_path)


def test_networks_are_shown_their_fold_again_otherwise(bench, tmp_path, monkeypatch):
    shown_again = bench("shown_again")
    told = {}
    monkeypatch.setattr(
        shown_again,
        "predict",
        lambda _showing, _weights, path, **values: told.update({path: values}),
    )
    datalist = tmp_path / "datalist.json"
    points = {"L1": [0.0, 0.0, 0.0]}
    items = [
        {"id": s, "subject": s, "image": f"{s}.nii", "fold": f, "points_lps": points}
        for f, s in enumerate("ab")
    ]
    bench("accuracy").write_datalist(items, datalist, "lumbar11")
    for network in ("heatmap", "coordinates"):
        weights = tmp_path / "again" / "runs" / network / "fold-1" / "model.pt"
        weights.parent.mkdir(parents=True)
        weights.touch()
    shown_again.show_again(tmp_path, datalist)
    by_one_look, coordinates, heatmaps = (
        tmp_path / row / "predictions" / network / "fold-1.npz"
        for row, network in (
            ("again_by_one_look", "heatmap"),
            ("again_looks", "coordinates"),
            ("again_looks", "heatmap"),
        )
    )
    assert list(told) == [by_one_look, coordinates, heatmaps]
    assert all(values["val_folds"] == [1] for values in told.values())
    assert len(told[coordinates]["coordinates_looks"]) == 7
    assert told[heatmaps]["coordinates_dir"] == str(coordinates.parent)
    assert told[by_one_look]["coordinates_dir"] == str(
        tmp_path / "one_look" / "predictions" / "coordinates"
    )


def test_a_network_of_several_looks_gives_other_predictions_of_its_fold(bench, tmp_path):
    """With a real network, though a small and untrained one."""
    shown_again, module = bench("shown_again"), bench("spine_monai.networks")
    image = np.random.default_rng(0).random((3, 90, 80)).astype(np.float32)
    affine = np.array([[4.0, 0, 0, 0], [0, 0, -2, 90], [0, -2, 0, 90], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "a.nii.gz")
    item = {"id": "a", "subject": "a", "image": tmp_path / "a.nii.gz", "fold": 0}
    item |= {"points_lps": {"L1": [0.0, 0.0, 0.0]}}
    bench("accuracy").write_datalist([item], tmp_path / "datalist.json", "lumbar11")
    torch.manual_seed(0)
    network = module.IntegralXception(13, width=0.05, input_size=64)
    with torch.no_grad():
        network.attention.weight.mul_(1e4)
    module.save_weights(network, tmp_path / "model.pt")
    small = {"coordinates_width": 0.05, "coordinates_input_size": 64, "views": [[None, None]]}
    small |= {"datalist": str(tmp_path / "datalist.json"), "val_folds": [0]}
    found = {}
    arms = bench("accuracy_arms")
    for name, values in (("once", arms.ONE_LOOK), ("looks", arms.SEVEN_LOOKS)):
        path = tmp_path / name / "fold-0.npz"
        showing = shown_again.Showing(name, "again", "coordinates")
        shown_again.predict(showing, tmp_path / "model.pt", path, **small, **values)
        found[name] = np.load(path)
    assert found["looks"]["ids"].tolist() == ["a"]
    assert found["looks"]["outputs"].shape == (1, 13, 2)
    assert np.abs(found["looks"]["outputs"] - found["once"]["outputs"]).max() > 0.002


def test_only_arms_that_can_be_trained_are_named_as_not_trained(bench):
    text = bench("accuracy_page").unrun_text({"default: chain": {}})
    assert "`paper`" in text
    assert "`default`" not in text
    assert "looks_once" not in text


def test_rows_come_in_the_order_of_their_arms(bench):
    rows = {"tta: chain": 1, "scn: chain": 2, "scn: heatmap": 3, "default: chain": 4}
    in_order = bench("accuracy_page").in_order(rows)
    assert list(in_order.values()) == [4, 2, 3, 1]


def test_what_an_arm_adds_has_an_interval_over_subjects(bench):
    hit, miss = [1.0] * 11, [30.0] * 11
    cases = {
        "scn: heatmap": {f"s{n}": hit if n < 5 else miss for n in range(10)},
        "scn: product, learned sigma": {f"s{n}": hit if n < 8 else miss for n in range(10)},
        "scn: chain": {f"s{n}": hit if n < 4 else miss for n in range(10)},
    }
    (own,) = bench("accuracy").gains(cases).values()
    assert own["product"]["sdr_8"] == pytest.approx(0.3)
    low, high = own["product"]["interval"]
    assert 0.0 <= low < 0.3 < high <= 0.7
    assert own["chain"]["sdr_8"] == pytest.approx(-0.1)
    assert own["chain"]["interval"][1] <= 0.0  # no subject is better


def record(subject, errors, confidence, radius, *, in_view=True):
    """What the bench keeps of one image: the same radius at every level but the first, half it."""
    errors = np.asarray(errors, dtype=float)
    radii = np.full((len(errors), 7), radius)
    radii[:, 0] /= 2
    return {
        "subject": np.array(subject),
        "is_whole": np.array(in_view),
        "error": errors,
        "coordinates_error": errors + 6,
        "confidence": np.asarray(confidence, dtype=float),
        "radii": radii,
        "in_view": np.full(len(errors), in_view),
        "rival_heat": np.array(0.2 if subject == "doubtful" else 0.0),
    }


def test_confidence_is_counted_as_the_page_says(bench):
    records = [
        record("plain", [1.0, 3.0], [0.9, 0.8], 4.0),
        record("doubtful", [2.5, 9.0], [0.4, 0.95], 4.0),
        record("cut", [np.nan, np.nan], [np.nan, 0.7], 4.0, in_view=False),
    ]
    found = bench("confidence").summarize_confidence(records)
    assert found["coverage"]["0.95"]["share"] == 0.75
    assert found["coverage"]["0.5"]["share"] == 0.25
    assert found["coverage"]["0.95"]["median_radius_mm"] == 4.0
    assert found["coverage"]["0.95"]["interval"] == [0.5, 1.0]
    assert found["risk"]["1"] == {"kept": 4, "misses": 1}
    assert found["risk"]["0.8"] == {"kept": 3, "misses": 1}  # the miss was the surest
    assert found["level_in_doubt"] == ["doubtful"]
    assert found["statuses"] == {
        "whole images": {
            "in view, missed: found": 1,
            "in view, within 8 mm: found": 2,
            "in view, within 8 mm: uncertain": 1,
        },
        "cut images": {"out of view: absent": 1, "out of view: found": 1},
    }


def test_misses_are_counted_by_what_an_image_shows(bench):
    ends_early = record("cut", [1.0, 9.0, 1.0], [0.9, 0.9, 0.9], 4.0)
    ends_early["in_view"] = np.array([True, True, False])
    records = [record("plain", [1.0, 3.0, np.nan], [0.9] * 3, 4.0), ends_early]
    found = bench("confidence").summarize_confidence(records)["shown"]
    by_coordinates = "missed by the coordinates alone"
    assert found == {
        "T12-L1 to L1-L2": {"in view": 3, "missed": 1, by_coordinates: 2},
        "T12-L1 to L1": {"in view": 2, "missed": 1, by_coordinates: 1},
    }
    table = bench("accuracy_page").shown_table(found)
    assert "| T12-L1 to L1 | 2 | 1 | 1 |" in table


def test_absent_landmarks_are_set_aside_first(bench):
    records = [
        record("a", [20.0, 1.0, 1.0], [np.nan, 0.1, 0.5], 4.0),
        record("b", [1.0, 1.0, 1.0], [0.9, 0.8, 0.7], 4.0),
    ]
    risk = bench("confidence").summarize_confidence(records)
    assert risk["risk"]["1"]["misses"] == 1
    assert risk["risk"]["0.8"]["misses"] == 0


def test_the_headline_is_set_beside_the_goals(bench):
    page = bench("accuracy_page")
    overall = {"sdr": {"4": 0.9, "6": 0.95, "8": 0.5}, "mre_mm": 1.234, "mre_3d_mm": 2.0}
    cases = {"a": [1.0] * 10 + [8.5], "b": [8.0] * 11}
    figures = {
        "rows": {
            page.HEADLINE: {"overall": overall | {"level_shifts": 3}},
            page.AGAIN: {"overall": overall | {"level_shifts": 4}},
        },
        "cases": {page.HEADLINE: cases, page.AGAIN: {"a": [9.0] * 11, "b": [1.0] * 11}},
    }
    text = page.headline_text(figures)
    assert "| within 8 mm | 21 of 22 | 11 of 22 | 307 of 308 |" in text
    assert "| MRE | 1.23 mm (2.00 mm in space) | 1.23 mm (2.00 mm in space) | 1.5 mm |" in text
    assert "| level shifts | 3 | 4 | 0 |" in text
    assert "| subjects with all eleven | 1 of 2 | 1 of 2 | 27 of 28 |" in text
