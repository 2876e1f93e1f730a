"""Sizes that frames name themselves; Pillow, SimpleITK and pydicom's plug-ins write the frames."""

import io

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames
from pydicom.uid import JPEGLSLossless, RLELossless

from spine_monai.readers.codestream import frame_size

PIXELS = np.arange(37 * 53, dtype=np.uint16).reshape(37, 53)


def by_pillow(name, **options):
    stream = io.BytesIO()
    Image.fromarray((PIXELS % 251).astype(np.uint8)).save(stream, name, **options)
    return stream.getvalue()


def by_simpleitk(folder, compressor):
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(folder / "frame.dcm"))
    writer.SetCompressor(compressor)
    writer.UseCompressionOn()
    writer.Execute(sitk.GetImageFromArray(PIXELS))
    dataset = pydicom.dcmread(folder / "frame.dcm")
    return next(generate_frames(dataset.PixelData, number_of_frames=1))


def by_pydicom(syntax):
    dataset = pydicom.dcmread(get_testdata_file("MR_small.dcm"))
    dataset.Rows, dataset.Columns, dataset.PixelData = *PIXELS.shape, PIXELS.tobytes()
    dataset.PixelRepresentation = 0
    dataset.compress(syntax)
    return next(generate_frames(dataset.PixelData, number_of_frames=1))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"comment": b"\xff\xc0" * 50}])
def test_a_jpeg_names_its_size(options):
    assert frame_size(by_pillow("JPEG", **options)) == PIXELS.shape


def test_a_jpeg_2000_names_its_size_in_a_wrapper_too():
    assert frame_size(by_pillow("JPEG2000")) == PIXELS.shape


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_lossless_frames_name_their_size(tmp_path, compressor):
    assert frame_size(by_simpleitk(tmp_path, compressor)) == PIXELS.shape


def test_a_jpeg_ls_frame_names_its_size():
    assert frame_size(by_pydicom(JPEGLSLossless)) == PIXELS.shape


def test_run_length_code_names_none():
    assert frame_size(by_pydicom(RLELossless)) is None


def test_fill_bytes_before_a_marker_are_passed_over():
    jpeg = by_pillow("JPEG")
    assert frame_size(jpeg[:2] + b"\xff\xff" + jpeg[2:]) == PIXELS.shape


@pytest.mark.parametrize("end", [2, 3, 5, 40])
def test_a_frame_that_ends_within_its_header_names_none(end):
    assert frame_size(by_pillow("JPEG")[:end]) is None
    assert frame_size(b"\xff\x4f\xff\x51"[:end]) is None


def test_a_jpeg_of_unknown_height_names_none():
    jpeg = bytearray(by_pillow("JPEG"))
    start = jpeg.index(b"\xff\xc0") + 5
    jpeg[start : start + 2] = b"\0\0"
    assert frame_size(bytes(jpeg)) is None


def test_a_scan_before_the_frame_names_none():
    assert frame_size(b"\xff\xd8\xff\xda\0\x02\xff\xc0\0\x0b\x08\0\x25\0\x35") is None
    assert frame_size(b"\xff\xd8\x00\x00") is None
