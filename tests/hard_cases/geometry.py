"""Where the slices lie: positions, orientations and spacings as they should not be."""

import shutil
from pathlib import Path

import numpy as np
import pydicom

from hard_cases.registry import (
    PHANTOM,
    Written,
    change,
    hard_case,
    move,
    normal_of,
    set_in,
    write,
)
from spine_monai.data.synthetic import make_study

GROUP = "Geometry"
T2 = {"EchoTime": "100", "RepetitionTime": "3000"}


@hard_case(GROUP, "InstanceNumber reversed, file names shuffled, positions off by 0.02 mm")
def shuffled_names_and_numbers(folder: Path) -> Written:
    def jitter(number: int, dataset: pydicom.Dataset) -> None:
        dataset.InstanceNumber = 6 - number
        move(dataset, 0.02 * (-1) ** number * normal_of(dataset))

    files = write(folder)
    change(files[1:-1], jitter)
    for file, name in zip(files, "cafebd", strict=True):
        file.rename(folder / name)
    return Written(folder)


@hard_case(GROUP, "rows run towards the head, columns towards anterior")
def flipped_rows_and_columns(folder: Path) -> Written:
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    flip[:2, 3] = np.array(PHANTOM.volume.shape[:2]) - 1
    volume, affine = PHANTOM.volume[::-1, ::-1], PHANTOM.ras_from_index @ flip
    write(folder, study=type(PHANTOM)(volume, affine, {}))
    return Written(folder, volume, affine)


@hard_case(GROUP, "a slice in the middle is missing", refused=["must have evenly spaced slices"])
def missing_slice(folder: Path) -> Written:
    write(folder)[2].unlink()
    return Written(folder)


@hard_case(
    GROUP,
    "one slice lies 0.8 mm off its even place",
    refused=["must have evenly spaced slices", "ImagePositionPatient"],
)
def uneven_spacing(folder: Path) -> Written:
    change(write(folder)[2:3], lambda _, dataset: move(dataset, 0.8 * normal_of(dataset)))
    return Written(folder)


@hard_case(GROUP, "each slice shifted by 1 mm in its plane", warns=["sheared_stack"])
def sheared_stack(folder: Path) -> Written:
    def shift(number: int, dataset: pydicom.Dataset) -> None:
        move(dataset, 1.0 * number * np.array(dataset.ImageOrientationPatient[3:], float))

    change(write(folder), shift)
    affine = PHANTOM.ras_from_index.copy()
    affine[:3, 2] += affine[:3, 0] / np.linalg.norm(affine[:3, 0])
    return Written(folder, ras_from_index=affine)


@hard_case(
    GROUP, "no PixelSpacing", refused=["must have 2 finite values of PixelSpacing", "0001.dcm"]
)
def no_pixel_spacing(folder: Path) -> Written:
    set_in(write(folder), PixelSpacing=None)
    return Written(folder)


@hard_case(GROUP, "PixelSpacing is zero", refused=["must have a positive PixelSpacing", "0001.dcm"])
def zero_pixel_spacing(folder: Path) -> Written:
    set_in(write(folder), PixelSpacing=[0, 3.7])
    return Written(folder)


@hard_case(
    GROUP,
    "SliceThickness is not the spacing, and SpacingBetweenSlices is wrong",
    warns=["spacing_between_slices"],
)
def lying_spacing_tags(folder: Path) -> Written:
    set_in(write(folder), SliceThickness="3", SpacingBetweenSlices="0.7")
    return Written(folder)


@hard_case(
    GROUP,
    "one slice has no ImagePositionPatient",
    refused=["must have 3 finite values of ImagePositionPatient", "0003.dcm"],
)
def no_position(folder: Path) -> Written:
    set_in(write(folder)[2:3], ImagePositionPatient=None)
    return Written(folder)


