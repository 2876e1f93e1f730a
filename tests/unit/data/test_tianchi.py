"""The challenge's annotations: points where SimpleITK places their pixels, nothing lost unsaid."""

import copy
import json

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from fuzz.elements import with_value

from spine_monai.data import datalist_from_tianchi
from spine_monai.landmarks import LUMBAR11, LUMBAR13


@pytest.fixture
def record(challenge, record_of):
    """The right record of the annotated file, for tests to spoil."""
    _, file, pixels = challenge
    return copy.deepcopy(record_of(file, pixels))


@pytest.fixture
def convert(challenge, write_json):
    """Convert records together with the challenge's folder."""

    def run(*records, registry=LUMBAR11, **options):
        return datalist_from_tianchi([write_json(list(records))], challenge[0], registry, **options)

    return run


def points_of(record):
    return record["data"][0]["annotation"][0]["data"]["point"]


def point_of(record, name):
    return next(p for p in points_of(record) if p["tag"]["identification"] == name)


def remarks(conversion, code):
    return [remark for remark in conversion.remarks if remark.code == code]


def test_every_point_lies_where_simpleitk_places_its_pixel(convert, record, challenge, places_of):
    _, file, pixels = challenge
    conversion = convert(record)
    (item,) = conversion.items
    assert not conversion.remarks
    assert tuple(item["points_lps"]) == LUMBAR11.names
    for name, place in places_of(file, pixels).items():
        np.testing.assert_allclose(item["points_lps"][name], place, atol=1e-5)


def test_a_case_is_named_after_its_series_and_its_image_is_the_annotated_file(
    convert, record, challenge
):
    (item,) = convert(record).items
    assert item["id"] == record["data"][0]["seriesUid"]
    assert item["image"] == str(challenge[1])


def test_the_subject_is_the_patient_and_nobody_can_read_him(convert, record):
    (item,) = convert(record).items
    (other,) = convert(record, subject_key=b"another secret of ours").items
    assert item["subject"].startswith("patient-")
    assert item["subject"] != other["subject"]
    assert "4711" not in json.dumps(item)


def test_what_only_the_challenge_knows_is_kept(convert, record):
    point_of(record, "L4-L5")["tag"]["disc"] = ""
    (item,) = convert(record).items
    assert item["tianchi"]["zIndex"] == 3
    assert item["tianchi"]["grades"] == {
        name: "v1,v5" if "-" in name else "v2" for name in LUMBAR11.names if name != "L4-L5"
    }


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("number", [0, 1, 4])
def test_the_slice_is_the_annotated_one_however_it_is_stored(annotate, tmp_path, mirrored, number):
    """Counted towards the patient's right: by how many of the files lie further to the left."""
    folder = tmp_path / "dicom"
    files, annotation = annotate(folder, number, mirrored=mirrored)
    images = [sitk.ReadImage(str(file)) for file in files]
    centre = (39.5, 47.5, 0.0)
    centres_x = [image.TransformContinuousIndexToPhysicalPoint(centre)[0] for image in images]
    for file, name in zip(files, "dacfbe", strict=True):  # names and places in different orders
        file.rename(folder / f"{name}.dcm")
    (item,) = datalist_from_tianchi([annotation], folder, LUMBAR11).items
    assert item["slice_index"] == sum(x > centres_x[number] for x in centres_x)


def test_another_series_of_the_study_changes_nothing(convert, record, challenge):
    """The T1 series lies in the same folder; only the annotated one is read."""
    (item,) = convert(record).items
    assert sorted(path.name for path in (challenge[0] / "study0").glob("t1_*"))
    assert item["slice_index"] == 1


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (("studyUid", "1.2.3"), "study_not_found", "must hold StudyInstanceUID 1.2.3"),
        (("seriesUid", "1.2.3"), "series_not_found", "must hold SeriesInstanceUID 1.2.3"),
        (("instanceUid", "1.2.3"), "instance_not_found", "must hold SOPInstanceUID 1.2.3"),
    ],
)
def test_what_matches_no_image_is_left_out_and_told(convert, record, change, code, message):
    spoilt = copy.deepcopy(record)
    holder = spoilt if change[0] == "studyUid" else spoilt["data"][0]
    holder[change[0]] = change[1]
    conversion = convert(spoilt)
    (remark,) = conversion.left_out
    assert (remark.code, conversion.items) == (code, [])
    assert message in remark.message
    assert remark.case == spoilt["data"][0]["seriesUid"]


def test_a_study_that_no_record_names_is_told(convert, record):
    record["studyUid"] = "1.2.3"
    (remark,) = remarks(convert(record), "study_not_annotated")
    assert "which no annotation names" in remark.message


