"""The coordinate network that takes the mean place under a map of attention."""

import numpy as np
import pytest
import torch
from monai.transforms import Affine
from torch import nn
from torch.nn import functional as F

from spine_monai.networks import IntegralXception
from spine_monai.networks.integral import look_matrices, mean_fractions, seen_in_looks

H, W = 7, 12


def small(num_landmarks=3, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = IntegralXception(num_landmarks, **({"width": 0.1, "input_size": 96} | options))
    return network.eval()


def attentive(**options):
    """Untrained maps are flat to four digits, and every place the middle; these ones are not."""
    network = small(**options)
    with torch.no_grad():
        network.attention.weight.mul_(1e4)
    return network


def rand(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def logits(scale=4.0):
    return scale * torch.randn(2, 3, H, W, generator=torch.Generator().manual_seed(1))


def test_the_mean_place_is_that_of_numpy():
    maps = logits().double().numpy()
    weights = np.exp(maps) / np.exp(maps).sum((-2, -1), keepdims=True)
    expected = np.stack(
        [
            (weights * ((np.arange(H) + 0.5) / H)[:, None]).sum((-2, -1)),
            (weights * ((np.arange(W) + 0.5) / W)).sum((-2, -1)),
        ],
        axis=-1,
    )
    got = mean_fractions(logits())
    assert got.shape == (2, 3, 2)
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize(("i", "j"), [(0, 0), (6, 0), (2, 11), (3, 5)])
def test_a_single_hot_pixel_gives_its_centre(i, j):
    maps = torch.full((H, W), -1e4)
    maps[i, j] = 1e4
    assert mean_fractions(maps).tolist() == pytest.approx([(i + 0.5) / H, (j + 0.5) / W])


def test_a_flat_map_gives_the_middle_of_the_image():
    middle = torch.full((2, 3, 2), 0.5)
    torch.testing.assert_close(mean_fractions(torch.full((2, 3, H, W), -3.0)), middle)


def test_two_equal_pixels_give_the_place_between_them():
    maps = torch.full((H, W), -1e4)
    maps[1, 2] = maps[4, 9] = 50.0
    assert mean_fractions(maps).tolist() == pytest.approx([3.0 / H, 6.0 / W])


def test_a_gaussian_map_gives_its_centre():
    """Closed form: the logits are a parabola, so the softmax is a normal density."""
    rows, columns = torch.arange(40.0)[:, None], torch.arange(60.0)
    maps = -((rows - 21.3) ** 2) / (2 * 3.0**2) - (columns - 33.8) ** 2 / (2 * 2.0**2)
    expected = [(21.3 + 0.5) / 40, (33.8 + 0.5) / 60]
    assert mean_fractions(maps).tolist() == pytest.approx(expected, abs=1e-5)


def test_only_differences_within_a_map_count():
    offsets = torch.tensor([[-90.0], [0.0], [75.0]])[..., None]
    torch.testing.assert_close(
        mean_fractions(logits() + offsets), mean_fractions(logits()), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_mean_is_taken_in_single_precision(dtype):
    reduced = logits().to(dtype)
    got = mean_fractions(reduced)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, mean_fractions(reduced.float()), atol=0, rtol=0)


def test_a_transposed_map_gives_transposed_fractions():
    """Also a map that does not lie in memory row by row."""
    swapped = mean_fractions(logits().transpose(-1, -2))
    torch.testing.assert_close(swapped, mean_fractions(logits()).flip(-1))


def test_the_gradient_of_the_mean_is_its_closed_form():
    """Of the row: p (row - mean row), p being the softmax."""
    maps = logits().requires_grad_()
    mean_fractions(maps)[..., 0].sum().backward()
    share = logits().flatten(-2).softmax(-1).unflatten(-1, (H, W))
    rows = ((torch.arange(H) + 0.5) / H)[:, None]
    mean = (share * rows).sum((-2, -1), keepdim=True)
    torch.testing.assert_close(maps.grad, share * (rows - mean), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("shape", [(96, 96), (70, 45), (45, 170), (33, 201), (1, 1)], ids=str)
def test_images_of_any_size_have_a_place_for_each_landmark(shape):
    with torch.no_grad():
        places = attentive()(rand(2, 1, *shape))
    assert (places.shape, places.dtype) == ((2, 3, 2), torch.float32)
    assert ((places > 0) & (places < 1)).all()


def test_at_initialisation_the_correction_is_zero():
    """The image is shrunk, so that the smoothing before shows as well."""
    network, images = attentive(), rand(2, 1, 250, 180)
    resized = F.interpolate(images, size=(96, 96), mode="bilinear", antialias=True)
    with torch.no_grad():
        maps = network.attention(network.features(resized))
        expected = mean_fractions(maps)
        torch.testing.assert_close(network(images), expected, atol=1e-4, rtol=0)
    assert (expected - 0.5).abs().max() > 0.05
    assert maps.shape == (2, 3, 3, 3)
    assert not network.correction.weight.any()
    assert not network.correction.bias.any()


def test_the_correction_adds_row_and_column_of_one_landmark_after_the_other():
    network, images = attentive(), rand(2, 1, 40, 50)
    with torch.no_grad():
        before = network(images)
        network.correction.bias.copy_(torch.arange(6.0))
        moved = network(images) - before
    expected = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]).expand(2, 3, 2)
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=0)


class Spot(nn.Module):
    """Features of 4 x 6 pixels whatever the image; one pixel of the first channel is bright."""

    def __init__(self, channels):
        super().__init__()
        self.features = torch.zeros(1, channels, 4, 6)
        self.features[0, 0, 3, 1] = 1.0

    def forward(self, image):
        return self.features


