"""Datalists: what is written comes back, and each bad file is named."""

import json
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from spine_monai.data import (
    assign_folds,
    load_datalist,
    read_datalist,
    read_training_cases,
    training_items,
    write_datalist,
)
from spine_monai.data.datalists import check_views, points_tensor
from spine_monai.landmarks import LUMBAR11, LUMBAR13

POINTS = {"T12": [9.0, 9.0, 9.0], "L1": [1.5, -2.5, 3.25], "L2": None}
ALL_POINTS = {name: [1.0, 2.0, 3.0] for name in LUMBAR13.names}


def item(case, *, fold=None, image="/data/a.nii.gz", **more):
    folds = {} if fold is None else {"fold": fold}
    return {"id": case, "subject": case[:1], "image": image, "points_lps": POINTS} | folds | more


def write_text(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def content_of(*items, **changes):
    header = {"format": "spine_monai.datalist", "format_version": 1, "landmark_set": "lumbar11"}
    return header | {"training": list(items)} | changes


@pytest.fixture
def datalist(tmp_path):
    items = [item("a1", fold=0), item("a2", fold=0), item("b1", fold=1), item("c1", fold=2)]
    write_datalist(items, tmp_path / "datalist.json", "lumbar11")
    return tmp_path / "datalist.json"


@pytest.fixture
def complete(tmp_path):
    """The same cases with all their landmarks annotated."""
    folds = {"a1": 0, "a2": 0, "b1": 1, "c1": 2}
    items = [item(case, fold=fold, points_lps=ALL_POINTS) for case, fold in folds.items()]
    write_datalist(items, tmp_path / "complete.json", "lumbar13")
    return tmp_path / "complete.json"


def test_paths_in_the_file_are_relative_to_it(tmp_path):
    image, mask = tmp_path / "images" / "a.nii.gz", tmp_path / "a_mask.nii.gz"
    path = tmp_path / "lists" / "datalist.json"
    write_datalist([item("a1", image=str(image), mask=str(mask))], path, "lumbar11")
    (written,) = json.loads(path.read_text())["training"]
    assert (written["image"], written["mask"]) == ("../images/a.nii.gz", "../a_mask.nii.gz")
    (read,) = read_datalist(path)
    assert (read["image"], read["mask"]) == (str(image), str(mask))


def test_a_datalist_can_be_moved_with_its_images(tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    write_datalist([item("a1", image=str(before / "a.nii"))], before / "list.json", "lumbar11")
    before.rename(after)
    (read,) = read_datalist(after / "list.json")
    assert read["image"] == str(after / "a.nii")


def test_links_to_a_datalist_and_to_its_images_count_where_they_lie(tmp_path):
    write_datalist([item("a1", image=str(tmp_path / "t2.nii.gz"))], tmp_path / "key", "lumbar11")
    study = tmp_path / "study"
    study.mkdir()
    (study / "datalist.json").symlink_to(tmp_path / "key")
    (study / "t2.nii.gz").symlink_to(tmp_path / "other key")
    (read,) = read_datalist(study / "datalist.json")
    assert read["image"] == str(study / "t2.nii.gz")
    write_datalist([read], study / "datalist.json", "lumbar11")
    assert read_datalist(study / "datalist.json") == [read]


def test_items_come_back_as_they_were(datalist):
    items = read_datalist(str(datalist))
    assert [one["id"] for one in items] == ["a1", "a2", "b1", "c1"]
    assert items[0] == item("a1", fold=0)


def test_the_file_says_what_it_is(datalist):
    content = json.loads(datalist.read_text())
    assert content["format"] == "spine_monai.datalist"
    assert (content["format_version"], content["landmark_set"]) == (1, "lumbar11")


def test_both_sections_are_read(tmp_path):
    write_datalist([item("a1")], tmp_path / "test.json", "lumbar11", section="testing")
    assert "training" not in json.loads((tmp_path / "test.json").read_text())
    assert [one["id"] for one in read_datalist(tmp_path / "test.json")] == ["a1"]


def test_a_case_for_testing_has_no_fold_and_so_is_never_trained_on(tmp_path):
    content = content_of(item("a", fold=0), testing=[item("b", fold=0)])
    path = write_text(tmp_path / "datalist.json", content)
    assert ["fold" in case for case in read_datalist(path)] == [True, False]
    assert [case["id"] for case in load_datalist(path, folds=[0])] == ["a"]


def test_subject_and_points_have_defaults(tmp_path):
    path = write_text(tmp_path / "list.json", content_of({"id": "a1", "image": "a.nii"}))
    (read,) = read_datalist(path)
    assert (read["subject"], read["points_lps"]) == ("a1", {})
    assert read["image"] == str(tmp_path / "a.nii")


def test_the_bundled_datalist_names_the_bundled_study(demo_study):
    (read,) = read_datalist(demo_study.parent / "datalist.json")
    assert Path(read["image"]) == demo_study
    assert set(LUMBAR11.names) <= set(read["points_lps"])


def test_a_datalist_that_is_no_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is none\. Make one with `spine-monai convert`"):
        read_datalist(tmp_path / "none.json")


@pytest.mark.parametrize(
    "content",
    ["{", "[]", content_of("a1"), content_of({"image": "a.nii"}), content_of(training=None)],
    ids=["no JSON", "a list", "an item that is a word", "an item without id", "no items"],
)
def test_a_file_that_is_no_datalist_is_refused(tmp_path, content):
    path = write_text(tmp_path / "list.json", content)
    with pytest.raises(ValueError, match=r"list\.json must be a datalist in JSON with format, id"):
        read_datalist(path)


@pytest.mark.parametrize("changes", [{"format": "other"}, {"format_version": 2}])
def test_another_format_or_version_is_refused(tmp_path, changes):
    path = write_text(tmp_path / "list.json", content_of(item("a1"), **changes))
    with pytest.raises(ValueError, match=r"must have format spine_monai\.datalist version 1: got"):
        read_datalist(path)


@pytest.mark.parametrize(
    ("items", "got"),
    [([], "got 0 ids, 0 of them different"), ([item("a1")] * 2, "got 2 ids, 1 of them different")],
)
def test_no_case_and_two_cases_of_one_id_are_refused(tmp_path, items, got):
    path = write_text(tmp_path / "list.json", content_of(*items))
    with pytest.raises(ValueError, match=f"at least one case, each id once: {got}"):
        read_datalist(path)


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, ["a1", "a2", "b1", "c1"]),
        ({"folds": [1, 2]}, ["b1", "c1"]),
        ({"folds": [0], "exclude": ["b"]}, ["a1", "a2"]),
        ({"exclude": ["a", "c"]}, ["b1"]),
    ],
)
def test_folds_and_subjects_choose_the_items(datalist, options, ids):
    assert [one["id"] for one in load_datalist(datalist, **options)] == ids


