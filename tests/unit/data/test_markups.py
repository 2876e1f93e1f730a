"""Slicer markups in; the point's place is checked with nibabel's affine of the image beside it."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from spine_monai.data import conversion_from_markups, datalist_from_markups, read_markups
from spine_monai.landmarks import LUMBAR11
from spine_monai.writers import markups_text


def point(label, position, status="defined"):
    return {"label": label, "position": position, "positionStatus": status}


def write_markups(path, points, **markup):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"markups": [markup | {"controlPoints": points}]}))
    return path


@pytest.fixture
def case(study, tmp_path):
    """A case folder: image, mask, and markups whose L3 is not defined."""
    folder = tmp_path / "cases" / "sub-1"
    points = [point(name, p.tolist()) for name, p in study.points_lps.items() if name != "L3"]
    points += [point("L3", [0.0, 0.0, 0.0], "undefined"), point("S1", [1.0, 2.0, 3.0])]
    write_markups(folder / "t2.mrk.json", points, coordinateSystem="LPS")
    study.write_nifti(folder / "t2.nii.gz")
    study.write_nifti(folder / "mask.nii.gz")
    return folder


def write_folds(tmp_path, text):
    (tmp_path / "folds.csv").write_text(text)
    return tmp_path / "folds.csv"


def test_lps_is_kept_and_ras_has_x_and_y_turned(tmp_path):
    points = [point("L1", [1.0, 2.0, 3.0])]
    lps = read_markups(write_markups(tmp_path / "lps.mrk.json", points, coordinateSystem="LPS"))
    ras = read_markups(write_markups(tmp_path / "ras.mrk.json", points, coordinateSystem="RAS"))
    default = read_markups(write_markups(tmp_path / "default.mrk.json", points))
    assert lps["L1"].tolist() == default["L1"].tolist() == [1.0, 2.0, 3.0]
    assert ras["L1"].tolist() == [-1.0, -2.0, 3.0]


def test_a_ras_file_means_the_place_that_nibabel_means(tmp_path, study):
    path = study.write_nifti(tmp_path / "t2.nii")
    ras = nib.affines.apply_affine(nib.load(path).affine, (41, 30, 2))
    file = write_markups(
        tmp_path / "a.mrk.json", [point("L3", ras.tolist())], coordinateSystem="RAS"
    )
    expected = nib.affines.apply_affine(study.ras_from_index, (41, 30, 2)) * [-1, -1, 1]
    np.testing.assert_allclose(read_markups(file)["L3"], expected, atol=1e-4)


@pytest.mark.parametrize("status", ["undefined", "missing", "preview"])
def test_a_point_that_is_not_defined_is_absent(tmp_path, status):
    points = [point("L1", [1.0, 2.0, 3.0], status), {"label": "L2", "position": [4, 5, 6]}]
    found = read_markups(write_markups(tmp_path / "a.mrk.json", points))
    assert found["L1"] is None
    assert found["L2"].tolist() == [4.0, 5.0, 6.0]


def test_points_of_several_lists_are_joined(tmp_path):
    lists = [{"controlPoints": [point(name, [1, 2, 3])]} for name in ("L1", "L2")]
    (tmp_path / "a.mrk.json").write_text(json.dumps({"markups": lists}))
    assert read_markups(tmp_path / "a.mrk.json").keys() == {"L1", "L2"}


def test_our_own_markups_are_read(tmp_path, landmarks):
    (tmp_path / "a.mrk.json").write_text(markups_text(landmarks))
    found = read_markups(tmp_path / "a.mrk.json")
    assert tuple(found) == LUMBAR11.names
    assert found["L3"] is None
    np.testing.assert_array_equal(found["L5-S1"], landmarks.points_lps[-1])


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"markups": [{"controlPoints": [{}]}]}'])
def test_a_file_that_is_no_markups_file_is_refused(tmp_path, text):
    (tmp_path / "a.mrk.json").write_text(text)
    with pytest.raises(ValueError, match="must be a 3D Slicer markups file with labelled control"):
        read_markups(tmp_path / "a.mrk.json")


def test_another_coordinate_system_is_refused(tmp_path):
    path = write_markups(tmp_path / "a.mrk.json", [point("L1", [1, 2, 3])], coordinateSystem="IJK")
    with pytest.raises(ValueError, match="must have coordinateSystem LPS or RAS in mm: got 'IJK'"):
        read_markups(path)


def test_a_case_folder_becomes_an_item(case, study):
    (item,) = datalist_from_markups([case.parent], LUMBAR11)
    assert (item["id"], item["subject"]) == ("sub-1", "sub-1")
    assert (item["image"], item["mask"]) == (str(case / "t2.nii.gz"), str(case / "mask.nii.gz"))
    assert item["points_lps"]["L3"] is None
    assert item["points_lps"]["S1"] == [1.0, 2.0, 3.0]
    assert item["points_lps"]["L5"] == study.points_lps["L5"].tolist()
    assert "fold" not in item


def test_the_slice_is_the_one_next_to_the_landmarks(case, study):
    (item,) = datalist_from_markups([case], LUMBAR11)
    names = [name for name in LUMBAR11.names if name != "L3"]
    ras = np.stack([study.points_lps[name] for name in names]) * [-1, -1, 1]
    slices = nib.affines.apply_affine(np.linalg.inv(study.ras_from_index), ras)[:, 2]
    assert item["slice_index"] == round(slices.mean()) == 3


def test_landmarks_beside_the_image_mean_its_outermost_slice(case, study):
    far = study.points_lps["L4"] - study.ras_from_index[:3, 2] * [-1, -1, 1] * 30
    write_markups(case / "t2.mrk.json", [point("L4", far.tolist())])
    (item,) = datalist_from_markups([case], LUMBAR11)
    assert item["slice_index"] == 0


def test_dicom_beside_the_markups_is_the_image(study, tmp_path):
    study.write_dicom(tmp_path / "sub-2", seed="sub-2")
    points = [point("L4", study.points_lps["L4"].tolist())]
    write_markups(tmp_path / "sub-2" / "points.mrk.json", points)
    (item,) = datalist_from_markups([tmp_path], LUMBAR11)
    assert item["image"] == str(tmp_path / "sub-2")
    assert "mask" not in item


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
def test_another_volume_file_beside_the_markups_is_the_image(case, suffix):
    image = sitk.ReadImage(str(case / "t2.nii.gz"))
    (case / "t2.nii.gz").unlink()
    sitk.WriteImage(image, str(case / f"t2.{suffix}"))
    (item,) = datalist_from_markups([case], LUMBAR11)
    assert (item["image"], item["slice_index"]) == (str(case / f"t2.{suffix}"), 3)


def test_the_case_is_the_folder_however_it_is_named(case, monkeypatch):
    monkeypatch.chdir(case)
    (item,) = datalist_from_markups([Path()], LUMBAR11)
    assert (item["id"], item["image"]) == ("sub-1", str(case / "t2.nii.gz"))


def test_the_case_is_the_folder_of_a_link_not_of_the_file_behind_it(case, tmp_path):
    """DataLad and git-annex keep the files elsewhere, each in a folder of its own."""
    kept = tmp_path / "annex" / "MD5E-s12--abc.mrk.json" / "MD5E-s12--abc.mrk.json"
    kept.parent.mkdir(parents=True)
    (case / "t2.mrk.json").rename(kept)
    (case / "t2.mrk.json").symlink_to(kept)
    (item,) = datalist_from_markups([case.parent], LUMBAR11)
    assert (item["id"], item["image"]) == ("sub-1", str(case / "t2.nii.gz"))


def test_folds_come_from_their_file(case, tmp_path):
    folds = write_folds(tmp_path, "case,fold\nsub-0,1\nsub-1,3\n")
    (item,) = datalist_from_markups([case], LUMBAR11, folds)
    assert item["fold"] == 3


def test_a_case_without_a_fold_is_refused(case, tmp_path):
    folds = write_folds(tmp_path, "case,fold\nsub-0,1\n")
    with pytest.raises(ValueError, match=r"folds\.csv must name a fold for each case: sub-1 is"):
        datalist_from_markups([case], LUMBAR11, folds)


def test_folders_without_markups_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"folders must hold \*\.mrk\.json files: none in"):
        datalist_from_markups([tmp_path], LUMBAR11)


def test_two_images_beside_the_markups_are_refused(case, study):
    study.write_nifti(case / "t1.nii")
    with pytest.raises(ValueError, match="one image that is no mask: got 2"):
        datalist_from_markups([case], LUMBAR11)


def test_an_image_that_cannot_be_read_is_refused(case):
    (case / "t2.nii.gz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"t2\.nii\.gz"):
        datalist_from_markups([case], LUMBAR11)


def test_markups_without_a_known_landmark_are_refused(case):
    write_markups(case / "t2.mrk.json", [point("S1", [1, 2, 3]), point("L1", [0] * 3, "undefined")])
    with pytest.raises(ValueError, match="must have a point named as one of lumbar11: got S1"):
        datalist_from_markups([case], LUMBAR11)


@pytest.mark.parametrize(
    ("point", "markup", "message"),
    [
        ({"position": None}, {}, "three finite numbers as position: got None"),
        ({"position": [1, 2]}, {}, "three finite numbers"),
        ({"position": ["a", 2, 3]}, {}, "three finite numbers"),
        ({"position": [1, 2, 3]}, {"coordinateUnits": "cm"}, "LPS or RAS in mm: got .* in 'cm'"),
    ],
)
def test_a_point_that_is_no_place_is_refused(tmp_path, point, markup, message):
    content = {"markups": [{"controlPoints": [{"label": "L1"} | point]} | markup]}
    (tmp_path / "a.mrk.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"a.mrk.json must .*{message}"):
        read_markups(tmp_path / "a.mrk.json")


def test_a_label_given_twice_is_refused(tmp_path):
    points = [{"label": "L1", "position": [1, 2, 3]}] * 2
    (tmp_path / "a.mrk.json").write_text(json.dumps({"markups": [{"controlPoints": points}]}))
    with pytest.raises(ValueError, match="must name each point once: got 'L1' twice"):
        read_markups(tmp_path / "a.mrk.json")


def told(conversion):
    return [(remark.code, remark.case, remark.landmark) for remark in conversion.remarks]


def test_missing_swapped_and_misplaced_points_are_told(case, study):
    points = {name: p.tolist() for name, p in study.points_lps.items() if name != "L1"}
    points["L4"], points["L5"] = points["L5"], points["L4"]
    points["T12-L1"][2] += 500.0
    write_markups(case / "t2.mrk.json", [point(name, p) for name, p in points.items()])
    conversion = conversion_from_markups([case], LUMBAR11)
    assert [item["id"] for item in conversion.items] == ["sub-1"]
    assert {
        ("landmark_missing", "sub-1", "L1"),
        ("landmarks_out_of_order", "sub-1", "L4"),
        ("point_outside_image", "sub-1", "T12-L1"),
    } <= set(told(conversion))


def damage_image(folder):
    (folder / "t2.nii.gz").write_bytes(b"xx")


def damage_markups(folder):
    (folder / "t2.mrk.json").write_text("{")


def put_elsewhere(folder):
    write_markups(folder / "t2.mrk.json", [point("L1", [1e4, 1e4, 1e4])])


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (damage_image, "unreadable_image"),
        (damage_markups, "unreadable_markups"),
        (put_elsewhere, "points_outside_image"),
    ],
)
def test_a_case_that_cannot_be_used_is_left_out_and_told(case, harm, code):
    harm(Path(shutil.copytree(case, case.parent / "sub-0")))
    conversion = conversion_from_markups([case.parent], LUMBAR11)
    assert [item["id"] for item in conversion.items] == ["sub-1"]
    assert [(one.code, one.case) for one in conversion.left_out] == [(code, "sub-0")]
    with pytest.raises(ValueError, match="sub-0"):
        datalist_from_markups([case.parent], LUMBAR11)


def test_the_second_of_two_folders_of_one_name_is_left_out_and_told(case):
    shutil.copytree(case, case.parent / "more" / "sub-1")
    conversion = conversion_from_markups([case.parent], LUMBAR11)
    assert len(conversion.items) == 1
    assert [(one.code, one.case) for one in conversion.left_out] == [("annotated_twice", "sub-1")]
