import io
import zlib
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import DeflatedExplicitVRLittleEndian

from spine_monai.readers import deflated
from spine_monai.readers.deflated import check_inflated_size, is_deflated
from spine_monai.readers.headers import Ignored, read_images


@pytest.fixture
def image():
    """A real MR image, deflated by pydicom."""
    dataset = pydicom.dcmread(get_testdata_file("MR_small.dcm", download=False))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    stream = io.BytesIO()
    dataset.save_as(stream)
    return stream.getvalue()


def bomb(image, size):
    """The image's meta information before a stream that unpacks to ``size`` zeros."""
    meta_bytes = int.from_bytes(image[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20))
    return image[: 144 + meta_bytes] + packed + packer.flush()


def test_a_deflated_image_is_known_and_passes(image):
    assert is_deflated(image)
    check_inflated_size(image)
    plain = Path(get_testdata_file("MR_small.dcm", download=False))
    assert not is_deflated(plain.read_bytes())


def test_a_file_that_unpacks_to_too_much_is_refused(image, monkeypatch):
    monkeypatch.setattr(deflated, "MAX_INFLATED_BYTES", 20 << 20)
    check_inflated_size(bomb(image, 20 << 20))
    with pytest.raises(ValueError, match="must unpack to at most 20971520 bytes"):
        check_inflated_size(bomb(image, 30 << 20))


def test_the_index_calls_such_a_file_damaged(image, monkeypatch):
    monkeypatch.setattr(deflated, "MAX_INFLATED_BYTES", 140 << 20)
    file = bomb(image, 160 << 20)
    assert len(file) > 1 << 17  # more than the index reads at first
    assert read_images(io.BytesIO(file)) is Ignored.DAMAGED


def test_where_the_data_begin_must_be_told(image):
    with pytest.raises(ValueError, match="must begin with FileMetaInformationGroupLength"):
        check_inflated_size(image[:132] + image[144:])
