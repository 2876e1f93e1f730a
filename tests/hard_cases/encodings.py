"""How the pixels are stored: syntaxes, signs, rescales, and damage to them."""

from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from hard_cases.registry import PHANTOM, Written, change, hard_case, set_in, write

GROUP = "Pixels"
UNREADABLE = "must have readable PixelData"


@hard_case(GROUP, "implicit VR")
def implicit_vr(folder: Path) -> Written:
    _rewrite(write(folder), ImplicitVRLittleEndian)
    return Written(folder)


@hard_case(GROUP, "big endian")
def big_endian(folder: Path) -> Written:
    _rewrite(write(folder), ExplicitVRBigEndian)
    return Written(folder)


def _rewrite(files: list[Path], syntax: UID) -> None:
    for file in files:
        dataset = pydicom.dcmread(file)
        dataset.file_meta.TransferSyntaxUID = syntax
        if not syntax.is_little_endian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        order = {"implicit_vr": syntax.is_implicit_VR, "little_endian": syntax.is_little_endian}
        pydicom.dcmwrite(file, dataset, **order)


@hard_case(GROUP, "deflated")
def deflated(folder: Path) -> Written:
    change(
        write(folder),
        lambda _, d: setattr(d.file_meta, "TransferSyntaxUID", DeflatedExplicitVRLittleEndian),
    )
    return Written(folder)


@hard_case(GROUP, "RLE, each slice with a rescale")
def run_length(folder: Path) -> Written:
    def compress(number: int, dataset: pydicom.Dataset) -> None:
        dataset.compress(RLELossless)
        dataset.RescaleSlope, dataset.RescaleIntercept = f"{1 + number}", "-12"

    change(write(folder), compress)
    return Written(folder, PHANTOM.volume * (1.0 + np.arange(6)) - 12.0)


@hard_case(GROUP, "JPEG-LS")
def jpeg_ls(folder: Path) -> Written:
    change(write(folder), lambda _, dataset: dataset.compress(JPEGLSLossless))
    return Written(folder)


@hard_case(GROUP, "JPEG lossless, with a rescale")
def jpeg_lossless(folder: Path) -> Written:
    files = write(folder, RescaleSlope="2.5", RescaleIntercept="-7")
    change(files, lambda number, dataset: _compress_by_itk(folder, number, dataset, "JPEG"))
    return Written(folder, PHANTOM.volume * 2.5 - 7.0)


@hard_case(GROUP, "JPEG 2000")
def jpeg_2000(folder: Path) -> Written:
    files = write(folder)
    change(files, lambda number, dataset: _compress_by_itk(folder, number, dataset, "JPEG2000"))
    return Written(folder)


def _compress_by_itk(folder: Path, number: int, dataset: pydicom.Dataset, name: str) -> None:
    writer, aside = sitk.ImageFileWriter(), folder / "aside.dcm"
    writer.SetFileName(str(aside))
    writer.SetCompressor(name)
    writer.UseCompressionOn()
    writer.Execute(sitk.GetImageFromArray(PHANTOM.volume[..., number]))
    compressed = pydicom.dcmread(aside)
    aside.unlink()
    dataset.file_meta.TransferSyntaxUID = compressed.file_meta.TransferSyntaxUID
    dataset["PixelData"] = compressed["PixelData"]
    dataset.BitsStored, dataset.HighBit = compressed.BitsStored, compressed.HighBit