@pytest.mark.parametrize("options", [{"folds": [3]}, {"folds": [1], "exclude": ["b"]}])
def test_no_item_left_is_refused(datalist, options):
    with pytest.raises(
        ValueError, match=r"must have cases in folds \[[13]\]: got none\b"
    ) as caught:
        load_datalist(datalist, **options)
    left_out = (
        f" without the {len(options['exclude'])} excluded subjects" if "exclude" in options else ""
    )
    assert str(caught.value).endswith(f"got none{left_out}.")


def test_a_training_item_has_only_what_the_networks_need(datalist):
    first = load_datalist(datalist)[0]
    assert first.keys() == {"id", "subject", "image", "points_lps"}


def test_each_item_comes_once_for_each_view(complete):
    """As YAML gives the views: lists of names, with null for an end that is not cut."""
    views = [[None, None], ["L1-L2", None], [None, "L5"], ["T12-L1", "L3"]]
    items = load_datalist(complete, folds=[0], views=views)
    expected = [(None, None), (2, None), (None, 9), (0, 5)]
    assert [one["id"] for one in items] == ["a1"] * 4 + ["a2"] * 4
    assert [one["view"] for one in items] == expected * 2
    (whole,) = load_datalist(complete, folds=[1])
    (cut,) = load_datalist(complete, folds=[1], views=views[1:2])
    assert cut.keys() == whole.keys() | {"view"}
    assert torch.equal(cut["points_lps"].isnan(), whole["points_lps"].isnan())


