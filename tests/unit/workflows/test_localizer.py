"""The warm program: a predict and a preparation of our own, real studies, real files."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.engines import EnsembleEvaluator
from monai.engines.utils import IterationEvents
from monai.transforms import Compose

from spine_monai.landmarks import LUMBAR11, LandmarkSet
from spine_monai.transforms import CentralSlicesd, LoadSpineStudyd
from spine_monai.workflows.cases import ListedStudy
from spine_monai.workflows.causes import root_cause
from spine_monai.workflows.in_process import run_here
from spine_monai.workflows.job import Job
from spine_monai.workflows.localizer import Localizer
from spine_monai.workflows.recipe import EvaluatorPredict, Recipe
from spine_monai.workflows.tries import MAX_TRIES, Tries
from spine_monai.writers.json import read_case

BUNDLE = {"name": "b", "version": "1", "weights_sha256": {}, "config_sha256": ""}
PREPARE = Compose([LoadSpineStudyd("image"), CentralSlicesd("image", count=3)])


def predict(items):
    """A straight spine, 20 mm from the slice's corner."""
    outputs = []
    for item in items:
        corner = np.asarray(item["image"].affine)[:3, 3] * [-1, -1, 1]
        points_lps = corner + np.stack([[0.0, 20.0, -10.0 * n] for n in range(11)])
        sure = np.full(11, 0.9)
        landmarks = LandmarkSet(LUMBAR11, points_lps, sure, sure)
        outputs.append({"landmarks": landmarks, "slice_score": sure})
    return outputs


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path / "out", ("json", "markups"), BUNDLE)


@pytest.fixture
def item(pristine_folder):
    return {"id": "one", "image": ListedStudy(str(pristine_folder))}


def test_a_study_is_located_read_predicted_and_written(job, item, located):
    report = Localizer(predict, PREPARE, job).run(item)
    assert (report.case, report.status) == ("one", "done")
    assert report.digest == located.digest
    assert report.landmarks.points_lps.shape == (11, 3)
    assert {path.name for path in (job.output_dir / "one").iterdir()} == {
        *("landmarks.json", "landmarks.mrk.json")
    }


def brightened(item):
    """The study with one voxel of each slice as bright as an artefact."""
    item["image"][0, 3, 5, :] = 100 * item["image"].max()
    return item


@pytest.mark.parametrize("count", [1, 3])
def test_extreme_grey_values_of_the_chosen_slice_are_warned_of(job, item, count):
    steps = [LoadSpineStudyd("image"), brightened, CentralSlicesd("image", count=count)]
    report = Localizer(predict, Compose(steps), job).run(item)
    assert "extreme_grey_values" in [warning["code"] for warning in report.warnings]
    usual = Localizer(predict, PREPARE, replace(job, overwrite=True)).run(item)
    assert "extreme_grey_values" not in [warning["code"] for warning in usual.warnings]


def test_one_program_takes_one_study_after_the_other(job, item, dicom_folder):
    localizer = Localizer(predict, PREPARE, job)
    assert localizer.run(item).status == "done"
    assert localizer.run({"id": "two", "image": dicom_folder}).status == "done"
    assert localizer.run(item).status == "skipped"


def test_a_finished_case_is_done_again_where_anything_differs(job, item, caplog):
    caplog.set_level(logging.INFO)
    for other, reason in (
        (replace(job, options={"slices": "all"}), "it was done with another options"),
        (replace(job, bundle=BUNDLE | {"version": "2"}), "it was done with another bundle"),
        (replace(job, formats=("json", "overlay")), "overlay.png is missing"),
        (replace(job, overwrite=True), "done again, as asked"),
    ):
        shutil.rmtree(job.output_dir, ignore_errors=True)
        Localizer(predict, PREPARE, job).run(item)
        assert Localizer(predict, PREPARE, other).run(item).status == "done"
        assert reason in caplog.text