def test_a_name_in_place_of_a_uid_is_not_told(
    record, write_json, write_series, even_study, tmp_path
):
    """Some programs write one there."""
    files = write_series(even_study, tmp_path / "images", seed="named")
    content = files[0].read_bytes()
    named = with_value(content, "StudyInstanceUID", "Doe^Jane")
    files[0].write_bytes(named)
    conversion = datalist_from_tianchi([write_json([record])], tmp_path / "images", LUMBAR11)
    messages = [remark.message for remark in remarks(conversion, "study_not_annotated")]
    assert any("holds a study without a valid UID" in message for message in messages)
    assert not any("Doe" in message for message in messages)


def test_a_good_record_survives_its_bad_neighbours(convert, record):
    lost = copy.deepcopy(record)
    lost["studyUid"] = "1.2.3"
    conversion = convert(lost, {"studyUid": "1"}, record, "no record")
    assert [remark.code for remark in conversion.left_out] == [
        *("malformed_record", "malformed_record", "study_not_found"),
    ]
    assert len(conversion.items) == 1


def test_a_missing_landmark_is_told_and_stays_missing(convert, record):
    points_of(record).remove(point_of(record, "L3"))
    conversion = convert(record)
    (item,) = conversion.items
    (remark,) = conversion.remarks
    assert (remark.code, remark.landmark, remark.left_out) == ("landmark_missing", "L3", False)
    assert item["points_lps"]["L3"] is None


def test_a_level_outside_the_set_is_kept_and_told(convert, record, places_of, challenge):
    """The challenge has one point tagged T11-T12."""
    tag = point_of(record, "T12-L1")["tag"]
    tag["identification"] = "T11-T12"
    conversion = convert(record)
    (item,) = conversion.items
    codes = {remark.code: remark.landmark for remark in conversion.remarks}
    assert codes == {"landmark_missing": "T12-L1", "tag_outside_set": "T11-T12"}
    place = places_of(challenge[1], challenge[2])["T12-L1"]
    np.testing.assert_allclose(item["points_lps"]["T11-T12"], place, atol=1e-5)


def test_a_level_of_another_set_is_no_stranger_there(convert, record):
    point_of(record, "T12-L1")["tag"]["identification"] = "T11-T12"
    conversion = convert(record, registry=LUMBAR13)
    assert {remark.landmark for remark in conversion.remarks} == {"T12", "T12-L1"}
    assert not remarks(conversion, "tag_outside_set")


def test_a_tag_that_is_no_level_is_told(convert, record):
    point_of(record, "L5")["tag"]["identification"] = "sacrum"
    (remark,) = remarks(convert(record), "unknown_tag")
    assert "must be tagged with a level, such as L4 or L4-L5: got 'sacrum'" in remark.message
    assert "annotation.json study 1 point 10" in remark.message


@pytest.mark.parametrize(
    "coord", [[80, 3], [3, 96], [-1, 3], [float("nan"), 4]], ids=["right", "below", "left", "nan"]
)
def test_a_point_outside_the_picture_is_told(convert, record, coord):
    point_of(record, "L2")["coord"] = coord
    conversion = convert(record)
    (remark,) = remarks(conversion, "point_outside_image")
    assert "L2 is at column" in remark.message
    assert conversion.items[0]["points_lps"]["L2"] is None


@pytest.mark.parametrize(
    "change",
    [{"coord": [1]}, {"coord": ["a", 2]}, {"coord": None}, {"tag": {}}, {"tag": None}],
    ids=["one number", "a word", "none", "no level", "no tag"],
)
def test_a_malformed_point_is_told(convert, record, change):
    point_of(record, "L2").update(change)
    conversion = convert(record)
    (remark,) = remarks(conversion, "malformed_point")
    assert "must have coord [column, row] and tag with identification" in remark.message
    assert conversion.items[0]["points_lps"]["L2"] is None


def test_a_level_at_two_places_is_used_at_neither(convert, record):
    points_of(record).append(copy.deepcopy(point_of(record, "L4")) | {"coord": [3, 4]})
    conversion = convert(record)
    (remark,) = remarks(conversion, "tagged_twice")
    assert "Neither is kept" in remark.message
    assert conversion.items[0]["points_lps"]["L4"] is None


def test_a_level_tagged_twice_at_one_place_is_used(convert, record):
    points_of(record).append(copy.deepcopy(point_of(record, "L4")))
    conversion = convert(record)
    assert not conversion.remarks
    assert conversion.items[0]["points_lps"]["L4"] is not None


def test_a_grade_of_the_other_kind_is_told(convert, record):
    tag = point_of(record, "L4")["tag"]
    tag["disc"] = tag.pop("vertebra")
    conversion = convert(record)
    (remark,) = conversion.remarks
    assert (remark.code, remark.landmark) == ("tag_of_other_kind", "L4")
    assert "L4" not in conversion.items[0]["tianchi"]["grades"]


def test_points_of_several_slices_are_told(convert, record):
    point_of(record, "L4")["zIndex"] = 5
    conversion = convert(record)
    (remark,) = conversion.remarks
    assert remark.code == "several_slices"
    assert "zIndex 3, 5" in remark.message
    assert conversion.items[0]["tianchi"]["zIndex"] is None