def test_a_view_counts_its_landmarks_in_the_registry(complete):
    options = {"folds": [1], "landmark_set": "lumbar13", "views": [["L1-L2", None]]}
    (cut,) = load_datalist(complete, **options)
    assert cut["view"] == (LUMBAR13.names.index("L1-L2"), None) == (4, None)


def test_a_view_is_left_out_where_a_landmark_beside_its_cut_has_no_point(tmp_path):
    points = ALL_POINTS | {"L1": None}
    path = write_text(tmp_path / "d.json", content_of(item("a", fold=0, points_lps=points)))
    views = [[None, None], ["L1", None], ["L1-L2", None], ["L2", "L4"], [None, "T12-L1"]]
    items = load_datalist(path, views=views)
    assert [case["view"] for case in items] == [(None, None), (3, 7)]


def test_views_can_be_checked_before_anything_is_trained():
    check_views([["L2", None]], "lumbar11")
    with pytest.raises(ValueError, match=r"views must name landmarks of rsna_canal5: got L2\."):
        check_views([["L2", None]], "rsna_canal5")


def test_subjects_are_left_out_by_name_also_where_the_name_was_read_as_a_number(tmp_path):
    items = [item("a", fold=0, subject="7"), item("b", fold=0, subject="8")]
    path = write_text(tmp_path / "d.json", content_of(*items))
    assert [case["id"] for case in load_datalist(path, exclude=[7])] == ["b"]


def test_a_view_of_a_landmark_that_is_not_in_the_set_is_refused(datalist):
    with pytest.raises(ValueError, match="T12"):
        load_datalist(datalist, views=[["T12", None]])


def test_the_views_of_a_case_do_not_share_their_item(complete):
    first, second = load_datalist(complete, folds=[1], views=[[None, None], ["L2", None]])
    first["id"] = "changed"
    assert second["id"] == "b1"


def test_each_slice_comes_once_for_each_view(study, tmp_path):
    image = study.write_nifti(tmp_path / "a.nii.gz")
    case = item("a1", image=str(image), points_lps=ALL_POINTS)
    write_datalist([case], tmp_path / "list.json", "lumbar11")
    items = load_datalist(tmp_path / "list.json", slices="all", views=[["L1", None], [None, "L2"]])
    pairs = [(one["slice_index"], one["view"]) for one in items]
    assert pairs == [(index, view) for index in range(5) for view in ((1, None), (None, 3))]


def test_without_views_an_item_has_none(datalist):
    assert all("view" not in one for one in load_datalist(datalist, views=[]))


def test_the_landmark_set_chooses_the_points(datalist):
    points = load_datalist(datalist, landmark_set="lumbar13")[0]["points_lps"]
    known = ~torch.isnan(points).any(-1)
    assert [LUMBAR13.names[i] for i in torch.nonzero(known)[:, 0]] == ["T12", "L1"]


def test_points_stand_in_the_order_of_the_registry():
    points = points_tensor(POINTS, LUMBAR11)
    assert (points.shape, points.dtype) == ((11, 3), torch.float64)
    known = ~torch.isnan(points).any(-1)
    assert [LUMBAR11.names[i] for i in torch.nonzero(known)[:, 0]] == ["L1"]
    assert points[1].tolist() == [1.5, -2.5, 3.25]


