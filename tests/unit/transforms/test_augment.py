"""Margins are blanked, against plain numpy; slices are turned and shifted, against MONAI."""

from functools import partial

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Affine, Compose, RandAffined

from spine_monai.transforms import RandAffineSliced, RandFieldOfViewd, RandIntensityd
from spine_monai.transforms.intensity import contrast

SHAPE = (83, 61)
AFFINE = np.array([[0, 0, 4.0, -3], [0, -1.7, 0, 40], [-1.3, 0, 0, 60], [0, 0, 0, 1]])
KEYS = ["image", "other"]


def item():
    """An image without zeros and another one of the same grid, a plain tensor."""
    values = np.random.default_rng(0).uniform(0.5, 1, (4, *SHAPE)).astype(np.float32)
    image = MetaTensor(torch.from_numpy(values[:1]), affine=AFFINE)
    return {"image": image, "other": torch.from_numpy(values[1:])}


def cut(seed=0, given=None, **options):
    blank = RandFieldOfViewd(KEYS, **({"prob": 1.0} | options)).set_random_state(seed)
    return blank(item() if given is None else given)


def margins(image):
    """Blank rows above and below, blank columns left and right."""
    kept = np.asarray(image) != 0
    rows, columns = np.flatnonzero(kept.any(1)), np.flatnonzero(kept.any(0))
    height, width = kept.shape
    return rows[0], height - 1 - rows[-1], columns[0], width - 1 - columns[-1]


@pytest.mark.parametrize("seed", range(6))
def test_both_images_lose_the_same_margins(seed):
    after = cut(seed)
    expected = margins(after["image"][0])
    assert sum(expected) > 0
    assert [margins(channel) for channel in after["other"]] == [expected] * 3


@pytest.mark.parametrize("seed", range(6))
def test_what_is_left_is_a_rectangle_of_the_image_as_it_was(seed):
    after = cut(seed)
    top, bottom, left, right = margins(after["image"][0])
    inside = (slice(None), slice(top, SHAPE[0] - bottom), slice(left, SHAPE[1] - right))
    for key in KEYS:
        before = np.asarray(item()[key])
        expected = np.zeros_like(before)
        expected[inside] = before[inside]
        np.testing.assert_array_equal(after[key], expected)


@pytest.mark.parametrize("seed", range(6))
def test_the_view_names_the_first_and_the_last_pixel_that_is_left(seed):
    after = cut(seed, view_key="view_ij")
    top, bottom, left, right = margins(after["image"][0])
    expected = [[top, left], [SHAPE[0] - 1 - bottom, SHAPE[1] - 1 - right]]
    assert after["view_ij"].tolist() == expected
    assert "view_ij" not in cut(seed)


def test_an_image_that_is_left_whole_has_the_whole_view():
    view_ij = cut(prob=0.0, view_key="view_ij")["view_ij"]
    assert view_ij.tolist() == [[0, 0], [SHAPE[0] - 1, SHAPE[1] - 1]]


@pytest.mark.parametrize("max_cut", [0.1, 0.35])
def test_no_edge_loses_more_than_the_largest_share(max_cut):
    """One drawing in two cuts each edge, by up to that share."""
    shares = np.array([margins(cut(seed, max_cut=max_cut)["image"][0]) for seed in range(150)])
    shares = shares / np.array(SHAPE)[[0, 0, 1, 1]]
    assert (shares <= max_cut + 1 / min(SHAPE)).all()
    assert (shares.max(0) > 0.85 * max_cut).all()
    assert (np.abs((shares > 0).mean(0) - 0.5) < 0.12).all()


def test_rows_and_columns_may_have_shares_of_their_own():
    shares = np.array([margins(cut(seed, max_cut=[0.45, 0.1])["image"][0]) for seed in range(150)])
    most = (shares / np.array(SHAPE)[[0, 0, 1, 1]]).max(0)
    assert most == pytest.approx([0.45, 0.45, 0.1, 0.1], abs=0.03)


def test_without_probability_nothing_happens():
    given = item()
    for seed in range(20):
        after = cut(seed, given, prob=0.0)
        assert after["image"] is given["image"]
        assert after["other"] is given["other"]


