"""Thumbnails; where a pixel of theirs lies comes from SimpleITK."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from PIL import Image

from spine_monai.viz import figures
from spine_monai.viz.thumbnails import MOST_BYTES, THUMBNAIL_FILE, read_thumbnail, thumbnail_jpeg


@pytest.fixture
def thumbnail_of(tmp_path):
    def make(result):
        (tmp_path / THUMBNAIL_FILE).write_bytes(thumbnail_jpeg(result))
        return read_thumbnail(tmp_path / THUMBNAIL_FILE)

    return make


def grey_of(thumbnail):
    return np.asarray(Image.open(io.BytesIO(thumbnail.jpeg)).convert("L"), dtype=float)


def image_like(result, array):
    image = result.image.clone()
    image.data = torch.as_tensor(array, dtype=torch.float32)[None]
    return replace(result, image=image)


def test_a_thumbnail_knows_where_it_lies(thumbnail_of, result, pristine_folder):
    """A bright spot of the slice is found in the thumbnail, and lies where SimpleITK has it."""
    image = sitk.ReadImage(str(pristine_folder / "0003.dcm"))
    rows, columns = np.mgrid[: result.image.shape[1], : result.image.shape[2]]
    spot = np.exp(-((rows - 61.3) ** 2 + (columns - 17.8) ** 2) / (2 * 3.0**2))
    thumbnail = thumbnail_of(image_like(result, spot))
    grey = np.clip(grey_of(thumbnail) - 20, 0, None)
    row, column = (np.array(np.nonzero(grey)) * grey[grey > 0]).sum(1) / grey.sum()
    found_lps = thumbnail.lps_from_column_row @ [column, row, 0, 1]
    expected_lps = image.TransformContinuousIndexToPhysicalPoint((17.8, 61.3, 0))
    np.testing.assert_allclose(found_lps[:3], expected_lps, atol=0.3)


def test_its_pixels_are_square_and_it_shows_the_whole_slice(thumbnail_of, result):
    """96 rows of 2.8 mm by 80 columns of 2.4 mm, no finer than the slice."""
    thumbnail = thumbnail_of(result)
    assert (thumbnail.rows, thumbnail.columns) == (112, 80)
    sides_mm = np.linalg.norm(thumbnail.lps_from_column_row[:3, :2], axis=0)
    np.testing.assert_allclose(sides_mm, [2.4, 2.4], rtol=1e-6)


def test_even_a_noisy_slice_fits(thumbnail_of, result):
    noise = np.random.default_rng(0).normal(size=(700, 640))
    thumbnail = thumbnail_of(image_like(result, noise))
    assert len(thumbnail.jpeg) <= MOST_BYTES
    assert max(thumbnail.rows, thumbnail.columns) == 384


def test_equal_slices_are_equal_files_that_name_nobody(result):
    jpeg = thumbnail_jpeg(result)
    assert jpeg == thumbnail_jpeg(replace(result, case="another"))
    comment = Image.open(io.BytesIO(jpeg)).info["comment"]
    assert list(json.loads(comment)) == ["lps_from_column_row"]


def test_the_slice_is_shown_from_dark_to_bright(thumbnail_of, result):
    ramp = np.tile(np.linspace(-50, 900, 80), (96, 1))
    grey = grey_of(thumbnail_of(image_like(result, ramp)))
    assert grey[:, 0].max() < 15
    assert grey[:, -1].min() > 240
    assert (np.diff(grey.mean(0)) > -3).all()


def test_what_is_no_thumbnail_is_refused(result, tmp_path):
    path = tmp_path / THUMBNAIL_FILE
    whole = thumbnail_jpeg(result)
    other = io.BytesIO()
    Image.new("L", (8, 8)).save(other, "JPEG")
    png = io.BytesIO()
    Image.new("L", (8, 8)).save(png, "PNG")
    strange = io.BytesIO()
    Image.new("L", (8, 8)).save(strange, "JPEG", comment=b'{"lps_from_column_row": [[1, 2]]}')
    for content in (
        b"",
        b"text",
        whole[:-300],
        other.getvalue(),
        png.getvalue(),
        strange.getvalue(),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="must be a whole JPEG thumbnail of spine_monai"):
            read_thumbnail(path)


def test_a_missing_thumbnail_is_no_wrong_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_thumbnail(tmp_path / THUMBNAIL_FILE)


def test_without_the_extra_it_is_named(result, monkeypatch):
    monkeypatch.setattr(figures, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"spine_monai\[viz\]"):
        thumbnail_jpeg(result)
