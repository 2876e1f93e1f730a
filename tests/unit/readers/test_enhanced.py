"""Enhanced MR by its functional groups; the oracle is the classic series it was made from."""

import copy

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage

from spine_monai.readers.index import index_study
from spine_monai.readers.weighting import weighting_of

COMPARED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "EchoTime")


def item(**attributes):
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def group(**macros):
    """A functional group; each macro a mapping of its one item."""
    return item(**{name: Sequence([item(**values)]) for name, values in macros.items()})


def frame(classic, echo_ms, frame_type, slope=1.0):
    """The per-frame group of a classic slice."""
    return group(
        PlanePositionSequence={"ImagePositionPatient": classic.ImagePositionPatient},
        PlaneOrientationSequence={"ImageOrientationPatient": classic.ImageOrientationPatient},
        MREchoSequence={"EffectiveEchoTime": echo_ms},
        MRImageFrameTypeSequence={"FrameType": frame_type},
        PixelValueTransformationSequence={"RescaleSlope": slope, "RescaleIntercept": -3},
    )


def shared(classic, **timing):
    return group(
        PixelMeasuresSequence={"PixelSpacing": classic.PixelSpacing, "SliceThickness": 4},
        MRTimingAndRelatedParametersSequence={"RepetitionTime": 2900.0} | timing,
    )


@pytest.fixture
def slices(write_series, tmp_path):
    """A classic series, in memory."""
    files = write_series(tmp_path / "classic", "classic")
    return [pydicom.dcmread(file) for file in files]


@pytest.fixture
def write_enhanced(slices, tmp_path):
    """Write an Enhanced MR file of groups, from a classic slice stripped of its own attributes."""

    def write(shared_groups, frame_groups, **attributes):
        dataset = copy.deepcopy(slices[0])
        dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
        for keyword in (*COMPARED, "RepetitionTime", "SliceThickness", "SpacingBetweenSlices"):
            del dataset[keyword]
        dataset.SOPClassUID = EnhancedMRImageStorage
        dataset.NumberOfFrames = len(frame_groups) or 1
        dataset.SharedFunctionalGroupsSequence = Sequence(shared_groups)
        dataset.PerFrameFunctionalGroupsSequence = Sequence(frame_groups)
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
        folder = tmp_path / "enhanced"
        folder.mkdir()
        dataset.save_as(folder / "all.dcm", enforce_file_format=True)
        return folder

    return write


def test_frames_are_ordered_and_placed_like_the_slices(slices, write_enhanced):
    frames = [frame(slices[k], 100.0, ["ORIGINAL", "PRIMARY", "M"]) for k in (1, 2, 0)]
    (series,) = index_study(write_enhanced([shared(slices[0])], frames))
    assert [image.frame for image in series.instances] == [2, 0, 1]
    for image, classic in zip(series.instances, slices, strict=True):
        for keyword in COMPARED:
            np.testing.assert_allclose(
                np.float64(image.header[keyword].value), np.float64(classic[keyword].value)
            )
        assert image.header.RepetitionTime == 2900
        assert image.header.SliceThickness == 4
        assert (image.header.RescaleSlope, image.header.RescaleIntercept) == (1, -3)
        assert list(image.header.ImageType) == ["ORIGINAL", "PRIMARY", "M"]
    assert len(series.files) == 1
    assert weighting_of(series).name == "T2"


def test_frames_of_two_echoes_are_two_series(slices, write_enhanced):
    frames = [frame(one, echo, ["ORIGINAL", "PRIMARY"]) for one in slices for echo in (15.0, 95.0)]
    series = list(index_study(write_enhanced([shared(slices[0])], frames)))
    assert [weighting_of(one).name for one in series] == ["PD", "T2"]
    assert [[image.frame for image in one.instances] for one in series] == [[0, 2, 4], [1, 3, 5]]
    assert [one.part for one in series] == [(1, 2), (2, 2)]


def test_groups_overrule_what_stands_beside_them(slices, write_enhanced):
    frames = [frame(one, 100.0, ["ORIGINAL"], slope=2) for one in slices]
    root = {"PixelSpacing": [9, 9], "RescaleSlope": 7, "EchoTime": 7, "ImageType": "DERIVED"}
    (series,) = index_study(write_enhanced([shared(slices[0])], frames, **root))
    assert series.header.PixelSpacing == [2.8, 2.4]
    assert (series.header.RescaleSlope, series.header.EchoTime) == (2, 100)
    assert not series.is_derived