def test_it_happens_as_often_as_asked_for():
    blank = RandFieldOfViewd("image", prob=0.3).set_random_state(0)
    given = {"image": torch.ones(1, 8, 9)}
    changed = [blank(given)["image"] is not given["image"] for _ in range(400)]
    assert np.mean(changed) == pytest.approx(0.3, abs=0.07)


def test_the_same_seed_gives_the_same_margins_and_another_seed_others():
    assert margins(cut(3)["image"][0]) == margins(cut(3)["image"][0])
    assert margins(cut(3)["image"][0]) != margins(cut(4)["image"][0])


def test_the_seed_of_a_composition_reaches_it():
    def once(seed):
        steps = Compose([RandFieldOfViewd(KEYS, prob=1.0)]).set_random_state(seed)
        return margins(steps(item())["image"][0])

    assert once(1) == once(1)
    assert len({once(seed) for seed in range(5)}) > 1


@pytest.mark.parametrize("seed", range(6))
def test_an_image_never_grows_nor_moves(seed):
    before, after = item()["image"], cut(seed)["image"]
    assert (after.shape, after.dtype) == (before.shape, before.dtype)
    np.testing.assert_array_equal(after.affine, AFFINE)
    assert (after <= before).all()


def test_cutting_twice_never_brings_back_what_was_cut():
    once = cut(0)
    twice = cut(1, once)
    assert (np.array(margins(twice["image"][0])) >= margins(once["image"][0])).all()


def test_nothing_given_is_changed_in_place():
    given = item()
    cut(0, given)
    np.testing.assert_array_equal(given["image"], item()["image"])
    np.testing.assert_array_equal(given["other"], item()["other"])


@pytest.mark.parametrize("max_cut", [(), [0.3], [0.1, 0.2, 0.3], -0.1, [0.2, 0.6], np.nan, "0.3"])
def test_only_shares_that_two_edges_can_lose_are_taken(max_cut):
    with pytest.raises(ValueError, match=r"max_cut must be .* 0 to 0\.5.*: got "):
        RandFieldOfViewd("image", max_cut=max_cut)


def test_a_missing_key_is_an_error_unless_allowed():
    given = {"image": item()["image"]}
    assert RandFieldOfViewd(KEYS, prob=1.0, allow_missing_keys=True)(given).keys() == {"image"}
    with pytest.raises(KeyError, match="other"):
        cut(0, given)


RANGES = {"rotate_range": 0.35, "scale_range": [0.3, 0.15], "translate_range": [9, 5]}


def turned(seed=0, given=None, **options):
    turn = RandAffineSliced("image", **(RANGES | {"prob": 1.0} | options))
    return turn.set_random_state(seed)({"image": item()["image"]} if given is None else given)


@pytest.mark.parametrize("size", [None, (70, 96)])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("seed", range(3))
def test_the_same_draws_give_monais_picture_and_affine(seed, padding, size):
    """The draws in their order: whether at all, the angle, the shifts, the scales."""
    draw = np.random.RandomState(seed)
    draw.rand()
    angle = draw.uniform(-0.35, 0.35)
    shift = draw.uniform([-9, -5], [9, 5])
    scale = 1 + draw.uniform([-0.3, -0.15], [0.3, 0.15])
    oracle = Affine(
        rotate_params=angle,
        translate_params=shift.tolist(),
        scale_params=scale.tolist(),
        spatial_size=size,
        padding_mode=padding,
        image_only=True,
    )
    expected = oracle(item()["image"])
    got = turned(seed, spatial_size=size, padding_mode=padding)["image"]
    assert got.shape == expected.shape
    torch.testing.assert_close(got.as_tensor(), expected.as_tensor(), atol=1e-4, rtol=0)
    torch.testing.assert_close(got.affine, expected.affine, atol=1e-4, rtol=1e-6)


