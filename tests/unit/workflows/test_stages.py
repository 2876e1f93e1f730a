"""What a training refuses before it has cost anything."""

import json
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from spine_monai.data import write_datalist
from spine_monai.landmarks import LUMBAR11
from spine_monai.workflows import stages
from spine_monai.workflows.stages import cross_validate, train


@pytest.fixture
def start(tmp_path):
    """Start a training on four cases of two folds, whose image is never opened."""
    image = tmp_path / "image.nii"
    image.touch()

    def started(levels=LUMBAR11.names, out="out", folds=2, **values):
        points = {name: [0.0, 0.0, -30.0 * n] for n, name in enumerate(levels)}
        items = [
            {
                "id": f"c{n}",
                "subject": f"s{n}",
                "image": str(tmp_path / "image.nii"),
                "fold": n % folds,
            }
            | {"points_lps": points}
            for n in range(4)
        ]
        write_datalist(items, tmp_path / "datalist.json", LUMBAR11.name)
        out = out if isinstance(out, Path) else tmp_path / out
        return train(tmp_path / "datalist.json", out, **values)

    return started


def variant_of(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"mine.yaml must hold ids and their values: got nothing"),
        ("- epochs", r"mine.yaml must hold ids and their values: got \['epochs'\]"),
        ("epochs: [1", r"mine.yaml must be a YAML file"),
        ("epochss: 1", r"mine.yaml must hold ids of the workflow files: no file has \['epochss'\]"),
    ],
)
def test_a_variant_that_says_nothing_is_refused(start, tmp_path, text, said):
    with pytest.raises(ValueError, match=said):
        start(variant=variant_of(tmp_path, text))


def test_values_that_no_file_has_are_refused(start):
    with pytest.raises(ValueError, match=r"values must hold ids of the workflow files"):
        start(epoch=3)


def test_a_path_that_monai_would_misread_is_refused(start):
    with pytest.raises(ValueError, match=r"output_dir must be a path without '#'.*got .*o#1"):
        start(out="o#1")


@pytest.mark.parametrize("name", ["$print(1)", "@out", "%out"])
def test_an_output_whose_name_means_something_to_monai_is_a_folder(
    start, tmp_path, monkeypatch, name
):
    parsed = []

    def parse(file, *, output_dir, bundle_root, **_others):
        parser = ConfigParser({"output_dir": output_dir, "bundle_root": bundle_root})
        parsed.extend(parser.get_parsed_content(key) for key in ("output_dir", "bundle_root"))
        raise StartedError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("monai.bundle.ConfigWorkflow", parse)
    with pytest.raises(StartedError):
        start(out=Path(name))
    root = tmp_path / name
    assert parsed == [str(root / "runs" / "coordinates" / "fold-0"), str(root)]


def test_points_without_neighbours_are_refused_before_the_training(start):
    vertebrae = [name for name in LUMBAR11.names if "-" not in name]
    with pytest.raises(
        ValueError,
        match=r"two neighbouring landmarks of lumbar13: of all cases none has.*landmark_set",
    ):
        start(vertebrae)


def set_of(tmp_path, *names):
    """A landmark set of one's own, in a file."""
    kinds = {name: "disc" if "-" in name else "vertebra" for name in names}
    lines = [f"- {{name: {name}, kind: {kind}}}" for name, kind in kinds.items()]
    (tmp_path / "mine_set.yaml").write_text("\n".join(["name: mine", "landmarks:", *lines]))
    return str(tmp_path / "mine_set.yaml")


REPORTED = "reported_set must name landmarks of mine alone: got lumbar11, of which T12-L1, .* not"


@pytest.mark.usefixtures("never_trains")
def test_reported_landmarks_that_no_case_has_are_refused_before_the_training(start, tmp_path):
    """Nothing could be measured."""
    with pytest.raises(ValueError, match=r"cases must have points of mine, .*reported_set"):
        start(LUMBAR11.names[:8], reported_set=set_of(tmp_path, "L5", "L5-S1"))


def points_of(*names):
    return {"points_lps": {name: [0.0, 0.0, -30.0 * n] for n, name in enumerate(names)}}


