"""What a few extreme grey values leave of the contrast of all others."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from spine_monai.workflows.grey_values import grey_value_warnings


def warnings_of(values, index=2):
    image = MetaTensor(torch.as_tensor(values).float()[None], affine=np.eye(4))
    return grey_value_warnings({"slice": {"index": index}, "native_image": image})


def tissues(brightest=500.0):
    return np.random.default_rng(0).uniform(0.0, brightest, (90, 70))


def in_steps(count, values_each=4):
    """Pixels in the first so many of the 256 steps from 0 to 256, and one in the last."""
    values = (np.arange(90 * 70).reshape(90, 70) % (values_each * count) + 0.5) / values_each
    values[0, :2] = 0.0, 256.0
    return values


def test_an_image_that_uses_its_range_is_not_warned_of():
    assert warnings_of(tissues()) == ()


@pytest.mark.parametrize("index", [0, 4])
def test_a_pixel_much_brighter_than_all_others_is_warned_of(index):
    values = tissues()
    values[0, :2] = 0.0, 15000.0
    (warning,) = warnings_of(values, index)
    assert warning["code"] == "extreme_grey_values"
    expected = f"99 % of the pixels of slice {index} lie in 9 of the 256 steps from its least grey "
    expected += "value to its greatest (0 to 15000)"
    assert expected in warning["message"]
    assert warning["message"].startswith("clip or window the image's grey values")


def test_padding_much_darker_than_the_tissues_is_warned_of():
    values = tissues()
    values[:, :20] = -1e6
    (warning,) = warnings_of(values)
    assert "lie in 2 of the 256 steps" in warning["message"]


def test_much_padding_that_leaves_the_tissues_their_contrast_is_not_warned_of():
    values = tissues()
    values[:, :60] = 0.0
    assert warnings_of(values) == ()


@pytest.mark.parametrize(("count", "is_warned"), [(12, True), (13, False)])
def test_up_to_twelve_steps_are_few(count, is_warned):
    assert bool(warnings_of(in_steps(count))) is is_warned


@pytest.mark.parametrize(("values_each", "is_warned"), [(1, False), (2, True)])
def test_an_image_of_few_grey_values_has_none_to_lose(values_each, is_warned):
    assert bool(warnings_of(in_steps(6, values_each))) is is_warned


def test_few_grey_values_are_warned_of_where_they_share_steps():
    values = np.round(tissues(14.0))
    assert warnings_of(values) == ()
    values[0, 0] = 2000.0
    (warning,) = warnings_of(values)
    assert "lie in 2 of the 256 steps" in warning["message"]


def test_a_slice_that_is_nearly_all_air_has_no_extreme_value():
    values = np.zeros((300, 300))
    values[140:160, 140:180] = tissues()[:20, :40]
    assert warnings_of(values) == ()


def test_a_flat_image_has_no_extreme_value():
    assert warnings_of(np.full((90, 70), 7.0)) == ()
