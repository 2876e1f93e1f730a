"""Which images make the series: several of them in a folder, or several things in one series."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import CTImageStorage, SecondaryCaptureImageStorage

from hard_cases.registry import (
    OTHER,
    PHANTOM,
    T1,
    Written,
    change,
    hard_case,
    move,
    set_in,
    write,
)
from spine_monai.data.synthetic import make_study

GROUP = "Series"


@hard_case(GROUP, "T1 and T2 in one folder")
def two_series(folder: Path) -> Written:
    write(folder / "a", study=OTHER, seed="t1", **T1)
    write(folder / "b")
    return Written(folder)


@hard_case(GROUP, "T1 alone", refused=["it is not T2-weighted"])
def only_t1(folder: Path) -> Written:
    write(folder, **T1)
    return Written(folder)


@hard_case(GROUP, "STIR alone", refused=["it is not T2-weighted"])
def only_stir(folder: Path) -> Written:
    write(folder, InversionTime="160")
    return Written(folder)


@hard_case(GROUP, "two T2 series that nothing tells apart", refused=["are equally good"])
def two_equals(folder: Path) -> Written:
    write(folder / "a")
    write(folder / "b", study=OTHER, seed="other")
    return Written(folder)


@hard_case(GROUP, "two patients in one folder", refused=["of 2 studies. Name the folder"])
def two_patients(folder: Path) -> Written:
    write(folder / "a", PatientID="4711")
    write(folder / "b", study=OTHER, seed="other", PatientID="4712", StudyInstanceUID="2.25.1003")
    return Written(folder)


@hard_case(GROUP, "two patients under one SeriesInstanceUID", refused=["mixes images of several"])
def mixed_patients(folder: Path) -> Written:
    files = write(folder, PatientID="4711")
    set_in(files[4:], PatientID="4712", StudyInstanceUID="2.25.1003")
    return Written(folder)


@hard_case(GROUP, "two frames of reference in one series", refused=["mixes images of several"])
def mixed_frames(folder: Path) -> Written:
    set_in(write(folder)[4:], FrameOfReferenceUID="2.25.1004")
    return Written(folder)


@hard_case(GROUP, "a localizer of three planes under one UID", refused=["it is a localizer"])
def localizer(folder: Path) -> Written:
    for number, rolled in enumerate((0, 1, 2)):
        affine = PHANTOM.ras_from_index.copy()
        affine[:3, :3] = np.roll(affine[:3, :3], rolled, axis=0)
        plane = type(PHANTOM)(PHANTOM.volume[..., :3], affine, {})
        for file in write(folder / str(number), study=plane, seed=f"plane {number}"):
            set_in([file], SeriesInstanceUID="2.25.12")
    return Written(folder)


@hard_case(GROUP, "two echoes in one series")
def dual_echo(folder: Path) -> Written:
    write(folder / "late")
    early = write(folder / "early", study=OTHER, seed="early", EchoTime="15")
    uid = pydicom.dcmread(folder / "late" / "0001.dcm").SeriesInstanceUID
    set_in(early, SeriesInstanceUID=uid)
    return Written(folder)


@hard_case(GROUP, "two acquisitions of the same places in one series", warns=["repeated_scan"])
def two_acquisitions(folder: Path) -> Written:
    write(folder / "first", AcquisitionNumber=1)
    second = write(folder / "second", study=OTHER, seed="second", AcquisitionNumber=2)
    uid = pydicom.dcmread(folder / "first" / "0001.dcm").SeriesInstanceUID
    set_in(second, SeriesInstanceUID=uid)
    return Written(folder)


@hard_case(
    GROUP,
    "two acquisitions of the same places that no tag tells apart",
    refused=["must have one slice at each place"],
)
def two_unnumbered_acquisitions(folder: Path) -> Written:
    write(folder / "first")
    second = write(folder / "second", study=OTHER, seed="second")
    uid = pydicom.dcmread(folder / "first" / "0001.dcm").SeriesInstanceUID
    set_in(second, SeriesInstanceUID=uid)
    return Written(folder)


@hard_case(GROUP, "two matrices in one series")
def two_matrices(folder: Path) -> Written:
    write(folder / "large")
    small = make_study(shape=(24, 20, 2), spacing_mm=(8.6, 7.4, 4.4), seed=2)
    files = write(folder / "small", study=small, seed="small")
    uid = pydicom.dcmread(folder / "large" / "0001.dcm").SeriesInstanceUID
    set_in(files, SeriesInstanceUID=uid)
    return Written(folder)


@hard_case(GROUP, "a screenshot in colour inside the series")
def colour_inside(folder: Path) -> Written:
    write(folder)
    (shot,) = write(folder / "shot", study=_one_slice(), seed="shot")

    def paint(_number: int, dataset: pydicom.Dataset) -> None:
        first = pydicom.dcmread(folder / "0001.dcm")
        dataset.SeriesInstanceUID = first.SeriesInstanceUID
        dataset.SOPClassUID = SecondaryCaptureImageStorage
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
        dataset.PlanarConfiguration, dataset.BitsAllocated = 0, 8
        dataset.BitsStored, dataset.HighBit = 8, 7
        dataset.PixelData = bytes(range(240)) * (48 * 40 * 3 // 240)
        move(dataset, np.array([2.2, 0, 0]))

    change([shot], paint)
    return Written(folder)


def _one_slice():
    return type(PHANTOM)(PHANTOM.volume[..., :1], PHANTOM.ras_from_index, {})


@hard_case(GROUP, "a reformat beside the original")
def reformat_beside(folder: Path) -> Written:
    write(folder / "original")
    write(folder / "mpr", study=OTHER, seed="mpr", ImageType=["DERIVED", "SECONDARY", "MPR"])
    return Written(folder)


@hard_case(GROUP, "a derived series alone", warns=["derived_series"])
def derived_alone(folder: Path) -> Written:
    write(folder, ImageType=["DERIVED", "PRIMARY", "M", "NORM"])
    return Written(folder)


@hard_case(GROUP, "a sagittal CT", refused=["it is not an MR image series"])
def computed_tomography(folder: Path) -> Written:
    files = write(folder)
    set_in(files, SOPClassUID=CTImageStorage, Modality="CT")
    return Written(folder)