@pytest.mark.parametrize(
    ("others", "exclude", "said"),
    [
        (["L2"], (), r"of lumbar13: without fold 0 none has"),
        (
            ["L1", "L1-L2"],
            ["Mustermann", "Musterfrau"],
            r"without the 2 excluded subjects none has",
        ),
        (["L1", "L1-L2"], (), None),
    ],
)
@pytest.mark.usefixtures("never_trains")
def test_subjects_without_whom_no_neighbours_are_left_are_not_named(
    tmp_path, others, exclude, said
):
    """A subject may be a patient's identifier."""
    both, names = points_of("L1", "L1-L2"), ("Mustermann", "Musterfrau")
    cases = [{"id": str(n), "subject": name, "fold": n} | both for n, name in enumerate(names)]
    cases[1] |= points_of(*others)
    cases += [{"id": "c", "fold": 1} | points_of("L2")]
    expected = pytest.raises(ValueError, match=said) if said else pytest.raises(StartedError)
    with expected as caught:
        train(datalist_of(tmp_path, *cases), tmp_path / "out", exclude=exclude)
    assert "Muster" not in str(caught.value)


@pytest.mark.usefixtures("never_trains")
def test_another_training_is_refused_without_the_names_of_subjects(start, tmp_path):
    with pytest.raises(StartedError):
        start(exclude=["s0"])
    finish_a_part(tmp_path / "out")
    with pytest.raises(ValueError, match="expected 1 subjects, got other 1") as caught:
        start(exclude=["s1"])
    assert "'s0'" not in str(caught.value)


@pytest.mark.parametrize("door", ["variant", "values"])
@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"num_landmarks": 3}, REPORTED),
        ({"num_landmarks": 4, "reported_set": "mine"}, "num_landmarks must be 3, .*mine: got 4"),
        ({"reported_set": "mine"}, "num_landmarks must be 3, .*mine: got 13"),
    ],
)
def test_landmark_sets_that_do_not_fit_are_refused_before_the_training(
    start, tmp_path, door, others, said
):
    """The figures come last, after hours: there it would be too late."""
    mine = set_of(tmp_path, "L4", "L4-L5", "L5")
    given = {k: mine if v == "mine" else v for k, v in others.items()} | {"landmark_set": mine}
    if door == "variant":
        given = {"variant": variant_of(tmp_path, json.dumps(given))}
    with pytest.raises(ValueError, match=said):
        start(**given)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("never_trains")
def test_a_count_of_landmarks_may_be_worked_out(start, tmp_path):
    mine = set_of(tmp_path, "L4", "L4-L5", "L5")
    counted = "$len(landmarks.load_registry(@landmark_set))"
    with pytest.raises(StartedError):
        start(landmark_set=mine, reported_set="@landmark_set", num_landmarks=counted)


class StartedError(Exception):
    """Nothing was refused."""


@pytest.fixture
def never_trains(monkeypatch):
    def begin(*_args):
        raise StartedError

    monkeypatch.setattr(stages, "cross_validate", begin)


def finish_a_part(folder, name="runs/heatmap/fold-0/checkpoint.pt"):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()


@pytest.mark.usefixtures("never_trains")
@pytest.mark.parametrize(
    "part",
    [
        "runs/coordinates/all-folds/checkpoint.pt",
        "predictions/heatmap/fold-1.npz",
        "models/fusion.pt",
    ],
)
def test_an_output_of_another_training_is_refused(start, tmp_path, part):
    """Its finished parts would be passed off as this one's."""
    one, other = (tmp_path / f"{n}.yaml" for n in "ab")
    one.write_text("learning_rate: 0.1")
    other.write_text("learning_rate: 0.2")
    for _ in range(2):
        with pytest.raises(StartedError):
            start(variant=one, exclude=["s0"])
        finish_a_part(tmp_path / "out", part)
    for changed, said in (
        ({"variant": other, "exclude": ["s0"]}, "configuration"),
        ({"variant": one}, "exclude"),
        ({"variant": one, "exclude": ["s0"], "seed": 3}, "values"),
        ({"variant": one, "exclude": ["s0"], "levels": LUMBAR11.names[1:]}, "datalist"),
    ):
        with pytest.raises(ValueError, match=f"{said} must be that of the training in .*out"):
            start(**changed)