@hard_case(
    GROUP,
    "words in place of a position",
    refused=["has no valid ImagePositionPatient", "0003.dcm"],
)
def words_for_a_position(folder: Path) -> Written:
    file = write(folder)[2]
    element = pydicom.dcmread(file)["ImagePositionPatient"]
    first = f"{element.value[0]}\\".encode()
    content = file.read_bytes()
    file.write_bytes(
        content.replace(first, b"Doe, Jane".ljust(len(first) - 1)[: len(first) - 1] + b"\\")
    )
    return Written(folder)


@hard_case(
    GROUP,
    "ImageOrientationPatient holds no right angle",
    refused=["two unit vectors at right angles", "ImageOrientationPatient", "0001.dcm"],
)
def skewed_orientation(folder: Path) -> Written:
    set_in(write(folder), ImageOrientationPatient=[0, 1, 0, 0, 0.8, -0.6])
    return Written(folder)


@hard_case(GROUP, "scan turned by 38 degrees from sagittal", refused=["it is not sagittal"])
def too_oblique(folder: Path) -> Written:
    shape, spacing = PHANTOM.volume.shape, (4.3, 3.7, 4.4)
    write(folder, study=make_study(shape=shape, spacing_mm=spacing, oblique_deg=(0, 0, 38)))
    return Written(folder)


@hard_case(GROUP, "coronal T2 alone", refused=["it is not sagittal but coronal"])
def coronal(folder: Path) -> Written:
    affine = PHANTOM.ras_from_index.copy()
    affine[:3, :3] = affine[[1, 0, 2], :3]
    write(folder, study=type(PHANTOM)(PHANTOM.volume, affine, {}))
    return Written(folder)


@hard_case(
    GROUP, "axial stacks at three angles in one series", refused=["is not sagittal but axial"]
)
def axial_stacks(folder: Path) -> Written:
    for number, angle_deg in enumerate((-12, 3, 18)):
        stack = make_study(shape=(48, 40, 4), oblique_deg=(0, 90 + angle_deg, 0), seed=number)
        for file in write(folder / str(number), study=stack, seed=f"stack {number}"):
            set_in([file], SeriesInstanceUID="2.25.11")
    return Written(folder)


@hard_case(GROUP, "a single slice", refused=["it has 1 slice where at least 2 are needed"])
def single_slice(folder: Path) -> Written:
    for file in write(folder)[1:]:
        file.unlink()
    return Written(folder)


@hard_case(
    GROUP,
    "a series as a mosaic of slices",
    refused=["its images are mosaics of slices"],
)
def mosaic(folder: Path) -> Written:
    write(folder, ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"])
    return Written(folder)


@hard_case(GROUP, "each file twice, under another name", warns=["duplicate_images"])
def copied_files(folder: Path) -> Written:
    for file in write(folder):
        shutil.copy(file, folder / f"copy of {file.name}")
    return Written(folder)


@hard_case(GROUP, "some slices twice, with another SOPInstanceUID", warns=["duplicate_images"])
def copied_slices(folder: Path) -> Written:
    for number, file in enumerate(write(folder)[1:4]):
        shutil.copy(file, folder / f"again {number}.dcm")
        set_in([folder / f"again {number}.dcm"], SOPInstanceUID=f"2.25.{90 + number}")
    return Written(folder)


@hard_case(
    GROUP,
    "one slice twice, with other pixels",
    refused=["must have one slice at each place"],
)
def two_pictures_at_one_place(folder: Path) -> Written:
    file = write(folder)[2]
    shutil.copy(file, folder / "other.dcm")

    def redraw(_number: int, dataset: pydicom.Dataset) -> None:
        dataset.SOPInstanceUID, dataset.PixelData = "2.25.91", dataset.PixelData[::-1]

    change([folder / "other.dcm"], redraw)
    return Written(folder)


@hard_case(GROUP, "all files have one SOPInstanceUID", warns=["shared_instance_uid"])
def one_instance_uid(folder: Path) -> Written:
    set_in(write(folder), SOPInstanceUID="2.25.92")
    return Written(folder)