def test_what_groups_leave_out_is_taken_from_beside_them(slices, write_enhanced):
    frames = [frame(one, 100.0, ["ORIGINAL"]) for one in slices]
    (series,) = index_study(write_enhanced([], frames, PixelSpacing=[2.8, 2.4]))
    assert series.header.PixelSpacing == [2.8, 2.4]


def test_an_empty_attribute_of_a_group_overrules_nothing(slices, write_enhanced):
    frames = [frame(one, None, ["ORIGINAL"]) for one in slices]
    (series,) = index_study(write_enhanced([shared(slices[0])], frames, EchoTime=88))
    assert series.header.EchoTime == 88


def test_a_file_of_one_frame_has_no_frame_number(slices, write_enhanced):
    folder = write_enhanced([shared(slices[0])], [frame(slices[0], 100.0, ["ORIGINAL"])])
    (series,) = index_study(folder)
    assert [image.frame for image in series.instances] == [None]
    assert series.header.PixelSpacing == [2.8, 2.4]


def test_an_enhanced_class_with_classic_attributes_keeps_its_true_spacing(
    dicom_folder, edit_all, itk_series
):
    expected = itk_series(dicom_folder)
    edit_all(dicom_folder, SOPClassUID=EnhancedMRImageStorage)
    (series,) = index_study(dicom_folder)
    assert len(series.instances) == 5
    for number, image in enumerate(series.instances):
        position = expected.TransformIndexToPhysicalPoint((0, 0, number))
        np.testing.assert_allclose(image.numbers("ImagePositionPatient", 3), position, atol=1e-6)
        spacing = expected.GetSpacing()[1], expected.GetSpacing()[0]
        np.testing.assert_allclose(image.pixel_spacing_mm, spacing)


@pytest.mark.parametrize("count", [2, 5])
def test_groups_that_do_not_fit_the_number_of_frames_are_unreadable(slices, write_enhanced, count):
    frames = [frame(one, 100.0, ["ORIGINAL"]) for one in slices]
    folder = write_enhanced([shared(slices[0])], frames, NumberOfFrames=count)
    (series,) = index_study(folder)
    assert series.instances[0].unreadable == ("PerFrameFunctionalGroupsSequence",)


def test_several_inversion_times_are_kept(slices, write_enhanced):
    frames = [frame(one, 100.0, ["ORIGINAL"]) for one in slices]
    modifier = {"InversionRecovery": "YES", "InversionTimes": [160.0]}
    groups = shared(slices[0])
    groups.MRModifierSequence = Sequence([item(**modifier)])
    (series,) = index_study(write_enhanced([groups], frames))
    assert weighting_of(series).name == "STIR"


@pytest.fixture
def converted(study, tmp_path):
    """The phantom as highdicom converts it to Enhanced MR, and as it was."""
    legacy = pytest.importorskip("highdicom.legacy")
    made = {"StudyDate": "20200101", "StudyTime": "101010", "PatientBirthDate": "19700101"}
    made |= {"ContentDate": "20200101", "ContentTime": "101010", "SeriesNumber": 3}
    made |= {"AcquisitionDate": "20200101", "AcquisitionTime": "101010"}
    files = study.write_dicom(tmp_path / "classic", seed="classic", **made)
    sources = [pydicom.dcmread(file) for file in reversed(files)]
    dataset = legacy.LegacyConvertedEnhancedMRImage(
        sources, series_instance_uid="1.2.3", series_number=8, sop_instance_uid="1.2.4",
        instance_number=1,
    )  # fmt: skip
    (tmp_path / "legacy").mkdir()
    dataset.save_as(tmp_path / "legacy" / "all.dcm")
    assert dataset.SOPClassUID == LegacyConvertedEnhancedMRImageStorage
    return tmp_path / "classic", tmp_path / "legacy"


def test_a_legacy_converted_series_is_the_classic_one(converted):
    (classic,), (legacy,) = (index_study(folder) for folder in converted)
    assert (legacy.uid, legacy.number) == ("1.2.3", 8)
    assert len(legacy.instances) == len(classic.instances) == 5
    for one, other in zip(classic.instances, legacy.instances, strict=True):
        for keyword in COMPARED:
            np.testing.assert_allclose(
                np.float64(one.header[keyword].value), np.float64(other.header[keyword].value)
            )
    assert weighting_of(legacy) == weighting_of(classic)
