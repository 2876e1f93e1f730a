"""The overlay as a secondary capture: what is burned in, and what is not."""

from dataclasses import replace

import matplotlib.image
import numpy as np
import pydicom
import pytest

from spine_monai.viz import draw_overlay
from spine_monai.viz.secondary_capture import write_sc
from spine_monai.writers import case_content

BUNDLE = {"name": "spine_landmarks", "version": "0.3.0", "weights_sha256": {"model.pt": "ab"}}


@pytest.fixture
def capture_of(located, tmp_path):
    def write(result):
        content = case_content(result, located, BUNDLE, {})
        write_sc(result, content, located.series, tmp_path / "overlay.dcm")
        return pydicom.dcmread(tmp_path / "overlay.dcm").pixel_array

    return write


def test_the_overlay_stands_below_a_banner(capture_of, result, tmp_path):
    pixels = capture_of(result)
    draw_overlay(replace(result, case="spine_monai"), tmp_path / "overlay.png")
    overlay = matplotlib.image.imread(tmp_path / "overlay.png")[..., :3]
    banner = pixels[: len(pixels) - len(overlay)]
    np.testing.assert_allclose(pixels[len(banner) :] / 255, overlay, atol=1 / 510)
    dark = (banner < 60).all(-1)
    assert banner.shape[0] == 50
    assert 0.02 < dark.mean() < 0.3  # letters
    assert dark[:, : dark.shape[1] // 5].sum() == 0


def test_the_name_of_the_case_is_not_burned_in(capture_of, result):
    """A case may be named after a file, and a file after a patient."""
    np.testing.assert_array_equal(
        capture_of(replace(result, case="doe")), capture_of(replace(result, case="jane"))
    )