def test_each_map_of_attention_places_its_own_landmark():
    """Landmark 1 looks at the bright pixel; the others' maps are flat."""
    network = small()
    network.features = Spot(network.features.out_channels)
    with torch.no_grad():
        network.attention.weight.zero_()
        network.attention.weight[1, 0] = 1e3
        places = network(rand(1, 1, 20, 30))[0]
    expected = torch.tensor([[0.5, 0.5], [3.5 / 4, 1.5 / 6], [0.5, 0.5]])
    torch.testing.assert_close(places, expected)


def test_the_gradient_reaches_every_parameter():
    """One number for each map changes nothing: a softmax does not see it."""
    network = small().train()
    (network(rand(2, 1, 96, 96)) - rand(2, 3, 2, seed=2)).square().sum().backward()
    gradients = {name: weight.grad for name, weight in network.named_parameters()}
    assert all(grad is not None and torch.isfinite(grad).all() for grad in gradients.values())
    idle = {name for name, grad in gradients.items() if grad.abs().max() < 1e-7}
    assert idle == {"attention.bias"}


def test_the_images_of_a_batch_do_not_mix():
    network, images = attentive(), rand(2, 1, 70, 45)
    with torch.no_grad():
        torch.testing.assert_close(network(images)[1:], network(images[1:]), atol=1e-3, rtol=0)


def test_all_input_channels_are_seen():
    network, first = attentive(in_channels=3), rand(1, 3, 48, 64)
    with torch.no_grad():
        for channel in range(3):
            other = first.clone()
            other[:, channel] = 1 - other[:, channel]
            assert (network(first) - network(other)).abs().max() > 1e-3


def test_dropout_works_on_the_correction_in_training_only():
    network, images = small(dropout=0.5), rand(2, 1, 64, 64)
    with torch.no_grad():
        network.correction.weight.fill_(0.1)
        assert torch.equal(network(images), network(images))
        network.dropout.train()
        torch.manual_seed(0)
        assert not torch.equal(network(images), network(images))
    assert small().dropout.p == 0.0


LOOKS = [(0, 1, 0), (20, 1, 0), (-15, 1, 0), (0, 0.8, 0), (0, 1.2, 0.1), (10, 0.9, -0.1)]


def spots(height, width):
    """An image without symmetry, empty near its edges."""
    image = torch.zeros(2, 1, height, width)
    image[0, 0, height * 2 // 5, width // 3] = 1.0
    image[1, 0, height // 2, width // 2 :][: width // 6] = torch.linspace(0.2, 1, width // 6)
    return F.avg_pool2d(image, 5, stride=1, padding=2)


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_a_look_is_monais_affine(look):
    degrees, zoom, down = look
    images, (height, width) = spots(90, 60), (90, 60)
    seen = seen_in_looks(images, look_matrices([look], height / width))
    common = {"padding_mode": "zeros", "image_only": True}
    turned = Affine(np.deg2rad(degrees), scale_params=(1 / zoom, 1 / zoom), **common)
    moved = Affine(translate_params=(-down * height, 0.0), **common)
    for image, found in zip(images, seen, strict=True):
        expected = moved(turned(image))
        assert (found - expected).abs().max() < 1e-4 * expected.max()
        assert (found - image).abs().max() > 0.5 * image.max() or look == LOOKS[0]


def middle_of_what_is_bright(image):
    """A stand-in for the network: where the image is bright, as (B, 1, 2) edge fractions."""
    rows, columns = ((torch.arange(n) + 0.5) / n for n in image.shape[-2:])
    share = image[:, 0] / image[:, 0].sum((-2, -1), keepdim=True)
    return torch.stack([(share.sum(2) * rows).sum(1), (share.sum(1) * columns).sum(1)], -1)[:, None]


@pytest.mark.parametrize("shape", [(96, 96), (150, 90), (80, 130)], ids=str)
def test_every_look_gives_the_same_place(monkeypatch, shape):
    images = spots(*shape)
    expected = middle_of_what_is_bright(images)
    for look in LOOKS:
        network = small(looks=[look])
        monkeypatch.setattr(network, "_regress", middle_of_what_is_bright)
        torch.testing.assert_close(network(images), expected, atol=3e-3, rtol=0)


@pytest.mark.parametrize("look", [(0, 1), (0, 0, 0), (0, -1, 0), (np.nan, 1, 0), 1], ids=str)
def test_a_look_must_be_three_numbers(look):
    with pytest.raises(ValueError, match=r"looks must be .*: got "):
        small(looks=[(0, 1, 0), look])


def test_the_mean_of_the_looks_counts():
    images = rand(2, 1, 70, 45)
    with torch.no_grad():
        alone = [attentive(looks=[look])(images) for look in LOOKS]
        together = attentive(looks=LOOKS)(images)
    torch.testing.assert_close(together, torch.stack(alone).mean(0), atol=1e-5, rtol=0)
    assert (alone[0] - alone[1]).abs().max() > 1e-3


def test_a_look_as_it_is_changes_nothing():
    images = rand(2, 1, 70, 45)
    with torch.no_grad():
        torch.testing.assert_close(
            attentive(looks=[(0, 1, 0)])(images), attentive()(images), atol=1e-4, rtol=0
        )


def test_training_looks_once_and_the_weights_are_the_same():
    images, network = rand(2, 1, 96, 96), small(looks=LOOKS)
    assert network.state_dict().keys() == small().state_dict().keys()
    torch.testing.assert_close(network.train()(images), small().train()(images))
