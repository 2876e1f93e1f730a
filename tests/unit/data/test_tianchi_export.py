"""Results as the challenge's JSON: what came in as whole pixels goes out as the same ones."""

import json

import pytest

from spine_monai.data import datalist_from_tianchi, tianchi_from_results, write_tianchi
from spine_monai.landmarks import LUMBAR11


@pytest.fixture
def results(annotate, write_result, tmp_path):
    """The folder of results of an annotated study, its points moved by what no pixel shows."""

    def make(number=1, mirrored=False, **options):
        _, annotation = annotate(tmp_path / "dicom", number, mirrored=mirrored)
        (item,) = datalist_from_tianchi([annotation], tmp_path / "dicom", LUMBAR11).items
        write_result(item, tmp_path / "results", **options)
        return tmp_path / "results", json.loads(annotation.read_text())

    return make


def by_level(record):
    points = record["data"][0]["annotation"][0]["data"]["point"]
    return {point["tag"]["identification"]: point["coord"] for point in points}


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("number", [0, 3])
def test_an_annotation_comes_back_pixel_by_pixel(results, number, mirrored):
    folder, (before,) = results(number, mirrored)
    (after,), conversion = tianchi_from_results(folder)
    assert not conversion.remarks
    assert after["studyUid"] == before["studyUid"]
    for key in ("seriesUid", "instanceUid"):
        assert after["data"][0][key] == before["data"][0][key]
    assert by_level(after) == by_level(before)
    assert all(type(value) is int for coord in by_level(after).values() for value in coord)


def test_tags_have_the_challenges_keys_and_the_grade_that_was_asked_for(results):
    (after,), _ = tianchi_from_results(results()[0], grade="v2")
    tags = [point["tag"] for point in after["data"][0]["annotation"][0]["data"]["point"]]
    assert tags[0] == {"identification": "T12-L1", "disc": "v2"}
    assert tags[1] == {"identification": "L1", "vertebra": "v2"}
    assert [tag["identification"] for tag in tags] == list(LUMBAR11.names)


def test_the_slice_is_counted_as_in_the_result(results):
    (after,), _ = tianchi_from_results(results(4)[0])
    points = after["data"][0]["annotation"][0]["data"]["point"]
    assert {point["zIndex"] for point in points} == {4}


def test_a_landmark_on_a_slice_of_its_own_counts_that_one(results):
    folder, _ = results(1)
    (file,) = folder.glob("*/landmarks.json")
    content = json.loads(file.read_text())
    content["landmarks"][0]["slice"] = {"index": 3, "SOPInstanceUID": "1.2.3"}
    file.write_text(json.dumps(content))
    (after,), _ = tianchi_from_results(folder)
    points = after["data"][0]["annotation"][0]["data"]["point"]
    assert [point["zIndex"] for point in points] == [3] + [1] * 10


def test_a_landmark_that_was_not_found_is_left_out_and_told(results):
    (after,), conversion = tianchi_from_results(results(absent=["L3"], uncertain=["L4"])[0])
    assert set(by_level(after)) == set(LUMBAR11.names) - {"L3"}
    (remark,) = conversion.remarks
    assert (remark.code, remark.landmark, remark.left_out) == ("landmark_absent", "L3", False)


def test_a_landmark_that_the_challenge_does_not_know_is_told(results):
    folder, _ = results()
    (file,) = folder.glob("*/landmarks.json")
    content = json.loads(file.read_text())
    content["landmarks"][0]["name"] = "T12"
    file.write_text(json.dumps(content))
    (after,), conversion = tianchi_from_results(folder)
    assert "T12" not in by_level(after)
    assert [remark.code for remark in conversion.remarks] == ["landmark_unknown"]


def test_a_result_without_dicom_is_left_out(even_study, write_result, tmp_path):
    image = even_study.write_nifti(tmp_path / "a.nii")
    item = even_study.datalist_item(image, case="a", fold=0)
    write_result(item, tmp_path / "results")
    studies, conversion = tianchi_from_results(tmp_path / "results")
    assert studies == []
    (remark,) = conversion.left_out
    assert (remark.case, remark.code) == ("a", "no_dicom")
    assert "got a source of kind 'file'" in remark.message


def test_series_of_one_study_share_a_record(results):
    folder, _ = results()
    (file,) = folder.glob("*/landmarks.json")
    content = json.loads(file.read_text())
    content["case"] = content["source"]["SeriesInstanceUID"] = "1.2.3"
    (folder / "other").mkdir()
    (folder / "other" / "landmarks.json").write_text(json.dumps(content))
    (after,), _ = tianchi_from_results(folder)
    assert len(after["data"]) == 2


def test_what_is_written_is_json(results, tmp_path):
    studies, _ = tianchi_from_results(results()[0])
    write_tianchi(studies, tmp_path / "out" / "submission.json")
    assert json.loads((tmp_path / "out" / "submission.json").read_text()) == studies