@pytest.mark.usefixtures("never_trains")
@pytest.mark.parametrize("changed", ["landmark_set", "reported_set"])
def test_a_landmark_set_whose_file_has_changed_is_another_training(start, tmp_path, changed):
    """Else old weights would get new names."""
    sets = {}
    for name in ("landmark_set", "reported_set"):
        (tmp_path / name).mkdir()
        sets[name] = set_of(tmp_path / name, "L4", "L4-L5", "L5")
    for _ in range(2):
        with pytest.raises(StartedError):
            start(**sets, num_landmarks=3)
        finish_a_part(tmp_path / "out")
    others = {"landmark_set": ["L5", "L4-L5", "L4"], "reported_set": ["L4", "L5"]}
    set_of(tmp_path / changed, *others[changed])
    with pytest.raises(ValueError, match=f"{changed} must be that of the training in .*out"):
        start(**sets, num_landmarks=3)


@pytest.mark.usefixtures("never_trains")
def test_a_training_of_an_earlier_version_goes_on(start, tmp_path):
    """Its training.json says nothing of the landmark sets."""
    file = tmp_path / "out" / "training.json"
    with pytest.raises(StartedError):
        start()
    finish_a_part(tmp_path / "out")
    content = json.loads(file.read_text())
    file.write_text(json.dumps({k: v for k, v in content.items() if not k.endswith("_set")}))
    with pytest.raises(StartedError):
        start()


@pytest.mark.usefixtures("never_trains")
def test_a_mistake_may_be_corrected_in_the_same_folder_before_anything_is_trained(start, tmp_path):
    for seed in (1, 2):
        with pytest.raises(StartedError):
            start(seed=seed)
        assert json.loads((tmp_path / "out" / "training.json").read_text())["values"] == {
            "seed": seed
        }


def test_an_image_that_is_not_there_is_named_before_anything_is_written(start, tmp_path):
    (tmp_path / "image.nii").unlink()
    with pytest.raises(FileNotFoundError, match=r"image of case c0 must be.*image.nii is not th"):
        start()
    assert not (tmp_path / "out").exists()


def test_one_fold_is_refused_before_anything_is_written(start, tmp_path):
    with pytest.raises(ValueError, match=r"at least two folds, to hold one out: got \[0\]"):
        start(folds=1)
    assert not (tmp_path / "out").exists()


def datalist_of(tmp_path, *items):
    (tmp_path / "a.nii.gz").touch()
    cases = [{"image": "a.nii.gz"} | item for item in items]
    content = {"format": "spine_monai.datalist", "format_version": 1, "training": cases}
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    return tmp_path / "datalist.json"


def test_one_fold_cannot_be_cross_validated(tmp_path):
    with pytest.raises(ValueError, match=r"at least two folds, to hold one out: got \[0\]"):
        cross_validate(tmp_path, [0], {})


def test_a_training_case_without_a_fold_is_named_before_anything_is_written(tmp_path):
    datalist = datalist_of(
        tmp_path, {"id": "a", "fold": 0}, {"id": "b", "fold": 1}, {"id": "c", "fold": None}
    )
    with pytest.raises(ValueError, match="must give each training case a fold: missing for c"):
        train(datalist, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_subjects_are_left_out_by_name_also_where_the_name_is_a_number(tmp_path, monkeypatch):
    runs = []
    monkeypatch.setattr(stages, "run_stage", lambda *given, **_: runs.append(given[2]))
    monkeypatch.setattr(stages, "measure_arms", lambda *_: {})
    monkeypatch.setattr(stages, "write_card", lambda *_: None)
    points = {"points_lps": {"L1": [0, 0, 0], "L1-L2": [0, 0, -15]}}
    cases = [{"id": "a", "subject": "5", "fold": 0} | points, {"id": "b", "fold": 1} | points]
    train(datalist_of(tmp_path, *cases), tmp_path / "out", exclude=[5])
    assert [run["exclude"] for run in runs if "exclude" in run] == [["5"]] * 3
    with pytest.raises(ValueError, match=r"exclude must name subjects of .*: got 6\."):
        train(datalist_of(tmp_path, *cases), tmp_path / "out", exclude=[6])
