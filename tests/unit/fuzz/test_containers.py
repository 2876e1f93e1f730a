"""Mutations of volume files, zips and pictures, as other libraries read what they wrote."""

import gzip
import io
import struct
import zipfile
from random import Random

import nibabel as nib
import numpy as np
import pytest
from fuzz.blocks import flip_bits
from fuzz.containers import (
    change_header_line,
    change_nifti_field,
    change_png_chunk,
    change_zip_record,
    inside_gzip,
)
from PIL import Image

NRRD = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 5 4 3\nencoding: raw\n\n" + bytes(range(120))


def test_one_field_of_a_nifti_header_changes_and_nothing_behind_it():
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    data = image.to_bytes()
    changed = [change_nifti_field(data, Random(seed)) for seed in range(40)]
    assert all(one[352:] == data[352:] and len(one) == len(data) for one in changed)
    assert sum(one != data for one in changed) > 25
    shapes = {struct.unpack_from("<8h", one, 40) for one in changed}
    assert len(shapes) > 3


def test_what_is_compressed_changes_and_the_checksum_stays_right():
    packed = gzip.compress(bytes(1000))
    changed = gzip.decompress(inside_gzip(flip_bits)(packed, Random(2)))
    assert len(changed) == 1000
    assert changed != bytes(1000)


def test_a_line_of_a_text_header_changes_and_the_values_stay():
    changed = [change_header_line(NRRD, Random(seed)) for seed in range(30)]
    assert all(one.endswith(bytes(range(120))) for one in changed)
    assert len({one[:-120] for one in changed}) > 15


def test_a_record_of_a_zip_changes_and_the_members_stay():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("member", bytes(500))
    changed = [change_zip_record(stream.getvalue(), Random(seed)) for seed in range(20)]
    assert all(one.count(bytes(400)) == 1 for one in changed)
    assert len(set(changed)) > 10


def test_a_chunk_of_a_png_changes_and_its_checksum_fits():
    stream = io.BytesIO()
    Image.fromarray(np.arange(200, dtype=np.uint8).reshape(10, 20)).save(stream, "PNG")
    sizes = set()
    for seed in range(60):
        try:
            with Image.open(io.BytesIO(change_png_chunk(stream.getvalue(), Random(seed)))) as image:
                sizes.add(image.size)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            continue
    assert len(sizes) > 1  # a wrong checksum of the first chunk would never open


@pytest.mark.parametrize("mutation", [change_nifti_field, change_zip_record, change_png_chunk])
def test_a_file_of_another_kind_stays_as_it_is(mutation):
    assert mutation(b"something", Random(1)) == b"something"
