"""Decoding as the worker does it, called in this process."""

import io
import json

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames
from pydicom.uid import (
    JPEG2000,
    UID,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from spine_monai.readers import decoder_worker as worker
from spine_monai.readers.pixels import FRAME_KEYWORDS

# Files that pydicom ships, each with its uncompressed twin or none.
COMPRESSED = {
    RLELossless: ("MR_small_RLE.dcm", "MR_small.dcm"),
    JPEGLSLossless: ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
    JPEG2000Lossless: ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
}


def encoded(name):
    """The first frame of a file and what a decoder needs to know of it."""
    dataset = pydicom.dcmread(get_testdata_file(name))
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    attributes = {key: dataset[key].value for key in FRAME_KEYWORDS}
    return {"syntax": str(dataset.file_meta.TransferSyntaxUID), "attributes": attributes}, frame


@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda syntax: UID(syntax).keyword)
@pytest.mark.parametrize("decode", [worker.decode_with_pydicom, worker.decode_with_itk])
def test_either_decoder_gives_the_stored_values(syntax, decode):
    compressed, plain = COMPRESSED[syntax]
    expected = pydicom.dcmread(get_testdata_file(plain)).pixel_array
    array = decode(*encoded(compressed))
    assert array.dtype == expected.dtype == np.int16
    np.testing.assert_array_equal(array, expected)


def test_simpleitk_neither_inverts_nor_rescales():
    """It would do both if the frame's file said so; then our own rescale would be a second one."""
    description, frame = encoded("MR_small_RLE.dcm")
    description["attributes"]["PhotometricInterpretation"] = "MONOCHROME1"
    expected = pydicom.dcmread(get_testdata_file("MR_small.dcm")).pixel_array
    np.testing.assert_array_equal(worker.decode_with_itk(description, frame), expected)


def test_a_wrong_sign_in_the_codestream_is_put_right_by_both():
    decoders = (worker.decode_with_pydicom, worker.decode_with_itk)
    arrays = [decode(*encoded("J2K_pixelrep_mismatch.dcm")) for decode in decoders]
    np.testing.assert_array_equal(*arrays)
    assert arrays[0].min() < 0


@pytest.mark.parametrize(
    ("syntax", "bits", "has_decoder"),
    [
        (RLELossless, 16, True),  # pydicom's own
        (JPEGLosslessSV1, 12, False),
        (UID("1.2.840.10008.1.2.4.55"), 12, False),  # retired: pydicom does not know it
    ],
)
def test_it_is_known_what_pydicom_decodes(syntax, bits, has_decoder, monkeypatch):
    monkeypatch.setattr(
        type(worker.get_decoder(JPEGLosslessSV1)), "is_available", syntax == RLELossless
    )
    assert worker.has_pydicom_decoder(syntax, bits) is has_decoder


def test_twelve_bit_jpeg_is_left_to_simpleitk_where_only_pillow_is_there():
    decoder = worker.get_decoder(JPEGExtended12Bit)
    others = set(decoder.available_plugins) - {"pillow"}
    assert worker.has_pydicom_decoder(JPEGExtended12Bit, 12) is bool(others)
    description, frame = encoded("JPGExtended.dcm")
    image = sitk.ReadImage(get_testdata_file("JPGExtended.dcm"))
    np.testing.assert_array_equal(
        worker.decode_with_itk(description, frame), sitk.GetArrayFromImage(image)[0]
    )


def test_a_syntax_that_nothing_decodes_is_refused_with_advice(monkeypatch):
    description, frame = encoded("MR_small_RLE.dcm")
    monkeypatch.setattr(worker, "has_pydicom_decoder", lambda syntax, bits: False)
    assert worker.decode_frame(description, frame).shape == (64, 64)
    with pytest.raises(worker.RefusedError, match=r"pip install 'spine_monai\[dicom\]'"):
        worker.decode_frame(description | {"syntax": HTJ2KLossless}, frame)


@pytest.mark.parametrize("cut", [0.5, 0.9])
@pytest.mark.parametrize(
    ("syntax", "decode"),
    [
        *((syntax, worker.decode_with_itk) for syntax in COMPRESSED),
        # JPEG-LS takes pydicom's plug-in 8 s: test_decoding gives it less.
        *((syntax, worker.decode_with_pydicom) for syntax in (RLELossless, JPEG2000Lossless)),
    ],
)
def test_no_decoder_makes_up_what_is_cut_off(syntax, decode, cut):
    description, frame = encoded(COMPRESSED[syntax][0])
    with pytest.raises(RuntimeError):
        decode(description, frame[: int(cut * len(frame)) // 2 * 2])


def test_an_image_is_read_with_its_place(tmp_path):
    array = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1, 2, 3))
    sitk.WriteImage(image, str(tmp_path / "v.mha"))
    info, found = worker.read_image(str(tmp_path / "v.mha"), [3], 120)
    values = sitk.GetArrayFromImage(found)
    assert (info["size"], info["spacing"], info["components"]) == ((6, 5, 4), (1, 2, 3), 1)
    assert info["value_bytes"] == array.nbytes
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, array)


def test_an_image_too_large_is_refused_before_it_is_read(tmp_path):
    sitk.WriteImage(sitk.Image(6, 5, 4, sitk.sitkInt16), str(tmp_path / "v.mha"))
    with pytest.raises(worker.RefusedError, match="got 120 values, more than the 119 that are"):
        worker.read_image(str(tmp_path / "v.mha"), [3], 119)


def test_requests_are_answered_one_after_the_other(tmp_path):
    description, frame = encoded("MR_small_RLE.dcm")
    sitk.WriteImage(sitk.Image(6, 5, sitk.sitkUInt8), str(tmp_path / "p.png"))
    image = {"task": "image", "path": str(tmp_path / "p.png"), "max_voxels": 99}
    requests = [
        ({"task": "frame", **description}, frame),
        ({"task": "frame", **description}, frame[:100]),
        (image | {"dimensions": [3]}, b""),
        (image | {"dimensions": [2]}, b""),
    ]
    lines = [
        json.dumps(request | {"seconds": 3, "bytes": len(data)}).encode() + b"\n" + data
        for request, data in requests
    ]
    replies = io.BytesIO()
    worker.serve(io.BytesIO(b"".join(lines)), replies)
    replies.seek(0)
    heads = []
    while line := replies.readline():
        heads.append(json.loads(line))
        replies.read(heads[-1]["bytes"])
    assert "ready" in heads[0]
    assert (heads[1]["shape"], heads[1]["dtype"]) == ([64, 64], "<i2")
    assert heads[2]["failed"] == "RuntimeError"
    assert heads[3]["refused"] == "got size 6 x 5"
    assert heads[4]["shape"] == [5, 6]
    assert JPEG2000 in worker.GDCM_SYNTAXES
