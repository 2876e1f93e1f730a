"""What ITK passes over in silence in MHA, MHD and NRRD files; SimpleITK writes them all."""

import re

import numpy as np
import pytest
import SimpleITK as sitk

from spine_monai.readers import StudyError
from spine_monai.readers.volumes import read_volume

STRAIGHT, TURNED = (1, 0, 0, 0, 1, 0, 0, 0, 1), (0, 1, 0, 1, 0, 0, 0, 0, -1)
ARRAY = np.random.default_rng(4).integers(0, 900, (4, 30, 20)).astype(np.uint16)


@pytest.fixture
def write(tmp_path):
    """Write a volume under a name."""

    def call(name, *, is_packed=False, direction=STRAIGHT):
        image = sitk.GetImageFromArray(ARRAY)
        image.SetSpacing((2.0, 3.0, 4.0))
        image.SetOrigin((5.0, 6.0, 7.0))
        image.SetDirection(direction)
        path = tmp_path / name
        sitk.WriteImage(image, str(path), useCompression=is_packed)
        return path

    return call


def change(path, pattern, text):
    content = path.read_bytes()
    changed = re.sub(pattern, text, content, count=1)
    assert changed != content
    path.write_bytes(changed)


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("name", ["t2.mha", "t2.mhd", "t2.nrrd"])
def test_a_whole_file_is_read(write, name, is_packed):
    reading = read_volume(write(name, is_packed=is_packed))
    np.testing.assert_array_equal(reading.array, ARRAY.T)
    np.testing.assert_allclose(np.diag(reading.affine), [-2, -3, 4, 1])


LACKING = [
    ("t2.mha", b"ElementSpacing[^\n]*\n", "ElementSpacing"),
    ("t2.mha", b"TransformMatrix[^\n]*\n", "TransformMatrix"),
    ("t2.mhd", b"Offset[^\n]*\n", "Offset"),
    ("t2.nrrd", b"space directions[^\n]*\n", "space directions"),
    ("t2.nrrd", b"space origin[^\n]*\n", "space origin"),
]


@pytest.mark.parametrize(("name", "line", "missing"), LACKING, ids=str)
def test_a_file_without_a_place_is_refused_where_itk_makes_one_up(write, name, line, missing):
    path = write(name)
    change(path, line, b"")
    assert sitk.ReadImage(str(path)).GetSize() == (20, 30, 4)
    with pytest.raises(StudyError, match=f"{name} must say where it lies .* numbers as {missing}"):
        read_volume(path)


def test_a_word_among_the_numbers_is_refused_where_itk_takes_it_for_0(write):
    path = write("t2.mha")
    change(path, b"Offset = 5", b"Offset = True")
    assert sitk.ReadImage(str(path)).GetOrigin() == (0.0, 0.0, 0.0)
    with pytest.raises(StudyError, match=r"must say where it lies .* 3 numbers as Offset"):
        read_volume(path)


def test_directions_that_itk_missed_behind_a_damaged_line_are_told(write):
    """Found by fuzzing: ITK reads both lines as one, and supposes straight axes."""
    path = write("t2.mha", direction=TURNED)
    np.testing.assert_allclose(read_volume(path).affine[:3, 0], [0, -2, 0], atol=1e-9)
    change(path, b"CompressedData = False", b"CompressedData 0 False")
    assert sitk.ReadImage(str(path)).GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    with pytest.raises(StudyError, match="must have a header that is read in one way only"):
        read_volume(path)


def test_the_older_names_of_metaio_are_known(write):
    path = write("t2.mha")
    change(path, b"Offset", b"Origin")
    change(path, b"TransformMatrix", b"Rotation")
    change(path, b"ElementSpacing", b"ElementSize")
    reading = read_volume(path)
    np.testing.assert_allclose(reading.affine @ [0, 0, 0, 1], [-5, -6, 7, 1])


def test_nrrd_in_another_known_frame_is_placed_as_by_itk(write):
    path = write("t2.nrrd")
    change(path, b"left-posterior-superior", b"right-anterior-superior")
    affine = read_volume(path).affine
    np.testing.assert_allclose(np.diag(affine), [2, 3, 4, 1])
    np.testing.assert_allclose(
        affine[:3, 3], np.array(sitk.ReadImage(str(path)).GetOrigin()) * [-1, -1, 1]
    )


WORDS = [
    (b"left-posterior-superior", b"scanner-xyz", "a space among left-posterior-superior"),
    (b"endian: little", b'endian: little\nspace units: "mm" "mm" "m"', "space units of mm"),
    (b"endian: little", b"endian: little\nbyte skip: 0", "its values right behind its header"),
]


@pytest.mark.parametrize(("was", "becomes", "rule"), WORDS, ids=["space", "units", "skip"])
def test_nrrd_that_means_something_else_than_itk_takes_is_refused(write, was, becomes, rule):
    path = write("t2.nrrd")
    change(path, was, becomes)
    with pytest.raises(StudyError, match=f"must have {rule}.*: its header says otherwise"):
        read_volume(path)


@pytest.mark.parametrize("name", ["t2.mha", "t2.nrrd"])
def test_damaged_compressed_values_are_refused(write, name):
    """ITK gives what comes before the damage, and noise after it, without a word."""
    path = write(name, is_packed=True)
    content = bytearray(path.read_bytes())
    content[-20] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(StudyError, match=f"{name} must .*Copy it again"):
        read_volume(path)


@pytest.mark.parametrize("line", [b"", b"CompressedDataSize = 90\n"], ids=["none", "another"])
def test_compressed_values_of_unknown_length_are_refused(write, line):
    """ITK then gives what its memory happened to hold."""
    path = write("t2.mha", is_packed=True)
    change(path, rb"CompressedDataSize[^\n]*\n", line)
    with pytest.raises(
        StudyError, match=r"expected CompressedDataSize [0-9]+, got another or none"
    ):
        read_volume(path)


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize(
    ("name", "was", "becomes"),
    [("t2.mha", b"DimSize = 20 30 4", b"DimSize = 20 30 3"), ("t2.nrrd", b"20 30 4", b"20 30 3")],
)
def test_more_values_than_the_header_says_are_refused(write, name, was, becomes, is_packed):
    path = write(name, is_packed=is_packed)
    change(path, was, becomes)
    with pytest.raises(
        StudyError, match=r"as many values as its header says: expected 3600 bytes, got"
    ):
        read_volume(path)


@pytest.mark.parametrize("name", ["t2.mha", "t2.nrrd"])
def test_something_after_compressed_values_is_refused(write, name):
    path = write(name, is_packed=True)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(StudyError, match=r"must (hold undamaged values: error|say how long)"):
        read_volume(path)


def test_a_file_cut_short_beside_its_header_is_refused(write):
    path = write("t2.mhd")
    data = path.with_suffix(".raw")
    data.write_bytes(data.read_bytes() + b"\0\0")
    with pytest.raises(StudyError, match=r"expected 4800 bytes, got 4802 or more"):
        read_volume(path)