def test_a_case_is_done_again_where_its_own_slice_differs(job, item, caplog):
    caplog.set_level(logging.INFO)
    localizer = Localizer(predict, PREPARE, replace(job, options={"slice_index": None}))
    statuses = [localizer.run(item | {"slice_index": index}).status for index in (1, 2, 2)] + [
        localizer.run(item).status
    ]
    assert statuses == ["done", "done", "skipped", "done"]
    assert caplog.text.count("it was done with another options") == 2


def test_a_case_is_done_again_where_the_landmark_sets_file_has_changed(job, item, tmp_path):
    file = tmp_path / "mine.yaml"
    for name, status in (("L4", "done"), ("L4", "skipped"), ("L5", "done")):
        file.write_text(f"name: mine\nlandmarks: [{{name: {name}, kind: vertebra}}]\n")
        own = replace(job, options={"reported_set": str(file), "landmark_set": "lumbar13"})
        assert Localizer(predict, PREPARE, own).run(item).status == status


def test_the_record_names_the_slice_that_a_case_asked_for(job, item):
    localizer = Localizer(predict, PREPARE, replace(job, options={"slice_index": 0}))
    localizer.run(item | {"slice_index": 2})
    record = read_case(job.output_dir / "one" / "landmarks.json")
    assert record["options"]["slice_index"] == record["slice"]["index"] == 2


def test_a_case_whose_study_is_gone_fails_though_its_files_are_there(job, item, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    localizer = Localizer(predict, PREPARE, job)
    localizer.run(item)
    report = localizer.run(item | {"image": ListedStudy(str(tmp_path / "gone"))})
    assert report.status == "failed"
    assert "gone does not" in report.reason
    assert "its study cannot be located any more" in caplog.text


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def outdated(files):
    return {f"{name}.outdated": content for name, content in files.items()}


def out_of_memory(items):
    raise MemoryError


def test_a_case_that_fails_when_done_again_has_no_current_results(job, item, caplog):
    localizer, folder = Localizer(predict, PREPARE, job), job.output_dir / "one"
    localizer.run(item)
    before = contents(folder)
    again = Localizer(out_of_memory, PREPARE, replace(job, overwrite=True))
    assert again.run(item).status == "failed"
    assert contents(folder) == outdated(before)
    assert "its earlier results are called *.outdated now" in caplog.text
    assert localizer.run(item).status == "done"
    assert contents(folder).keys() == before.keys()


@pytest.fixture
def volume(study, tmp_path):
    """A study that is no DICOM, and that a test may change."""
    return {"id": "one", "image": ListedStudy(str(study.write_nifti(tmp_path / "t2.nii")))}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("changed", "formats", "reason"),
    [
        ({}, ("json", "sr"), "must be DICOM"),
        ({"slice_index": 99}, ("json",), "slice_index must lie within"),
        ({"image": ListedStudy("gone")}, ("json",), "study must exist"),
    ],
)
def test_a_refusal_before_any_work_leaves_earlier_results(  # noqa: PLR0917
    job, volume, caplog, changed, formats, reason, overwrite
):
    Localizer(predict, PREPARE, job).run(volume)
    before = contents(job.output_dir / "one")
    again = Localizer(predict, PREPARE, replace(job, formats=formats, overwrite=overwrite))
    report = again.run(volume | changed)
    assert (report.status, reason in report.reason) == ("failed", True)
    assert contents(job.output_dir / "one") == before
    assert "its earlier results stay: nothing was done anew" in caplog.text
    assert Localizer(predict, PREPARE, job).run(volume).status == "skipped"


def test_results_of_a_study_that_changed_do_not_stay_where_it_is_refused(job, volume):
    Localizer(predict, PREPARE, job).run(volume)
    before = contents(job.output_dir / "one")
    volume["image"].path.write_bytes(b"damaged")
    assert Localizer(predict, PREPARE, job).run(volume).status == "failed"
    assert contents(job.output_dir / "one") == outdated(before)


