"""Changes of intensity against MONAI's, from the same draws; the noise by its statistics."""

from functools import partial

import numpy as np
import pytest
import torch
from monai.transforms import (
    RandAdjustContrast,
    RandBiasField,
    RandHistogramShift,
    RandSimulateLowResolution,
)

from spine_monai.transforms.intensity import (
    bias_field,
    contrast,
    gaussian_noise,
    histogram_shift,
    inverted,
    low_resolution,
    remapped,
)

SHAPE = (1, 83, 61)
LINEAR = {"downsample_mode": "bilinear", "upsample_mode": "bilinear"}
ZOOM = {"zoom_range": [0.4, 1.0]}
PAIRS = {
    "bias field": (
        partial(bias_field, coeff_range=[0.1, 0.3]),
        RandBiasField,
        {"coeff_range": (0.1, 0.3)},
    ),
    "contrast": (partial(contrast, gamma=[0.6, 1.7]), RandAdjustContrast, {"gamma": [0.6, 1.7]}),
    "histogram": (
        partial(histogram_shift, num_control_points=6),
        RandHistogramShift,
        {"num_control_points": 6},
    ),
    "resolution": (partial(low_resolution, **ZOOM), RandSimulateLowResolution, ZOOM | LINEAR),
}
CHANGES = [change for change, _, _ in PAIRS.values()]
CHANGES += [partial(gaussian_noise, std=0.08), partial(remapped, num_control_points=[3, 5])]


def image(low=0.05, high=1.3):
    values = np.random.default_rng(0).uniform(low, high, SHAPE)
    return torch.from_numpy(values).float()


def draws(seed):
    return np.random.RandomState(seed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", PAIRS)
def test_the_same_draws_give_monais_picture(name, seed):
    change, oracle, options = PAIRS[name]
    expected = oracle(prob=1.0, **options).set_random_state(seed)(image())
    source = draws(seed)
    source.rand()  # whether at all
    got = change(image(), source)
    torch.testing.assert_close(got, torch.as_tensor(expected), atol=2e-6, rtol=2e-6)
    assert (got - image()).abs().max() > 0.01


def test_noise_has_no_mean_and_the_drawn_strength():
    strengths = []
    for seed in range(200):
        noise = gaussian_noise(image(), draws(seed), std=0.08) - image()
        assert abs(float(noise.mean())) < 5 * 0.08 / np.sqrt(noise.numel())
        assert float(noise.std()) == pytest.approx(draws(seed).uniform(0, 0.08), rel=0.06, abs=1e-4)
        strengths.append(float(noise.std()))
    assert max(strengths) > 0.075
    assert np.mean(strengths) == pytest.approx(0.04, abs=0.005)


def test_noise_is_that_of_a_gaussian_and_of_no_neighbour():
    noise = (gaussian_noise(image(), draws(1), std=0.08) - image())[0]
    standard = ((noise - noise.mean()) / noise.std()).numpy()
    assert (np.abs(standard) < 1).mean() == pytest.approx(0.683, abs=0.02)
    assert (np.abs(standard) < 2).mean() == pytest.approx(0.954, abs=0.02)
    assert abs(np.corrcoef(standard[:, 1:].ravel(), standard[:, :-1].ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("change", CHANGES)
def test_the_given_image_stays_as_it_is(change):
    given = image()
    change(given, draws(0))
    torch.testing.assert_close(given, image(), atol=0, rtol=0)


@pytest.mark.parametrize("change", CHANGES)
def test_other_draws_give_another_picture_and_the_same_draws_the_same(change):
    first, again, other = (change(image(), draws(seed)) for seed in (0, 0, 1))
    torch.testing.assert_close(first, again, atol=0, rtol=0)
    assert not torch.equal(first, other)


def test_a_flat_image_has_no_histogram_to_shift():
    flat = torch.full(SHAPE, 0.4)
    assert torch.equal(histogram_shift(flat, draws(0), num_control_points=6), flat)


def test_contrast_of_a_flat_image_is_the_image():
    flat = torch.full(SHAPE, 0.4)
    torch.testing.assert_close(contrast(flat, draws(0), gamma=[0.6, 1.7]), flat)


def test_a_blob_stays_in_its_place_at_low_resolution():
    """The centre of mass, also of sizes that the zoom does not divide."""
    rows, columns = np.meshgrid(*map(np.arange, SHAPE[1:]), indexing="ij")
    blob = np.exp(-((rows - 44.3) ** 2 + (columns - 27.8) ** 2) / (2 * 6.0**2))
    given = torch.from_numpy(blob)[None].float()
    for seed in range(5):
        low = low_resolution(given, draws(seed), zoom_range=[0.4, 0.6])[0].double().numpy()
        centre = [(low * rows).sum() / low.sum(), (low * columns).sum() / low.sum()]
        np.testing.assert_allclose(centre, [44.3, 27.8], atol=0.1)


def test_inversion_makes_the_darkest_the_brightest():
    given = image()
    got = inverted(given, draws(0))
    assert torch.equal(given, image())
    torch.testing.assert_close(got, given.min() + given.max() - given)
    torch.testing.assert_close(inverted(got, draws(0)), image())


@pytest.mark.parametrize("seed", range(8))
def test_remapping_follows_the_drawn_polygon(seed):
    got = remapped(image(), draws(seed), num_control_points=[3, 5])
    source = draws(seed)
    heights = source.uniform(size=source.randint(3, 6))
    corners = np.interp(heights, [heights.min(), heights.max()], [0.0, 1.0])
    low, high = float(image().min()), float(image().max())
    place = (image().numpy() - low) / (high - low)
    expected = np.interp(place, np.linspace(0, 1, len(corners)), corners) * (high - low) + low
    np.testing.assert_allclose(got.numpy(), expected, atol=5e-6)


def test_remapping_reorders_tissues_and_keeps_the_range():
    ramp = torch.linspace(0.05, 1.3, 1001)[None, None]
    curves = [remapped(ramp, draws(seed), num_control_points=[3, 5]) for seed in range(50)]
    for curve in curves:  # a corner between two samples is missed by little
        assert float(curve.min()) == pytest.approx(0.05, abs=0.01)
        assert float(curve.max()) == pytest.approx(1.3, abs=0.01)
    steps = [curve.diff() for curve in curves]
    assert sum(bool((step > 0).any() and (step < 0).any()) for step in steps) > 25
    assert any(bool((step <= 0).all()) for step in steps)  # an inverted image, but for its shades


@pytest.mark.parametrize("change", [inverted, partial(remapped, num_control_points=[3, 5])])
def test_a_flat_image_stays_flat(change):
    flat = torch.full(SHAPE, 0.4)
    torch.testing.assert_close(change(flat, draws(0)), flat)