def test_all_slices_give_an_item_each(study, pristine_folder, tmp_path):
    image = study.write_nifti(tmp_path / "a.nii.gz")
    items = [item("a1", image=str(image)), item("b1", image=str(pristine_folder))]
    wanted = training_items(items, LUMBAR11, slices="all")
    assert [one["slice_index"] for one in wanted] == [0, 1, 2, 3, 4] * 2
    assert [one["id"] for one in wanted] == ["a1"] * 5 + ["b1"] * 5


def test_slices_are_counted_across_the_patient_whatever_the_file_stores(tmp_path, study):
    """The stored third axis has 80 entries, the sagittal slices are 5."""
    turned = nib.Nifti1Image(np.moveaxis(study.volume, 2, 0), study.ras_from_index[:, [2, 0, 1, 3]])
    nib.save(turned, tmp_path / "turned.nii")
    items = training_items([item("a1", image=str(tmp_path / "turned.nii"))], LUMBAR11, slices="all")
    assert len(items) == 5


def test_the_annotated_slice_is_the_one_that_the_datalist_names():
    items = [item("a1", slice_index=3), item("b1")]
    wanted = training_items(items, LUMBAR11, slices="annotated")
    assert [one.get("slice_index") for one in wanted] == [3, None]
    assert all("slice_index" not in one for one in training_items(items, LUMBAR11))


@pytest.mark.parametrize(
    ("annotated", "slices"), [({"slice_index": 4}, [2, 3, 4]), ({}, [0, 1, 2, 3, 4])]
)
def test_near_slices_are_those_within_8_mm_of_the_annotated_one(study, tmp_path, annotated, slices):
    """Five slices 4 mm apart; without an annotated one, near the middle one."""
    image = study.write_nifti(tmp_path / "a.nii.gz")
    items = [item("a1", image=str(image), **annotated)]
    wanted = training_items(items, LUMBAR11, slices="near")
    assert [one["slice_index"] for one in wanted] == slices


@pytest.mark.parametrize("index", [5, 99, -1])
def test_an_annotated_slice_beyond_the_image_is_refused_where_near_ones_are_wanted(
    study, tmp_path, index
):
    items = [item("a1", image=str(study.write_nifti(tmp_path / "a.nii.gz")), slice_index=index)]
    message = (
        rf"slice_index of a1 must be one of the 5 slices of .*a\.nii\.gz, from 0 to 4: got {index}"
    )
    with pytest.raises(ValueError, match=message):
        training_items(items, LUMBAR11, slices="near")


def test_other_choices_of_slices_are_refused():
    with pytest.raises(ValueError, match="one of middle, annotated, near, all: got 'central'"):
        training_items([item("a1")], LUMBAR11, slices="central")


def test_all_items_of_a_subject_share_a_fold():
    items = [item(f"{subject}{scan}") for subject in "abcdefghij" for scan in range(3)]
    folds = {}
    for one in assign_folds(items, seed=1):
        folds.setdefault(one["subject"], set()).add(one["fold"])
    assert all(len(values) == 1 for values in folds.values())
    sizes = np.bincount([next(iter(values)) for values in folds.values()])
    assert sorted(sizes.tolist()) == [2, 2, 3, 3]


def test_folds_come_from_the_seed_not_from_the_order():
    items = [item(f"{subject}1") for subject in "abcdefghij"]

    def folds_of(given, seed):
        return {one["id"]: one["fold"] for one in assign_folds(given, seed=seed)}

    assert folds_of(items, 0) == folds_of(items[::-1], 0)
    assert folds_of(items, 0) != folds_of(items, 1)
    assert "fold" not in items[0]