@pytest.mark.parametrize("changed", [{"slice_index": 99}, {"image": ListedStudy("gone")}])
def test_results_of_other_weights_do_not_stay_where_a_study_is_refused(job, volume, changed):
    Localizer(predict, PREPARE, job).run(volume)
    before = contents(job.output_dir / "one")
    other = replace(job, bundle=BUNDLE | {"version": "2"})
    assert Localizer(predict, PREPARE, other).run(volume | changed).status == "failed"
    assert contents(job.output_dir / "one") == outdated(before)


def test_results_stay_where_the_study_went_away_after_it_was_located(job, volume):
    volume = volume | {"image": volume["image"].locate()}
    Localizer(predict, PREPARE, job).run(volume)
    before = contents(job.output_dir / "one")
    volume["image"].path.unlink()
    assert Localizer(predict, PREPARE, job).run(volume).status == "failed"
    assert contents(job.output_dir / "one") == before


def test_a_case_that_killed_too_often_has_no_current_results(job, item, tmp_path):
    Localizer(predict, PREPARE, job).run(item)
    for _ in range(MAX_TRIES):
        Tries(tmp_path / "marks").begin("one")
    report = Localizer(predict, PREPARE, job, Tries(tmp_path / "marks")).run(item)
    assert report.is_poison
    assert not (job.output_dir / "one" / "landmarks.json").exists()


def test_what_goes_wrong_in_a_case_is_its_own(job, item):
    report = Localizer(out_of_memory, PREPARE, job).run(item)
    assert (report.status, report.reason) == ("failed", "MemoryError: ")
    assert not (job.output_dir / "one").exists()


def without_numbers(items):
    outputs = predict(items)
    for output in outputs:
        landmarks = output["landmarks"]
        sure = np.where(np.arange(11) == 4, np.nan, landmarks.confidence)
        output["landmarks"] = replace(landmarks, confidence=sure)
    return outputs


def test_where_a_record_cannot_be_written_no_file_of_the_case_is(job, item, caplog):
    report = Localizer(without_numbers, PREPARE, job).run(item)
    assert (report.status, "not JSON compliant" in report.reason) == ("failed", True)
    assert not (job.output_dir / "one").exists()
    assert "its earlier results" not in caplog.text


def test_where_a_file_cannot_be_written_no_other_of_the_case_is(job, item, monkeypatch):
    def refuse(*_):
        msg = "no picture"
        raise ValueError(msg)

    monkeypatch.setattr("spine_monai.workflows.outputs.draw_overlay", refuse)
    job = replace(job, formats=("json", "markups", "overlay"))
    report = Localizer(predict, PREPARE, job).run(item)
    assert (report.status, report.reason) == ("failed", "no picture")
    assert not list(job.output_dir.rglob("*.*"))


def test_a_disk_that_cannot_be_written_ends_the_run(job, item):
    job.output_dir.write_text("in the way")
    with pytest.raises(OSError, match="out"):
        Localizer(predict, PREPARE, job).run(item)


class Doubtful:
    """A network whose postprocessing fails at bright images."""

    def __call__(self, data):
        if float(data["image"].max()) > 1:
            msg = "too bright"
            raise ValueError(msg)
        return data | predict([data])[0]


def image(value, left_mm):
    affine = torch.diag(torch.tensor([1.0, 1.0, 1.0, 1.0], dtype=torch.float64))
    affine[0, 3] = left_mm
    return {"image": MetaTensor(torch.full((1, 6, 5), value), affine=affine)}


@pytest.fixture
def evaluator():
    def iteration(engine, batch):
        engine.state.output = {"image": batch["image"]}
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    return EnsembleEvaluator(
        device=torch.device("cpu"),
        val_data_loader=[],
        networks=[torch.nn.Identity()],
        pred_keys=["image"],
        iteration_update=iteration,
        postprocessing=Compose([Doubtful()]),
    )