@hard_case(GROUP, "8 bits a pixel")
def eight_bits(folder: Path) -> Written:
    volume = (PHANTOM.volume // 5).astype(np.uint8)

    def shrink(number: int, dataset: pydicom.Dataset) -> None:
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.PixelData = volume[..., number].tobytes()

    change(write(folder), shrink)
    return Written(folder, volume)


@hard_case(GROUP, "signed pixels")
def signed(folder: Path) -> Written:
    def shift(number: int, dataset: pydicom.Dataset) -> None:
        dataset.PixelRepresentation = 1
        dataset.BitsStored, dataset.HighBit = 16, 15
        dataset.PixelData = (PHANTOM.volume[..., number].astype("<i2") - 500).tobytes()

    change(write(folder), shift)
    return Written(folder, PHANTOM.volume - 500.0)


@hard_case(GROUP, "MONOCHROME1: small values are bright")
def monochrome1(folder: Path) -> Written:
    def invert(number: int, dataset: pydicom.Dataset) -> None:
        dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.BitsStored, dataset.HighBit = 12, 11
        dataset.PixelData = (4095 - PHANTOM.volume[..., number]).astype("<u2").tobytes()

    change(write(folder), invert)
    return Written(folder)


@hard_case(GROUP, "RescaleSlope of each slice is another, the first one's 1")
def rescale_of_each_slice(folder: Path) -> Written:
    slopes = np.array([1, 0.3, 0.7, 0.1, 0.9, 0.2], np.float32)
    files = write(folder, RescaleIntercept="0")
    change(files, lambda number, d: setattr(d, "RescaleSlope", f"{slopes[number]:g}"))
    return Written(folder, PHANTOM.volume.astype(np.float32) * slopes)


@hard_case(
    GROUP,
    "RescaleSlope is zero",
    refused=["must have a RescaleSlope that is not zero", "0001.dcm"],
)
def zero_slope(folder: Path) -> Written:
    write(folder, RescaleSlope="0", RescaleIntercept="5")
    return Written(folder)


@hard_case(
    GROUP, "a file cut short", refused=["it holds 2840 bytes, not 3840", UNREADABLE, "0003.dcm"]
)
def cut_short(folder: Path) -> Written:
    file = write(folder)[2]
    file.write_bytes(file.read_bytes()[:-1000])
    return Written(folder)


@hard_case(
    GROUP,
    "a compressed file cut short",
    refused=["it ends within a compressed frame", UNREADABLE, "0003.dcm"],
)
def compressed_cut_short(folder: Path) -> Written:
    files = write(folder)
    change(files, lambda _, dataset: dataset.compress(RLELossless))
    files[2].write_bytes(files[2].read_bytes()[:-200])
    return Written(folder)


@hard_case(
    GROUP, "a JPEG-LS frame that ends half way", refused=[UNREADABLE, "the decoder", "0003.dcm"]
)
def half_a_frame(folder: Path) -> Written:
    """One decoder computes for seconds over it; its process is ended."""

    def cut(_number: int, dataset: pydicom.Dataset) -> None:
        (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
        dataset.PixelData = encapsulate([frame[: len(frame) // 4 * 2]])

    files = write(folder)
    change(files, lambda _, dataset: dataset.compress(JPEGLSLossless))
    change(files[2:3], cut)
    return Written(folder)


@hard_case(
    GROUP,
    "Rows and Columns of 65535",
    refused=["must have at most 268435456 pixels", "Rows 65535"],
)
def huge_matrix(folder: Path) -> Written:
    set_in(write(folder), Rows=65535, Columns=65535, PixelSpacing=[0.003, 0.003])
    return Written(folder)


@hard_case(GROUP, "a file without pixels", refused=["it has no PixelData", UNREADABLE, "0003.dcm"])
def no_pixels(folder: Path) -> Written:
    set_in(write(folder)[2:3], PixelData=None)
    return Written(folder)


@hard_case(
    GROUP,
    "Rows says half of what a JPEG-LS frame holds",
    refused=["its frame is (48, 40) in size, not Rows x Columns", UNREADABLE],
)
def half_the_rows(folder: Path) -> Written:
    def shrink(_number: int, dataset: pydicom.Dataset) -> None:
        dataset.compress(JPEGLSLossless)
        dataset.Rows = 24

    change(write(folder), shrink)
    return Written(folder)


@hard_case(
    GROUP,
    "Rows says one less than the pixels are",
    refused=["it holds 3840 bytes, not 3760", UNREADABLE],
)
def one_row_less(folder: Path) -> Written:
    set_in(write(folder), Rows=47)
    return Written(folder)