def test_swapped_names_are_told(convert, record):
    upper, lower = (point_of(record, name)["tag"] for name in ("L2", "L3"))
    upper["identification"], lower["identification"] = "L3", "L2"
    found = remarks(convert(record), "landmarks_out_of_order")
    assert found
    assert "Are their names swapped?" in found[0].message


def test_a_second_annotation_of_a_series_is_told(convert, record):
    conversion = convert(record, record)
    assert len(conversion.items) == 1
    assert [remark.code for remark in conversion.left_out] == ["annotated_twice"]


def test_a_second_annotator_is_told(convert, record):
    annotations = record["data"][0]["annotation"]
    annotations.append({"data": {"point": []}})
    conversion = convert(record)
    (remark,) = conversion.remarks
    assert remark.code == "several_annotations"
    assert len(conversion.items) == 1


def test_a_record_without_usable_points_is_left_out(convert, record):
    points_of(record).clear()
    (remark,) = convert(record).left_out
    assert remark.code == "no_landmarks"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda record: record.pop("data"),
        lambda record: record.update(studyUid=17),
        lambda record: record["data"][0].pop("instanceUid"),
        lambda record: record["data"][0].update(annotation=[]),
        lambda record: record["data"][0]["annotation"][0].update(data=None),
    ],
)
def test_a_malformed_record_is_left_out(convert, record, spoil):
    spoil(record)
    conversion = convert(record)
    (remark,) = conversion.left_out
    assert remark.code == "malformed_record"
    assert "annotation.json study 1 must have studyUid, and in data" in remark.message


def test_scouts_in_the_annotated_series_are_no_slices_of_it(
    annotate, study, write_series, tmp_path
):
    """As the challenge's first study has them: localizers under the SeriesInstanceUID of the T2."""
    files, annotation = annotate(tmp_path / "dicom", 1)
    header = pydicom.dcmread(files[0])
    shared = {key: header[key].value for key in ("StudyInstanceUID", "SeriesInstanceUID")}
    scouts = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "EchoTime": "18"}
    write_series(study, tmp_path / "dicom" / "scouts", seed="s", **shared, **scouts)
    for file in (tmp_path / "dicom" / "scouts").iterdir():
        file.rename(tmp_path / "dicom" / f"scout_{file.name}")
    (item,) = datalist_from_tianchi([annotation], tmp_path / "dicom", LUMBAR11).items
    assert item["slice_index"] == 1


def test_a_truncated_image_is_left_out_with_its_file(annotate, tmp_path):
    files, annotation = annotate(tmp_path / "dicom", 1)
    files[1].write_bytes(files[1].read_bytes()[:-5000])
    conversion = datalist_from_tianchi([annotation], tmp_path / "dicom", LUMBAR11)
    assert not conversion.items
    assert str(files[1]) in "".join(remark.message for remark in conversion.left_out)


def test_a_damaged_header_is_told_by_its_file(annotate, tmp_path):
    _, annotation = annotate(tmp_path / "dicom", 1)
    (tmp_path / "dicom" / "more").mkdir()
    damaged = tmp_path / "dicom" / "more" / "cut.dcm"
    damaged.write_bytes((tmp_path / "dicom" / "0001.dcm").read_bytes()[:400])
    conversion = datalist_from_tianchi([annotation], tmp_path / "dicom", LUMBAR11)
    assert len(conversion.items) == 1
    (remark,) = conversion.remarks
    assert (remark.code, remark.left_out) == ("unreadable_file", False)
    assert str(damaged) in remark.message


def test_an_image_without_spacing_is_left_out_with_its_file(annotate, tmp_path, edit):
    files, annotation = annotate(tmp_path / "dicom", 1)
    edit(files[1], PixelSpacing=None)
    (remark,) = datalist_from_tianchi([annotation], tmp_path / "dicom", LUMBAR11).left_out
    assert remark.code == "unreadable_image"
    assert "0002.dcm must have 2 finite values of PixelSpacing" in remark.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON"),
        ("[]", "must be the challenge's annotations, a list of studies: got list"),
        ('{"a": 1}', "a list of studies: got dict"),
    ],
)
def test_a_file_of_another_kind_is_refused(challenge, write_json, text, message):
    with pytest.raises(ValueError, match=message):
        datalist_from_tianchi([write_json(text)], challenge[0], LUMBAR11)


def test_several_files_are_joined(challenge, record, write_json):
    other = copy.deepcopy(record)
    other["studyUid"] = "1.2.3"
    files = [write_json([record], "a.json"), write_json([other], "b.json")]
    conversion = datalist_from_tianchi(files, challenge[0], LUMBAR11)
    assert (len(conversion.items), len(conversion.left_out)) == (1, 1)
