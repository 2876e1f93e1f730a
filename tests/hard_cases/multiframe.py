"""Enhanced MR: all slices in one file, their attributes in functional groups."""

import warnings
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, RLELossless

from hard_cases.registry import IDENTITY, OTHER, PHANTOM, Written, change, hard_case, set_in, write

GROUP = "Enhanced MR"
# Frames do not lie in the file as they lie in the patient.
ORDER = (3, 0, 5, 1, 4, 2)
SLOPES = np.array([1, 0.5, 2, 1, 3, 4], np.float32)


@hard_case(GROUP, "frames out of order, each with its own rescale")
def enhanced(folder: Path) -> Written:
    write_enhanced(folder / "enhanced.dcm")
    return Written(folder, PHANTOM.volume.astype(np.float32) * SLOPES - 3.0)


@hard_case(GROUP, "compressed with RLE")
def enhanced_compressed(folder: Path) -> Written:
    file = write_enhanced(folder / "enhanced.dcm")
    change([file], lambda _, dataset: dataset.compress(RLELossless))
    return Written(folder, PHANTOM.volume.astype(np.float32) * SLOPES - 3.0)


@hard_case(GROUP, "T1 and T2 as two multi-frame files")
def two_enhanced(folder: Path) -> Written:
    write_enhanced(folder / "t2.dcm")
    write_enhanced(folder / "t1.dcm", OTHER, seed="t1", echo_time=12.0, repetition_time=500.0)
    return Written(folder, PHANTOM.volume.astype(np.float32) * SLOPES - 3.0)


@hard_case(GROUP, "a legacy series converted by highdicom")
def legacy_converted(folder: Path) -> Written:
    from highdicom.legacy import LegacyConvertedEnhancedMRImage

    files = write(folder / "classic")
    record = {"StudyDate": "20200101", "StudyTime": "101010", "ContentDate": "20200101"}
    record |= {"ContentTime": "101010", "AcquisitionNumber": 1, "PatientPosition": "HFS"}
    set_in(files, **record, InstanceCreationDate="20200101", InstanceCreationTime="101010")
    slices = [pydicom.dcmread(file) for file in reversed(files)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its own attributes
        converted = LegacyConvertedEnhancedMRImage(slices, "2.25.21", 3, "2.25.22", 1)
    converted.save_as(folder / "converted.dcm")
    for file in files:
        file.unlink()
    return Written(folder)


@hard_case(GROUP, "Enhanced class in the meta header, classic attributes at the root")
def enhanced_class_classic_content(folder: Path) -> Written:
    def relabel(_number: int, dataset: pydicom.Dataset) -> None:
        dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
        dataset.SOPClassUID = EnhancedMRImageStorage

    change(write(folder), relabel)
    return Written(folder)


@hard_case(
    GROUP,
    "a frame without a position",
    refused=["must have 3 finite values of ImagePositionPatient", "enhanced.dcm (frame 3)"],
)
def frame_without_position(folder: Path) -> Written:
    file = write_enhanced(folder / "enhanced.dcm")

    def edit(_number: int, dataset: pydicom.Dataset) -> None:
        del dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence

    change([file], edit)
    return Written(folder)


@hard_case(
    GROUP, "fewer functional groups than frames", refused=["PerFrameFunctionalGroupsSequence"]
)
def too_few_groups(folder: Path) -> Written:
    file = write_enhanced(folder / "enhanced.dcm")
    change([file], lambda _, dataset: dataset.PerFrameFunctionalGroupsSequence.pop())
    return Written(folder)


@hard_case(
    GROUP, "many frames, no functional groups", refused=["does not say where each of them lies"]
)
def no_groups(folder: Path) -> Written:
    file = write_enhanced(folder / "enhanced.dcm")

    def edit(_number: int, dataset: pydicom.Dataset) -> None:
        del dataset.PerFrameFunctionalGroupsSequence, dataset.SharedFunctionalGroupsSequence
        for keyword, value in _classic_place(0).items():
            setattr(dataset, keyword, value)

    change([file], edit)
    return Written(folder)


@hard_case(
    GROUP, "its only file cut short", refused=["bytes, not 23040", "must have readable PixelData"]
)
def enhanced_cut_short(folder: Path) -> Written:
    file = write_enhanced(folder / "enhanced.dcm")
    file.write_bytes(file.read_bytes()[:-3000])
    return Written(folder)


def _classic_place(number: int) -> dict[str, object]:
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ PHANTOM.ras_from_index
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    turn = [*(lps[:3, 1] / spacing[1]), *(lps[:3, 0] / spacing[0])]
    position = lps @ [0, 0, number, 1]
    return {
        "ImagePositionPatient": [f"{value:.9g}" for value in position[:3]],
        "ImageOrientationPatient": [f"{value:.9g}" for value in turn],
        "PixelSpacing": [f"{value:.9g}" for value in spacing[:2]],
        "SpacingBetweenSlices": f"{spacing[2]:.9g}",
    }


def _item(**attributes: object) -> Sequence:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return Sequence([dataset])


def write_enhanced(
    file: Path,
    study=PHANTOM,
    *,
    seed: str = "enhanced",
    echo_time: float = 100.0,
    repetition_time: float = 3000.0,
) -> Path:
    """Write a phantom as one Enhanced MR file."""
    (first, *_) = write(file.parent / "aside", study=study, seed=seed)
    dataset = pydicom.dcmread(first)
    for path in (file.parent / "aside").iterdir():
        path.unlink()
    (file.parent / "aside").rmdir()
    _make_enhanced(dataset, study.volume, echo_time, repetition_time)
    dataset.save_as(file, enforce_file_format=True)
    return file


def _make_enhanced(dataset: Dataset, volume, echo_time: float, repetition_time: float) -> None:
    place = _classic_place(0)
    for keyword in (*place, "EchoTime", "RepetitionTime", "SliceThickness", "SpacingBetweenSlices"):
        dataset.pop(keyword, None)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    dataset.NumberOfFrames, dataset.ImageType = len(ORDER), ["ORIGINAL", "PRIMARY", "T2", "NONE"]
    dataset.PatientName = IDENTITY["PatientName"]
    dataset.SharedFunctionalGroupsSequence = _item(
        PlaneOrientationSequence=_item(ImageOrientationPatient=place["ImageOrientationPatient"]),
        PixelMeasuresSequence=_item(
            PixelSpacing=place["PixelSpacing"],
            SliceThickness="3",
            SpacingBetweenSlices=place["SpacingBetweenSlices"],
        ),
        MREchoSequence=_item(EffectiveEchoTime=echo_time),
        MRTimingAndRelatedParametersSequence=_item(RepetitionTime=f"{repetition_time:g}"),
    )
    dataset.PerFrameFunctionalGroupsSequence = Sequence([_frame(number)[0] for number in ORDER])
    dataset.PixelData = b"".join(volume[..., k].astype("<u2").tobytes() for k in ORDER)


def _frame(number: int) -> Sequence:
    position = _classic_place(number)["ImagePositionPatient"]
    return _item(
        PlanePositionSequence=_item(ImagePositionPatient=position),
        FrameContentSequence=_item(InStackPositionNumber=number + 1),
        PixelValueTransformationSequence=_item(
            RescaleSlope=f"{SLOPES[number]:g}", RescaleIntercept="-3", RescaleType="US"
        ),
    )
