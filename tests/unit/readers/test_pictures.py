"""Pictures of one slice; Pillow writes them, so that it is not our reader's own library."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from spine_monai.readers import StudyError, locate_study, read_study
from spine_monai.readers.pictures import is_picture_file, read_picture


@pytest.fixture
def grey():
    return np.random.default_rng(3).integers(0, 256, (12, 10)).astype(np.uint8)


def save(path, pixels, mode=None, **options):
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_a_grey_png_is_read_however_it_stores_grey(tmp_path, grey, mode):
    array, _ = read_picture(save(tmp_path / "slice.png", grey, mode), 0.5)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, grey[..., None])


def test_sixteen_bits_are_kept(tmp_path):
    pixels = (np.arange(120).reshape(12, 10) * 500).astype(np.uint16)
    array, _ = read_picture(save(tmp_path / "deep.PNG", pixels), 0.5)
    np.testing.assert_array_equal(array[..., 0], pixels)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("suffix", [".jpg", ".JPEG"])
def test_a_jpeg_is_read(tmp_path, mode, suffix):
    pixels = np.add.outer(np.arange(16), 2 * np.arange(24)).astype(np.uint8)
    path = save(tmp_path / f"slice{suffix}", pixels, mode, quality=98)
    array, _ = read_picture(path, 0.5)
    np.testing.assert_array_equal(array[..., 0], np.asarray(Image.open(path).convert("L")))


def test_rows_run_to_the_feet_and_columns_to_posterior(tmp_path, grey):
    _, affine = read_picture(save(tmp_path / "slice.png", grey), (0.8, 0.6))
    assert nib.aff2axcodes(affine) == ("I", "P", "R")
    np.testing.assert_allclose(nib.affines.voxel_sizes(affine), [0.8, 0.6, 1.0])
    np.testing.assert_array_equal(affine[:, 3], [0, 0, 0, 1])


def test_two_points_are_as_far_apart_as_simpleitk_says(tmp_path, grey):
    _, affine = read_picture(save(tmp_path / "slice.png", grey), (0.8, 0.6))
    image = sitk.GetImageFromArray(grey)
    image.SetSpacing((0.6, 0.8))  # ITK's order: columns, rows
    ours = nib.affines.apply_affine(affine, [[2, 3, 0], [9, 7, 0]])
    theirs = [image.TransformIndexToPhysicalPoint(index) for index in ((3, 2), (7, 9))]
    distances = [np.linalg.norm(np.diff(points, axis=0)) for points in (ours, theirs)]
    np.testing.assert_allclose(*distances)


def test_colours_are_refused(tmp_path, grey):
    marked = np.repeat(grey[..., None], 3, -1)
    marked[4, 5] = [255, 255, 0]
    path = save(tmp_path / "marked.png", marked)
    with pytest.raises(
        StudyError, match=r"marked.png must be a grey picture of 8 or 16 bits: got 3"
    ):
        read_picture(path, 0.5)


def test_a_transparent_picture_is_refused(tmp_path, grey):
    pixels = np.repeat(grey[..., None], 4, -1)
    pixels[..., 3] = 200
    path = save(tmp_path / "see_through.png", pixels)
    with pytest.raises(StudyError, match="must be a grey picture of 8 or 16 bits: got 4"):
        read_picture(path, 0.5)


@pytest.mark.parametrize("spacing", [0, -1, np.nan, np.inf, (0.5, 0)])
def test_a_spacing_that_is_none_is_refused(tmp_path, grey, spacing):
    path = save(tmp_path / "slice.png", grey)
    with pytest.raises(ValueError, match="pixel_spacing_mm must be positive: got"):
        read_picture(path, spacing)


def test_a_png_cut_short_is_refused(tmp_path, grey):
    path = save(tmp_path / "cut.png", grey)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(
        StudyError, match=r"cut.png must be a readable PNG or JPEG picture: the dec"
    ):
        read_picture(path, 0.5)


def test_a_jpeg_cut_short_is_refused(tmp_path, grey):
    """ITK would fill it up with grey."""
    path = save(tmp_path / "cut.jpg", grey)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(
        StudyError, match=r"cut.jpg must be a whole JPEG file: it has no end marker"
    ):
        read_picture(path, 0.5)


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_jpeg_that_viewers_turn_is_refused(tmp_path, grey, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "turned.jpg", grey, exif=exif)
    with pytest.raises(StudyError, match=f"stored upright: got EXIF Orientation {orientation}"):
        read_picture(path, 0.5)


def test_other_exif_tags_do_not_matter(tmp_path, grey):
    for number, tags in enumerate([{0x0112: 1}, {0x010F: "maker"}]):
        exif = Image.Exif()
        for tag, value in tags.items():
            exif[tag] = value
        path = save(tmp_path / f"{number}.jpg", grey, exif=exif)
        assert read_picture(path, 0.5)[0].shape == (12, 10, 1)


def test_a_damaged_exif_block_says_nothing(tmp_path, grey):
    path = save(tmp_path / "exif.jpg", grey, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert read_picture(path, 0.5)[0].shape == (12, 10, 1)


@pytest.mark.parametrize("spacing_mm", [0.5, 2.5, 5.0])
def test_a_picture_is_no_scan_in_another_plane(tmp_path, grey, spacing_mm):
    located = locate_study(save(tmp_path / "slice.png", grey), pixel_spacing_mm=spacing_mm)
    assert read_study(located).image.shape == (1, *grey.shape, 1)


def test_a_picture_of_huge_pixels_is_refused(tmp_path, grey):
    located = locate_study(save(tmp_path / "slice.png", grey), pixel_spacing_mm=500.0)
    with pytest.raises(StudyError, match=r"pixels of at most 5 mm .*: got 500\. Is --pixel-spac"):
        read_study(located)


def test_the_name_says_whether_a_file_is_a_picture(tmp_path):
    assert all(is_picture_file(tmp_path / name) for name in ("a.png", "a.JPG", "a.jpeg"))
    assert not any(is_picture_file(tmp_path / name) for name in ("a.gif", "png", "a.nii"))
