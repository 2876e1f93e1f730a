"""Cross-validation needs something to hold out, and a fold of every case."""

import json

import pytest

from spine_monai.workflows import stages
from spine_monai.workflows.stages import cross_validate, train


def datalist_of(tmp_path, *items):
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
    cases = [{"id": "a", "subject": "5", "fold": 0}, {"id": "b", "fold": 1}]
    train(datalist_of(tmp_path, *cases), tmp_path / "out", exclude=[5])
    assert [run["exclude"] for run in runs if "exclude" in run] == [["5"]] * 3
    with pytest.raises(ValueError, match=r"exclude must name subjects of .*: got 6\."):
        train(datalist_of(tmp_path, *cases), tmp_path / "out", exclude=[6])