def test_points_keep_their_precision():
    point = points_tensor({"L1": [0.1, 234.381, -19.108]}, LUMBAR11)[1]
    assert point.tolist() == [0.1, 234.381, -19.108]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"id": "a"}, "an id and an image, both text: got 'a', None"),
        ({"id": "a", "image": None}, "an id and an image, both text"),
        ({"id": "a", "image": "x", "points_lps": [1]}, r"points_lps of a by name: got \[1\]"),
        ({"id": "a", "image": "x", "points_lps": {"L1": [1, 2]}}, "three finite numbers .* for L1"),
        ({"id": "a", "image": "x", "points_lps": {"L1": ["1", 2, 3]}}, "three finite numbers"),
        ({"id": "a", "image": "x", "points_lps": {"L1": [10**400, 1, 2]}}, "three finite numbers"),
        ({"id": "a", "image": "x", "points_lps": {"L1": [-(10**400), 1, 2]}}, "three finite"),
        ({"id": "a", "image": "x", "points_lps": {"L1": [math.nan, 1, 2]}}, "three finite numbers"),
        ({"id": "a", "image": "x", "points_lps": {"L1": [1, math.inf, 2]}}, "three finite numbers"),
    ],
)
def test_an_incomplete_case_is_refused(tmp_path, item, message):
    content = {"format": "spine_monai.datalist", "format_version": 1, "training": [item]}
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"datalist.json must give .*{message}"):
        read_datalist(tmp_path / "datalist.json")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"subject": 5}, "subject of a as text, in quotes: got int"),
        ({"mask": 5}, "mask of a as text"),
        ({"series_uid": ["1.2"]}, "series_uid of a as text"),
        ({"fold": "0"}, "fold of a as a whole number, without quotes: got '0'"),
        ({"fold": True}, "fold of a as a whole number"),
        ({"slice_index": 2.7}, r"slice_index of a as a whole number, without quotes: got 2\.7"),
    ],
)
def test_a_value_of_another_kind_is_refused(tmp_path, wrong, message):
    path = write_text(tmp_path / "list.json", content_of(item("a") | wrong))
    with pytest.raises(ValueError, match=rf"list\.json must give {message}"):
        read_datalist(path)


@pytest.mark.parametrize(
    "key", ["subject", "mask", "series_uid", "fold", "slice_index", "points_lps"]
)
def test_null_means_not_given(tmp_path, key):
    path = write_text(tmp_path / "list.json", content_of({"id": "a", "image": "a.nii", key: None}))
    (read,) = read_datalist(path)
    assert read.keys() == {"id", "subject", "image", "points_lps"}
    assert (read["subject"], read["points_lps"]) == ("a", {})


def test_a_subject_in_two_folds_is_refused(tmp_path):
    items = [item("a1", fold=0), item("b1", fold=0), item("a2", fold=1), item("a3")]
    path = write_text(tmp_path / "list.json", content_of(*items))
    message = (
        r"list\.json must keep all cases of a subject in one fold: a1 \(fold 0\), a2 \(fold 1\)"
    )
    with pytest.raises(ValueError, match=message):
        read_datalist(path)


def test_training_cases_without_a_fold_beside_others_are_named(tmp_path):
    items = [item("a", fold=0), item("b"), item("c", fold=1), item("d", fold=None)]
    path = write_text(tmp_path / "list.json", content_of(*items, testing=[item("e")]))
    message = r"list\.json must give each training case a fold: missing for b, d\. .*`testing`"
    with pytest.raises(ValueError, match=message):
        load_datalist(path, folds=[0])
    with pytest.raises(ValueError, match=message):
        read_training_cases(path)
    assert len(read_datalist(path)) == len(load_datalist(path)) == 5


def test_training_cases_are_those_that_are_not_for_testing(tmp_path):
    path = write_text(tmp_path / "list.json", content_of(item("a"), testing=[item("b")]))
    assert [case["id"] for case in read_training_cases(path)] == ["a"]


def test_of_many_cases_without_a_fold_the_first_are_named(tmp_path):
    items = [item("a", fold=0), *(item(f"b{number}") for number in range(13))]
    path = write_text(tmp_path / "list.json", content_of(*items))
    with pytest.raises(ValueError, match="b8, b9 and 3 more"):
        read_training_cases(path)
