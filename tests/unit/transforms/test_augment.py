"""Margins are blanked in the image and in its heatmaps alike; expectations are plain numpy."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from spine_monai.transforms import RandFieldOfViewd

SHAPE = (83, 61)
AFFINE = np.array([[0, 0, 4.0, -3], [0, -1.7, 0, 40], [-1.3, 0, 0, 60], [0, 0, 0, 1]])
KEYS = ["image", "label"]


def item():
    """An image without zeros, two heatmaps without zeros and one that is unknown."""
    values = np.random.default_rng(0).uniform(0.5, 1, (4, *SHAPE)).astype(np.float32)
    label = torch.from_numpy(values[1:])
    label[1] = torch.nan
    return {"image": MetaTensor(torch.from_numpy(values[:1]), affine=AFFINE), "label": label}


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
def test_the_image_and_its_heatmaps_lose_the_same_margins(seed):
    after = cut(seed)
    expected = margins(after["image"][0])
    assert sum(expected) > 0
    assert margins(after["label"][0]) == margins(after["label"][2]) == expected


@pytest.mark.parametrize("seed", range(6))
def test_what_is_left_is_a_rectangle_of_the_image_as_it_was(seed):
    after = cut(seed)
    top, bottom, left, right = margins(after["image"][0])
    inside = (slice(None), slice(top, SHAPE[0] - bottom), slice(left, SHAPE[1] - right))
    for key in KEYS:
        before = np.asarray(item()[key])
        expected = np.where(np.isnan(before), np.nan, 0.0)
        expected[inside] = before[inside]
        np.testing.assert_array_equal(after[key], expected)


@pytest.mark.parametrize("seed", range(6))
def test_an_unknown_landmark_stays_unknown_inside_and_outside(seed):
    label = cut(seed)["label"]
    assert torch.isnan(label[1]).all()
    assert not torch.isnan(label[[0, 2]]).any()


def test_a_landmark_in_a_blanked_margin_has_an_empty_heatmap():
    """One stands in the middle, which no cut reaches, one in the last corner."""
    given = item()
    given["label"][[0, 2]] = 0.0
    given["label"][0, 38:45, 28:33] = given["label"][2, -6:, -6:] = 1.0
    peaks = np.array([np.asarray(cut(seed, given)["label"].amax((-2, -1))) for seed in range(20)])
    assert (peaks[:, 0] == 1).all()
    assert set(peaks[:, 2].tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("max_cut", [0.1, 0.35])
def test_no_edge_loses_more_than_the_largest_share(max_cut):
    """One drawing in two cuts each edge, by up to that share."""
    shares = np.array([margins(cut(seed, max_cut=max_cut)["image"][0]) for seed in range(150)])
    shares = shares / np.array(SHAPE)[[0, 0, 1, 1]]
    assert (shares <= max_cut + 1 / min(SHAPE)).all()
    assert (shares.max(0) > 0.85 * max_cut).all()
    assert (np.abs((shares > 0).mean(0) - 0.5) < 0.12).all()


def test_without_probability_nothing_happens():
    given = item()
    for seed in range(20):
        after = cut(seed, given, prob=0.0)
        assert after["image"] is given["image"]
        assert after["label"] is given["label"]


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
    np.testing.assert_array_equal(given["label"], item()["label"])


def test_a_missing_key_is_an_error_unless_allowed():
    given = {"image": item()["image"]}
    assert RandFieldOfViewd(KEYS, prob=1.0, allow_missing_keys=True)(given).keys() == {"image"}
    with pytest.raises(KeyError, match="label"):
        cut(0, given)
