"""``landmarks.dcm``, read back by highdicom; the codes come from pydicom's dictionary."""

from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from spine_monai.landmarks import LUMBAR11, LUMBAR13, Landmark, LandmarkRegistry
from spine_monai.writers.dicom_sr import points_lps_of_sr, write_sr

CODES = {
    "T12-L1": codes.SCT.T12L1Disc,
    "L1": codes.SCT.L1Vertebra,
    "L1-L2": codes.SCT.L1L2Disc,
    "L2": codes.SCT.L2Vertebra,
    "L2-L3": codes.SCT.L2L3Disc,
    "L3-L4": codes.SCT.L3L4Disc,
    "L4": codes.SCT.L4Vertebra,
    "L4-L5": codes.SCT.L4L5Disc,
    "L5": codes.SCT.L5Vertebra,
    "L5-S1": codes.SCT.L5S1Disc,
}


def written(folder, result, record, series):
    write_sr(result, record, series, folder / "landmarks.dcm")
    return folder / "landmarks.dcm"


@pytest.fixture(scope="module")
def file(calibrated, make_record, dicom_series, tmp_path_factory):
    record = make_record(calibrated)
    return written(tmp_path_factory.mktemp("sr"), calibrated, record, dicom_series)


@pytest.fixture(scope="module")
def report(file):
    return highdicom.sr.srread(file)


@pytest.fixture(scope="module")
def groups(report):
    """As 3D Slicer asks for them."""
    return report.content.get_planar_roi_measurement_groups(
        reference_type=codes.DCM.ImageRegion, graphic_type=highdicom.sr.GraphicTypeValues3D.POINT
    )


def items_of(group, value_type):
    return [item for item in group[0].ContentSequence if item.ValueType == value_type]


def comments_of(group):
    return [i.TextValue for i in items_of(group, "TEXT") if i.name == codes.DCM.Comment]


def test_every_landmark_is_a_group_at_its_place(groups, result, dicom_series):
    """To the last of the 32 bits that SCOORD3D has."""
    sites = [group.finding_sites[0].value for group in groups]
    assert sites == list(CODES.values())
    for group, (name, code) in zip(groups, CODES.items(), strict=True):
        point = result.landmarks.points_lps[LUMBAR11.names.index(name)]
        (region,) = [group.roi]
        assert region.frame_of_reference_uid == dicom_series.uids["FrameOfReferenceUID"]
        np.testing.assert_array_equal(region.value[0], point.astype(np.float32))
        assert group.finding_sites[0].value.meaning == code.meaning


def test_the_codes_of_all_levels_are_those_of_the_dictionary():
    for landmark in LUMBAR13.landmarks:
        word = landmark.name.replace("-", "") + landmark.kind.capitalize()
        assert landmark.snomed_code == getattr(codes.SCT, word).value


def test_the_certainty_is_inferred_from_the_same_point(groups, calibrated):
    for group, name in zip(groups, CODES, strict=True):
        certainty, radius = items_of(group, "NUM")
        index = LUMBAR11.names.index(name)
        percent = round(100 * calibrated.landmarks.confidence[index], 2)
        assert certainty.name == codes.DCM.CertaintyOfFinding
        assert (certainty.value, certainty.unit) == (percent, codes.UCUM.Percent)
        assert radius.value == round(calibrated.landmarks.radius95_mm[index], 3)
        assert radius.unit == codes.UCUM.Millimeter
        for number in (certainty, radius):
            (source,) = number.ContentSequence
            assert source.RelationshipType == "INFERRED FROM"
            np.testing.assert_array_equal(source.value, group.roi.value)


def test_confidence_that_is_not_calibrated_is_no_certainty(result, record, dicom_series, tmp_path):
    report = highdicom.sr.srread(written(tmp_path, result, record, dicom_series))
    groups = report.content.get_planar_roi_measurement_groups()
    names = [item.name for group in groups for item in items_of(group, "NUM")]
    assert {name.scheme_designator for name in names} == {"99SPINEMONAI"}
    assert {name.meaning.split()[0] for name in names} == {"Uncalibrated"}
    assert comments_of(groups[0]) == ["T12-L1 (uncalibrated confidence 99 %)"]


def test_ohif_finds_a_probe_with_a_label(groups):
    """It knows a point by the tracking identifier and takes the label from the comment."""
    assert {group.tracking_identifier for group in groups} == {"Cornerstone3DTools@^0.1.0:Probe"}
    assert len({group.tracking_uid for group in groups}) == len(groups)
    labels = dict(zip(CODES, (comments_of(group)[0] for group in groups), strict=True))
    assert labels["L1"] == "L1 (confidence 97 %)"
    assert labels["L5"] == "L5 (uncertain, confidence 25 %)"


def test_the_algorithm_is_named_with_its_weights(groups, record):
    said = [item.value for item in items_of(groups[0], "TEXT")]
    assert "spine_monai spine_landmarks" in said
    for file, digest in record["bundle"]["weights_sha256"].items():
        assert f"{file} sha256 {digest}" in said


def test_the_report_is_preliminary_and_unverified(report):
    assert (report.CompletionFlag, report.PreliminaryFlag) == ("COMPLETE", "PRELIMINARY")
    assert report.VerificationFlag == "UNVERIFIED"
    assert "research only" in report.SeriesDescription


