"""The headers of one file; the oracle is pydicom's own full reading of it."""

import io
import struct
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    UltrasoundImageStorage,
)

from spine_monai.readers.headers import (
    CHUNK_BYTES,
    Ignored,
    looks_like_dicom,
    read_images,
)
from spine_monai.readers.quiet import silence_pydicom


def read(content):
    silence_pydicom()
    return read_images(io.BytesIO(content))


def bundled(name):
    return Path(get_testdata_file(name, download=False)).read_bytes()


@pytest.fixture
def dataset(write_series, tmp_path):
    (first, *_) = write_series(tmp_path, "series")
    return pydicom.dcmread(first)


def as_bytes(dataset, syntax=ExplicitVRLittleEndian):
    dataset.file_meta.TransferSyntaxUID = syntax
    stream = io.BytesIO()
    plain = Dataset(dataset)
    plain.file_meta = dataset.file_meta
    pydicom.dcmwrite(stream, plain, enforce_file_format=True)
    return stream.getvalue()


def with_raw_value(content, keyword, vr, value):
    """Replace the bytes of an element of short length, in explicit little endian."""
    tag = Tag(keyword)
    start = content.index(struct.pack("<HH", tag.group, tag.element), 132)
    (length,) = struct.unpack_from("<H", content, start + 6)
    element = content[start : start + 4] + vr.encode() + struct.pack("<H", len(value)) + value
    return content[:start] + element + content[start + 8 + length :]


@pytest.mark.parametrize(
    "name",
    [
        "MR_small.dcm",
        "MR_small_implicit.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_expb.dcm",
        "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_padded.dcm",
        "MR_truncated.dcm",
    ],
)
def test_the_wanted_attributes_are_those_of_the_file(name):
    (frame,) = read(bundled(name))
    whole = pydicom.dcmread(io.BytesIO(bundled(name)), stop_before_pixels=True)
    for keyword in ("SeriesInstanceUID", "Rows", "EchoTime", "ImagePositionPatient", "ImageType"):
        assert frame.header[keyword].value == whole[keyword].value
    assert "PatientName" in whole
    assert "PatientName" not in frame.header
    assert (frame.number, frame.unreadable) == (None, ())


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ],
)
def test_every_plain_transfer_syntax_is_read(dataset, syntax):
    (frame,) = read(as_bytes(dataset, syntax))
    assert frame.header.Rows == 24
    assert frame.header.PixelSpacing == [2.8, 2.4]


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_a_file_without_preamble_is_read(dataset, syntax):
    position = dataset.ImagePositionPatient
    stream = io.BytesIO()
    plain = Dataset(dataset)
    plain.PixelData = bytes(len(dataset.PixelData))
    pydicom.dcmwrite(
        stream,
        plain,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
        enforce_file_format=False,
    )
    assert stream.getvalue()[128:132] != b"DICM"
    (frame,) = read(stream.getvalue())
    assert frame.header.ImagePositionPatient == position


def test_a_header_longer_than_the_first_bytes_is_read_on(dataset):
    block = dataset.private_block(0x0019, "somebody", create=True)
    block.add_new(0x10, "OB", bytes(2 * CHUNK_BYTES))
    content = as_bytes(dataset)
    assert content.index(b"somebody") < CHUNK_BYTES < content.rindex(b"MONOCHROME2")
    (frame,) = read(content)
    assert frame.header.PixelSpacing == [2.8, 2.4]


@pytest.mark.parametrize("cut", [140, 300, 400, 700])
def test_a_header_that_is_cut_is_damaged(dataset, cut):
    assert read(as_bytes(dataset)[:cut]) is Ignored.DAMAGED


def test_a_deflated_file_that_is_cut_is_damaged(dataset):
    content = as_bytes(dataset, DeflatedExplicitVRLittleEndian)
    assert read(content[: len(content) // 2]) is Ignored.DAMAGED


@pytest.mark.parametrize(
    ("sop_class", "expected"),
    [(MRImageStorage, Ignored.DAMAGED), (UltrasoundImageStorage, Ignored.NO_IMAGE)],
)
def test_a_file_without_rows_is_no_image_or_a_damaged_one(dataset, sop_class, expected):
    dataset.SOPClassUID = sop_class
    del dataset.Rows
    assert read(as_bytes(dataset)) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DICOMDIR", Ignored.DICOMDIR),
        ("test-SR.dcm", Ignored.NO_IMAGE),
        ("rtplan.dcm", Ignored.NO_IMAGE),
        ("README.txt", Ignored.NOT_DICOM),
    ],
)
def test_other_files_are_told_apart(name, expected):
    assert read(bundled(name)) is expected


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"\x08",
        b"\x08\x00",
        b"{}",
        b"PK\x03\x04",
        b"\x89PNG\r\n\x1a\n",
        b"\x00" * 200,
        b"II*\x00",
    ],
)
def test_what_is_no_dicom_is_seen_by_its_first_bytes(start):
    assert not looks_like_dicom(start)


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("SeriesNumber", "IS", b"x!"),
        ("PixelSpacing", "DS", b"Doe\\2.40"),
        ("SamplesPerPixel", "US", b"abc"),
        ("EchoTime", "DS", b"80\\90"),
        ("NumberOfFrames", "LO", b"many"),
    ],
)
def test_a_value_that_is_none_is_named_and_dropped(dataset, keyword, vr, value):
    dataset.NumberOfFrames = 1
    (frame,) = read(with_raw_value(as_bytes(dataset), keyword, vr, value))
    assert frame.unreadable == (keyword,)
    assert keyword not in frame.header