def test_a_failed_case_leaves_nothing_to_the_next_one(evaluator):
    """Ignite would resume the broken run, and give its outputs for the next case's."""
    predictor = EvaluatorPredict(evaluator)
    (first,) = predictor([image(0.5, left_mm=1.0)])
    with pytest.raises(RuntimeError) as caught:
        predictor([image(0.5, left_mm=2.0), image(7.0, left_mm=2.0)])
    assert str(root_cause(caught.value)) == "too bright"
    (third,) = predictor([image(0.5, left_mm=3.0)])
    assert first["landmarks"].points_lps[0, 0] == pytest.approx(-1.0)
    assert third["landmarks"].points_lps[0, 0] == pytest.approx(-3.0)


def test_a_case_that_killed_too_often_is_not_begun(job, item, tmp_path):
    for _ in range(MAX_TRIES):
        Tries(tmp_path / "marks").begin("one")  # by processes that are gone
    localizer = Localizer(predict, PREPARE, job, Tries(tmp_path / "marks"))
    report = localizer.run(item)
    assert (report.status, report.is_poison, report.tries) == ("failed", True, MAX_TRIES)
    assert "it killed the process that worked on it 3 times" in report.reason
    assert localizer.run(item).status == "done"


def test_tries_are_counted_and_what_a_dead_process_left_is_removed(job, item, tmp_path):
    Tries(tmp_path / "marks").begin("one")
    leftover = job.output_dir / "one" / f".{'0a' * 16}-landmarks.json"
    leftover.parent.mkdir(parents=True)
    leftover.write_text("half")
    report = Localizer(predict, PREPARE, job, Tries(tmp_path / "marks")).run(item)
    assert (report.status, report.tries) == ("done", 2)
    assert not leftover.exists()


class Order:
    """Notes what was begun and what was concluded."""

    def __init__(self, localizer):
        self.localizer, self.noted = localizer, []

    def read(self, item):
        self.noted.append(("read", item["id"]))
        return self.localizer.read(item)

    def conclude(self, reading):
        self.noted.append(("conclude", reading.item["id"]))
        return self.localizer.conclude(reading)

    def interrupt(self):
        self.noted.append(("interrupt", ""))


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_a_suspect_is_read_when_nothing_else_is_in_work(job, item, num_workers):
    items = [item | {"id": case} for case in "abcd"]
    order = Order(Localizer(predict, PREPARE, job))
    reports = list(run_here(order, items, num_workers, alone={"c", "d"}))
    assert [report.case for report in reports] == list("abcd")
    begun = order.noted.index(("read", "c"))
    assert order.noted[begun - 1] == ("conclude", "b")
    assert order.noted[begun : begun + 3] == [("read", "c"), ("conclude", "c"), ("read", "d")]
    assert order.noted[-1] == ("interrupt", "")


def test_an_interrupted_run_takes_its_marks_back(job, item, tmp_path):
    tries = Tries(tmp_path / "marks")

    def interrupted(items):
        raise KeyboardInterrupt

    localizer = Localizer(interrupted, PREPARE, job, tries)
    with pytest.raises(KeyboardInterrupt):
        list(run_here(localizer, [item, item | {"id": "two"}], 1))
    assert tries.suspects() == set()


@pytest.mark.parametrize("name", ["%out", "@out", "$out"])
def test_an_output_folder_may_have_any_name(tmp_path, monkeypatch, name):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "metadata.json").write_text("{}")
    text = "{bundle_root: ., output_dir: '', formats: [], dataset: {data: []}}"
    (tmp_path / "configs" / "inference.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    parser = Recipe(tmp_path, Path(name)).parse()
    assert parser.get_parsed_content("output_dir") == str(tmp_path / name)


def test_backend_and_model_go_together(tmp_path):
    for backend, model in (("onnxruntime", None), ("torch", tmp_path / "model.onnx")):
        with pytest.raises(ValueError, match=r"backend and model must go together: .* got"):
            Recipe(tmp_path, tmp_path, backend=backend, model=model)
    with pytest.raises(FileNotFoundError, match=r"model must be a file that .* wrote: .*onnx is"):
        Recipe(tmp_path, tmp_path, backend="onnxruntime", model=tmp_path / "model.onnx")
