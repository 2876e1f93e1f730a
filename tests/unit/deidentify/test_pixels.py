import io
import struct
from contextlib import suppress

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from spine_monai.deidentify.pixels import stored_pixels, without_words
from spine_monai.deidentify.refusal import RefusedError

WORD = b"Mustermann^Erika"
FILES = ("MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm")


def test_pixels_are_cut_to_the_image(image):
    dataset = image()
    dataset.PixelData += WORD
    assert stored_pixels(dataset, ExplicitVRLittleEndian) == bytes(range(48))


def test_an_odd_number_of_bytes_is_padded(image):
    dataset = image(Rows=3, Columns=3, BitsAllocated=8)
    assert stored_pixels(dataset, ExplicitVRLittleEndian) == bytes(range(9)) + b"\0"


@pytest.mark.parametrize(
    "change",
    [{"Rows": 5}, {"PixelData": b""}, {"PixelData": None}, {"NumberOfFrames": 2}, {"Rows": 0}],
)
def test_an_image_without_its_pixels_is_refused(image, change):
    with pytest.raises(RefusedError, match=r"pixels|PixelData"):
        stored_pixels(image(**change), ExplicitVRLittleEndian)


@pytest.mark.parametrize("count", [1, 3])
def test_compressed_frames_must_all_be_there(image, count):
    dataset = image(NumberOfFrames=count, PixelData=encapsulate([b"ab", b"cd"]))
    with pytest.raises(RefusedError, match="ends within its pixels"):
        stored_pixels(dataset, RLELossless)


def test_broken_fragments_are_refused(image):
    with pytest.raises(RefusedError, match="ends within its pixels"):
        stored_pixels(image(PixelData=b"no fragments at all"), JPEG2000Lossless)


def first_frame(name):
    dataset = pydicom.dcmread(get_testdata_file(name))
    return dataset, next(generate_frames(dataset.PixelData, number_of_frames=1))


def with_words(frame):
    """Words where a comment may stand, and behind the end."""
    comment = len(WORD) + 4 if frame.startswith(b"\xff\x4f") else len(WORD) + 2
    marker = b"\xff\x64" if frame.startswith(b"\xff\x4f") else b"\xff\xfe"
    start = 2
    if frame.startswith(b"\xff\x4f"):  # SIZ must come first
        start = 4 + int.from_bytes(frame[4:6], "big")
        text = b"\0\1" + WORD
    else:
        text = WORD
        marker = b"\xff\xe5" + comment.to_bytes(2, "big") + WORD + marker
    block = marker + comment.to_bytes(2, "big") + text
    return frame[:start] + block + frame[start:] + WORD


@pytest.mark.parametrize("name", FILES)
def test_comments_of_compressed_frames_go_and_the_pixels_stay(name):
    dataset, frame = first_frame(name)
    planted = with_words(frame)
    assert WORD in planted
    cleaned = without_words(planted)
    assert WORD not in cleaned
    assert len(cleaned) == len(planted)
    pixels = dataset.pixel_array
    dataset.PixelData = encapsulate([cleaned])
    stream = io.BytesIO()
    dataset.save_as(stream)
    stream.seek(0)
    np.testing.assert_array_equal(pydicom.dcmread(stream).pixel_array, pixels)


def test_comments_of_jpeg_go_and_the_pixels_stay():
    stream = io.BytesIO()
    picture = Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(16, 64))
    picture.save(stream, "JPEG", comment=WORD)
    frame = stream.getvalue()
    cleaned = without_words(with_words(frame))
    assert WORD not in cleaned
    assert b"JFIF" not in cleaned
    decoded = (np.asarray(Image.open(io.BytesIO(one))) for one in (cleaned, frame))
    np.testing.assert_array_equal(*decoded)


def test_comments_in_a_tile_of_jpeg_2000_go():
    _, frame = first_frame(FILES[0])
    start = frame.index(b"\xff\x90")
    block = b"\xff\x64" + (len(WORD) + 4).to_bytes(2, "big") + b"\0\1" + WORD
    size = int.from_bytes(frame[start + 6 : start + 10], "big")
    size_bytes = (size + len(block) if size else 0).to_bytes(4, "big")
    head = frame[start : start + 6] + size_bytes + frame[start + 10 : start + 12]
    planted = frame[:start] + head + block + frame[start + 12 :]
    assert WORD not in without_words(planted)


def test_run_length_code_is_left_alone():
    assert without_words(b"\1\0\0\0 words") == b"\1\0\0\0 words"


@given(st.sampled_from([b"\xff\xd8", b"\xff\x4f"]), st.binary(max_size=200))
def test_no_bytes_hang_or_grow(start, rest):
    frame = start + rest
    with suppress(IndexError, ValueError, struct.error):
        assert len(without_words(frame)) == len(frame)