def parameters(transform, count):
    """(count, 4) of the 2 x 2 and (count, 2) of the middle's place, from the affines alone."""
    image = item()["image"]
    to_index = np.linalg.inv(AFFINE)
    moves = [
        to_index @ np.asarray(transform({"image": image})["image"].affine) for _ in range(count)
    ]
    middle = [(SHAPE[0] - 1) / 2, (SHAPE[1] - 1) / 2, 0, 1]
    return np.array([[*move[:2, :2].ravel(), *(move @ middle)[:2]] for move in moves])


def largest_gap(first, second):
    """Between the cumulative distributions of two samples; Kolmogorov and Smirnov's statistic."""
    values = np.sort(np.concatenate([first, second]))
    below = [np.searchsorted(np.sort(sample), values, "right") for sample in (first, second)]
    return np.abs(below[0] / len(first) - below[1] / len(second)).max()


def test_the_distribution_is_that_of_monais_own_transform():
    ours = RandAffineSliced("image", prob=1.0, **RANGES).set_random_state(0)
    theirs = RandAffined("image", prob=1.0, mode="bilinear", **RANGES).set_random_state(1)
    for mine, monais in zip(parameters(ours, 300).T, parameters(theirs, 300).T, strict=True):
        assert largest_gap(mine, monais) < 0.16  # of 300 each; more comes once in a thousand


def test_a_slice_of_several_channels_is_turned_as_one():
    three = MetaTensor(item()["other"], affine=AFFINE)
    together = turned(2, {"image": three})["image"]
    for channel in range(3):
        alone = turned(2, {"image": three[channel : channel + 1]})["image"]
        torch.testing.assert_close(together[channel], alone[0])


def test_a_plain_tensor_stays_one():
    assert type(turned(0, {"image": item()["other"]})["image"]) is torch.Tensor


def test_without_probability_the_middle_of_the_slice_is_taken():
    image = item()["image"]
    middle = turned(0, prob=0.0, spatial_size=(43, 31))["image"]
    torch.testing.assert_close(middle.as_tensor(), image.as_tensor()[:, 20:63, 15:46])
    np.testing.assert_allclose(middle.affine[:, 3], AFFINE @ [20, 15, 0, 1])


def test_paddings_come_as_often_as_asked_for():
    ones = MetaTensor(torch.ones(1, 8, 9), affine=AFFINE)
    chances = {"zeros": 0.7, "reflection": 0.3}
    options = {"prob": 1.0, "spatial_size": (20, 20), "padding_mode": chances}
    turn = RandAffineSliced("image", **options).set_random_state(0)
    is_reflected = [bool((turn({"image": ones})["image"] > 0).all()) for _ in range(400)]
    assert np.mean(is_reflected) == pytest.approx(0.3, abs=0.07)


@pytest.mark.parametrize("padding", ["mirror", {}, {"zeros": 0.5, "mirror": 0.5}, {"zeros": -1.0}])
def test_an_unknown_padding_is_an_error(padding):
    with pytest.raises(ValueError, match="padding_mode must be one of zeros, border, reflection"):
        RandAffineSliced("image", padding_mode=padding)


@pytest.mark.parametrize("seed", range(3))
def test_intensities_change_and_the_image_stays_in_its_place(seed):
    change = partial(contrast, gamma=[0.6, 0.9])
    brighten = RandIntensityd("image", change=change, prob=1.0).set_random_state(seed)
    before, after = item()["image"], brighten(item())["image"]
    assert (after >= before - 1e-6).all()
    assert (after - before).max() > 0.005
    np.testing.assert_array_equal(after.affine, AFFINE)


def test_intensities_change_as_often_as_asked_for():
    change = partial(contrast, gamma=[0.6, 0.9])
    brighten = RandIntensityd("image", change=change, prob=0.3).set_random_state(0)
    given = {"image": torch.rand(1, 8, 9)}
    changed = [brighten(given)["image"] is not given["image"] for _ in range(400)]
    assert np.mean(changed) == pytest.approx(0.3, abs=0.07)


@pytest.mark.parametrize("transform", [RandAffineSliced, partial(RandIntensityd, change=abs)])
def test_a_missing_image_is_an_error_unless_allowed(transform):
    assert transform("image", prob=1.0, allow_missing_keys=True)({}) == {}
    with pytest.raises(KeyError, match="image"):
        transform("image", prob=1.0)({})