def test_the_report_says_what_was_not_found(report):
    said = [i.TextValue for i in report.content[0].ContentSequence[-1].ContentSequence]
    assert said[:2] == ["Research only, not for clinical use.", "Not found: L3."]
    assert said[2].startswith("look at L3, L5:")


def test_the_report_says_that_the_grey_values_are_extreme(
    calibrated, make_record, dicom_series, tmp_path
):
    record = make_record(calibrated)
    record["warnings"].append({"code": "extreme_grey_values", "message": "clip the grey values"})
    path = written(tmp_path, calibrated, record, dicom_series)
    assert b"clip the grey values" in path.read_bytes()


def test_a_warning_that_may_hold_a_path_is_not_written(
    calibrated, make_record, dicom_series, tmp_path
):
    record = make_record(calibrated)
    warning = {"code": "unreadable_files", "message": "3 files cannot be read: /home/doe ..."}
    record["warnings"].append(warning)
    path = written(tmp_path, calibrated, record, dicom_series)
    assert b"/home/doe" not in path.read_bytes()


def test_the_report_lies_in_the_study_of_its_images(report, pristine_folder):
    source = pydicom.dcmread(pristine_folder / "0003.dcm")
    assert report.StudyInstanceUID == source.StudyInstanceUID
    assert report.PatientName == source.PatientName == "Doe^Jane"
    assert report.SeriesInstanceUID != source.SeriesInstanceUID
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    files = [pydicom.dcmread(path) for path in pristine_folder.iterdir()]
    referred = {item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence}
    assert referred == {file.SOPInstanceUID for file in files}


def test_the_same_result_gives_the_same_bytes(
    calibrated, make_record, dicom_series, file, tmp_path
):
    again = written(tmp_path, calibrated, make_record(calibrated), dicom_series)
    assert again.read_bytes() == file.read_bytes()


def test_points_come_back_by_name(file, result):
    points = points_lps_of_sr(file)
    assert list(points) == list(CODES)
    for name, point in points.items():
        expected = result.landmarks.points_lps[LUMBAR11.names.index(name)]
        np.testing.assert_allclose(point, expected, atol=4e-6, rtol=0)


@pytest.mark.parametrize("name", ["canal L1-L2", "dorsal root ganglion (left) L5"])
def test_landmarks_without_a_code_get_a_private_one(
    calibrated, make_record, dicom_series, tmp_path, name
):
    """A code of more than 16 characters goes into an attribute of its own."""
    one = replace(
        calibrated.landmarks,
        registry=LandmarkRegistry("own", (Landmark(name, "disc"),)),
        points_lps=np.array([[1.5, -2.25, 3.0]]),
        confidence=np.array([0.5]),
        radius95_mm=np.array([4.0]),
    )
    result = replace(calibrated, landmarks=one)
    path = written(tmp_path, result, make_record(result), dicom_series)
    assert list(points_lps_of_sr(path)) == [name]
    (group,) = highdicom.sr.srread(path).content.get_planar_roi_measurement_groups()
    site = group.finding_sites[0].value
    assert (site.value, site.scheme_designator) == (name, "99SPINEMONAI")
    assert group.finding_type.value == "SPINE_LANDMARK"


def test_a_label_that_contradicts_its_site_is_refused(file, tmp_path):
    dataset = pydicom.dcmread(file)
    for item in dataset.ContentSequence[-2].ContentSequence[1].ContentSequence:
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Comment":
            item.TextValue = "L2 (confidence 97 %)"
    dataset.save_as(tmp_path / "wrong.dcm")
    with pytest.raises(ValueError, match="agrees with their finding site: got L2 at L1"):
        points_lps_of_sr(tmp_path / "wrong.dcm")


def _without(dataset, meaning, level):
    """The dataset without the items of that name, at that level of its tree."""
    items = dataset.ContentSequence
    kept = [i for i in items if level or i.ConceptNameCodeSequence[0].CodeMeaning != meaning]
    for item in kept if level else []:
        if "ContentSequence" in item:
            _without(item, meaning, level - 1)
    dataset.ContentSequence = kept


@pytest.mark.parametrize(
    ("meaning", "level", "reason"),
    [
        ("Imaging Measurements", 0, "label agrees with their finding site: got no point"),
        ("Comment", 2, "must be a structured report of landmarks: StopIteration"),
        ("Finding Site", 2, "must be a structured report of landmarks: StopIteration"),
        ("Image Region", 2, "must be a structured report of landmarks: StopIteration"),
    ],
)
def test_a_report_that_lacks_a_part_is_refused(file, tmp_path, meaning, level, reason):
    dataset = pydicom.dcmread(file)
    _without(dataset, meaning, level)
    dataset.save_as(tmp_path / "lacking.dcm")
    with pytest.raises(ValueError, match=reason):
        points_lps_of_sr(tmp_path / "lacking.dcm")


@pytest.mark.parametrize("other", ["image", "text"])
def test_a_file_that_is_no_report_of_landmarks_is_refused(other, pristine_folder, tmp_path):
    path = pristine_folder / "0001.dcm" if other == "image" else tmp_path / "text.dcm"
    (tmp_path / "text.dcm").write_text("not DICOM")
    with pytest.raises(ValueError, match=r"\.dcm must be a structured report of landmarks"):
        points_lps_of_sr(path)
