"""What the quality report says of each case, and which one comes first."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest

from spine_monai.viz.report_cases import Concern, read_run
from spine_monai.viz.thumbnails import THUMBNAIL_FILE


def with_confidence(landmarks, **by_name):
    confidence = landmarks.confidence.copy()
    for name, value in by_name.items():
        confidence[landmarks.registry.names.index(name)] = value
    return replace(landmarks, confidence=confidence)


def without(landmarks, name):
    gone = np.array([one == name for one in landmarks.registry.names])
    points = np.where(gone[:, None], np.nan, landmarks.points_lps)
    values = {
        key: np.where(gone, np.nan, getattr(landmarks, key))
        for key in ("confidence", "radius95_mm")
    }
    return replace(landmarks, points_lps=points, **values)


def moved(landmarks, name, down_mm):
    points = landmarks.points_lps.copy()
    points[landmarks.registry.names.index(name), 2] -= down_mm
    return replace(landmarks, points_lps=points)


def views_of(out):
    return {view.case: view for view in read_run(out).cases}


DERIVED = {"warnings": [{"code": "derived_series", "message": "the series is DERIVED"}]}


def test_the_worst_case_comes_first(make_run, sure):
    done = {
        "sure": sure,
        "less sure": with_confidence(sure, L2=0.7),
        "wide": replace(sure, radius95_mm=np.full(11, 7.0)),
        "derived": sure,
        "uncertain": with_confidence(sure, L4=0.3),
        "lost": without(sure, "L1"),
        "far": moved(sure, "L3", 17.0),
    }
    out = make_run(done, failed={"failed": "no series"}, derived=DERIVED)
    assert [view.case for view in read_run(out).cases] == [
        *("failed", "lost", "uncertain", "far", "derived", "less sure", "wide", "sure"),
    ]


def test_cases_fall_into_four_groups(make_run, sure):
    done = {
        "sure": sure,
        "derived": sure,
        "doubt": replace(sure, level_in_doubt=True),
        "order": moved(sure, "L3", 15.0),
        "tiny": replace(sure, points_lps=sure.points_lps * 0.5),
    }
    views = views_of(make_run(done, failed={"failed": "no series"}, derived=DERIVED))
    assert {case: view.concern for case, view in views.items()} == {
        "sure": Concern.NONE,
        "derived": Concern.WARNED,
        "doubt": Concern.CHECK,
        "order": Concern.CHECK,
        "tiny": Concern.CHECK,
        "failed": Concern.FAILED,
    }
    assert views["tiny"].observations == [
        "check the pixel spacing: the landmarks lie 0.50 times as far apart as in other spines"
    ]
    assert views["sure"].observations == []


def test_a_case_of_extreme_grey_values_is_one_to_check(make_run, sure):
    extreme = {"warnings": [{"code": "extreme_grey_values", "message": "clip the grey values"}]}
    views = views_of(make_run({"sure": sure, "extreme": sure}, extreme=extreme))
    assert views["extreme"].concern == Concern.CHECK


def test_a_far_distance_is_put_into_words(make_run, sure):
    view = views_of(make_run({"far": moved(sure, "L3", 17.0)}))["far"]
    assert (
        "look at L2-L3 and L3: they lie 35 mm apart, far from the usual 18 mm" in view.observations
    )
    assert (
        "look at L3 and L3-L4: they lie 1 mm apart, far from the usual 18 mm" in view.observations
    )


def test_figures_of_a_case(make_run, sure):
    views = views_of(make_run({"one": with_confidence(sure, L5=0.6), "lost": without(sure, "L1")}))
    assert (views["one"].least_confidence, views["one"].widest_radius_mm) == (0.6, 3.0)
    assert (views["lost"].least_confidence, views["lost"].widest_radius_mm) == (0.0, 3.0)
    assert (views["one"].duration_s, views["lost"].duration_s) == (1.5, 2.5)
    assert len(views["one"].levels) == 10


def test_failed_cases_have_a_reason_and_no_figures(make_run, sure):
    view = views_of(make_run({"one": sure}, failed={"two": "no sagittal series"}))["two"]
    assert (view.status, view.reason, view.duration_s) == ("failed", "no sagittal series", 0.25)
    assert (view.least_confidence, view.widest_radius_mm, view.levels) == (None, None, [])


def test_a_case_that_failed_now_does_not_show_its_earlier_result(make_run, sure):
    out = make_run({"one": sure, "two": sure})
    report = json.loads((out / "report.json").read_text())
    report["cases"][1] |= {"status": "failed", "reason": "its pixels are cut off"}
    (out / "report.json").write_text(json.dumps(report))
    view = views_of(out)["two"]
    assert (view.record, view.thumbnail, view.files) == (None, None, ("landmarks.json",))


def test_skipped_and_earlier_cases_are_shown_without_a_duration(make_run, sure):
    out = make_run({"one": sure, "two": sure, "old": sure}, skipped=("two",))
    report = json.loads((out / "report.json").read_text())
    report["cases"] = [case for case in report["cases"] if case["case"] != "old"]
    (out / "report.json").write_text(json.dumps(report))
    views = views_of(out)
    said = {case: (view.status, view.duration_s) for case, view in views.items()}
    assert said == {"one": ("done", 1.5), "two": ("skipped", None), "old": ("earlier", None)}
    assert all(len(view.landmarks) == 11 for view in views.values())


def test_a_result_that_cannot_be_read_is_shown_as_failed(make_run, sure, caplog):
    out = make_run({"one": sure, "two": sure})
    whole = (out / "two" / "landmarks.json").read_text()
    (out / "two" / "landmarks.json").write_text(whole[:-100])
    with caplog.at_level(logging.WARNING):
        view = views_of(out)["two"]
    assert (view.concern, view.record) == (Concern.FAILED, None)
    assert "must be a landmarks file" in view.reason
    assert "case two is shown as failed" in caplog.text


def test_a_case_without_its_picture_is_still_shown(make_run, sure, caplog):
    out = make_run({"none": sure, "broken": sure, "whole": sure})
    (out / "none" / THUMBNAIL_FILE).unlink()
    (out / "broken" / THUMBNAIL_FILE).write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING):
        views = views_of(out)
    assert [views[case].thumbnail is None for case in ("none", "broken", "whole")] == [1, 1, 0]
    assert "case broken is shown without its picture" in caplog.text
    assert "none is shown" not in caplog.text


def test_files_are_listed_but_hidden_ones_and_the_thumbnail(make_run, sure):
    out = make_run({"one": sure})
    for name in (".aside", "landmarks.dcm", "overlay.png"):
        (out / "one" / name).write_text("x")
    (out / "report.html").write_text("x")
    (out / "landmarks.csv").write_text("x")
    run = read_run(out)
    assert run.cases[0].files == ("landmarks.dcm", "landmarks.json", "overlay.png")
    assert run.files == ("landmarks.csv", "report.json")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "must be the report of a run"),
        ("[]", "must be the report of a run"),
        ('{"format": "spine_monai.report"}', "must be the report of a run"),
        ('{"format": "spine_monai.report", "format_version": 2}', "version 1: got .*2"),
        ('{"format": "spine_monai.report", "format_version": 1}', "must be complete"),
    ],
)
def test_a_wrong_report_is_refused(tmp_path, text, match):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ValueError, match=match):
        read_run(tmp_path)


def test_a_folder_without_a_report_is_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"report\.json must exist: .* Localize studies"):
        read_run(tmp_path)
