"""Convolutions with weights laid out once, against PyTorch's own."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spine_monai.networks import packed
from spine_monai.networks.packed import LAYOUTS_KEPT, PackedConv2d, is_packable, pack

pytestmark = pytest.mark.skipif(
    not packed._has_operators(), reason="this processor has no such operators"
)


def image(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 6, 3, stride=(2, 1), padding=(1, 0)),
        nn.Conv2d(4, 6, (3, 5), dilation=2, bias=False),
        nn.Conv2d(4, 6, 3, groups=2, padding="same"),
        nn.Conv2d(4, 8, 3, groups=4, padding="valid"),
        nn.Conv2d(1, 16, 7, padding=3),
        nn.Conv2d(4, 6, 1),
    ],
)
def test_each_kind_of_convolution_gives_the_same(convolution):
    features = image(2, convolution.in_channels, 17, 22)
    output = PackedConv2d(convolution)(features)
    close(output, convolution(features))
    assert output.is_contiguous(memory_format=torch.channels_last)


def test_activations_are_applied_in_the_same_pass():
    convolution, features = nn.Conv2d(3, 5, 3), image(2, 3, 11, 14)
    plain = convolution(features)
    close(PackedConv2d(convolution, nn.ReLU())(features), plain.relu())
    close(PackedConv2d(convolution, nn.LeakyReLU(0.3))(features), F.leaky_relu(plain, 0.3))


def test_inputs_of_any_layout_and_precision_are_taken():
    convolution, features = nn.Conv2d(3, 5, 3), image(2, 3, 11, 14)
    ours = PackedConv2d(convolution)
    for given in (features, features.contiguous(memory_format=torch.channels_last)):
        close(ours(given), convolution(features))
    close(ours(features.repeat(1, 1, 2, 1)[:, :, 3:14]), convolution(features.roll(-3, 2)))
    close(ours(features.double()), convolution(features))


@pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this processor has no bfloat16"
)
def test_weights_in_bfloat16_compute_in_it():
    convolution = nn.Conv2d(3, 5, 3)
    ours = PackedConv2d(convolution.to(torch.bfloat16))
    output = ours(image(2, 3, 11, 14))
    assert output.dtype == torch.bfloat16
    expected = convolution.float()(image(2, 3, 11, 14))
    torch.testing.assert_close(output.float(), expected, atol=0.03, rtol=0.03)


def test_only_the_last_few_layouts_are_kept():
    ours = PackedConv2d(nn.Conv2d(3, 5, 3))
    for height in range(8, 14):
        ours(image(1, 3, height, 9))
    assert [shape[2] for shape in ours.layout.known] == list(range(14 - LAYOUTS_KEPT, 14))
    close(ours(image(1, 3, 8, 9)), F.conv2d(image(1, 3, 8, 9), ours.weight, ours.bias))


def test_a_layout_is_made_once_for_a_shape():
    made = []
    layouts = packed.Layouts(lambda shape: made.append(shape) or shape)
    for shape in [(1, 2), (3, 4), (1, 2), (3, 4)]:
        assert layouts(torch.Size(shape)) == shape
    assert made == [(1, 2), (3, 4)]


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(2, 3, 2, padding="same"),
        nn.Conv1d(2, 3, 3),
        nn.ConvTranspose2d(2, 3, 2),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 3, 3)),
        nn.Conv2d(2, 3, 3, device="meta"),
        nn.Conv2d(2, 3, 3, dtype=torch.float64),
    ],
)
def test_other_modules_are_left_alone(module):
    assert not is_packable(module)


def test_a_network_is_packed_with_its_activations():
    network = nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.Dropout(0.5)),
        nn.LeakyReLU(0.2),
        nn.Conv2d(4, 3, 1),
        nn.Sigmoid(),
    ).eval()
    expected = network(image(2, 2, 9, 12))
    pack(network)
    kinds = [type(step).__name__ for step in network]
    assert kinds == ["Sequential", "Identity", "PackedConv2d", "Sigmoid"]
    close(network(image(2, 2, 9, 12)), expected)


def test_a_convolution_in_two_places_stays_one_and_keeps_the_activation_apart():
    shared = nn.Conv2d(2, 2, 3, padding=1)
    network = nn.Sequential(shared, nn.ReLU(), shared)
    expected = network(image(2, 2, 9, 12))
    pack(network)
    assert network[0] is network[2]
    close(network(image(2, 2, 9, 12)), expected)


def test_bfloat16_is_packed_where_the_processor_has_it_alone(monkeypatch):
    convolution = nn.Conv2d(2, 3, 3, dtype=torch.bfloat16)
    for is_supported in (False, True):
        monkeypatch.setattr(
            torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda is_it=is_supported: is_it
        )
        assert is_packable(convolution) is is_supported


def test_nothing_is_packed_where_the_operators_are_missing(monkeypatch):
    monkeypatch.setattr(packed.platform, "machine", lambda: "riscv64")
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU())
    pack(network)
    assert [type(step) for step in network] == [nn.Conv2d, nn.ReLU]
