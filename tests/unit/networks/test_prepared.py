"""Networks made ready for inference, against the same networks as they were trained."""

import copy

import pytest
import torch
from monai.networks.nets import BasicUNet, DynUNet
from torch import nn

from spine_monai.networks import (
    AutocastInferer,
    FCN8s,
    HRNet,
    IntegralXception,
    SpatialConfigurationNet,
    StackedHourglass,
    Xception,
    bands,
    load_weights,
    prepare,
    save_weights,
    winograd,
)
from spine_monai.networks.winograd import WinogradConv2d

DYNUNET = {
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 3,
    "kernel_size": [3, 3, 3],
    "strides": [1, 2, 2],
    "upsample_kernel_size": [2, 2],
    "filters": [8, 16, 128],
    "norm_name": ("group", {"num_groups": 4}),
}
NETWORKS = {
    "BasicUNet": lambda: BasicUNet(2, 1, 3, features=(8, 16, 128, 128, 16, 8), norm="batch"),
    "DynUNet": lambda: DynUNet(**DYNUNET),
    "Xception": lambda: Xception(3, width=0.1, input_size=64),
    "IntegralXception": lambda: IntegralXception(3, width=0.1, input_size=64),
    "FCN8s": lambda: FCN8s(3, width=0.05),
    "HRNet": lambda: HRNet(3, width=8, stem_channels=8),
    "StackedHourglass": lambda: StackedHourglass(3, channels=32, depth=2),
    "SpatialConfigurationNet": lambda: SpatialConfigurationNet(3, channels=16),
}


def make(name):
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2.0)
    return network


def images(batch=2, size=(64, 96)):
    return torch.rand((batch, 1, *size), generator=torch.Generator().manual_seed(1))


def relative(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize("name", NETWORKS)
def test_in_float32_every_network_gives_the_same(name, monkeypatch):
    monkeypatch.setattr(winograd, "LARGE", 64)
    monkeypatch.setattr(bands, "BAND_BYTES", 60_000)
    network = make(name)
    with torch.no_grad():
        expected = network(images())
    output = prepare(network, "float32")(images())
    assert output.dtype == torch.float32
    assert relative(output, expected) < 1e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_in_bfloat16_every_network_is_as_near_as_under_autocast(name):
    network = make(name)
    with torch.no_grad():
        expected = network(images(1, (64, 64)))
        autocast = AutocastInferer("bfloat16")(images(1, (64, 64)), network)
    output = prepare(network, "bfloat16")(images(1, (64, 64)))
    assert output.dtype == torch.float32
    assert 0 < relative(output, expected) < 1.5 * relative(autocast, expected)


def test_coordinates_in_bfloat16_are_finer_than_bfloat16s_own_steps():
    """Near 0.5 the steps are 1/512, two pixels of a thousand; the last layer is float32."""
    network = make("Xception")
    nn.init.normal_(network.head.weight, 0, 1e-3)
    nn.init.constant_(network.head.bias, 0.51)
    output = prepare(network, "bfloat16")(images())
    assert not torch.equal(output, output.bfloat16().float())


def test_weights_of_wide_layers_are_converted_once_and_narrow_layers_stay_exact():
    ready = prepare(make("BasicUNet"), "bfloat16")
    weights = [weight for weight in ready.state_dict().values() if weight.ndim == 4]
    is_wide = [min(weight.shape[:2]) >= 64 for weight in weights]
    assert 0 < sum(is_wide) < len(is_wide)
    for weight, wide in zip(weights, is_wide, strict=True):
        assert weight.dtype == (torch.bfloat16 if wide else torch.float32)


def test_the_original_is_unchanged_and_shares_nothing():
    network = make("BasicUNet").train()
    before = copy.deepcopy(network.state_dict())
    kinds = [type(module) for module in network.modules()]
    ready = prepare(network, "float32")
    assert [type(module) for module in network.modules()] == kinds
    assert network.training
    expected = ready(images())
    with torch.no_grad():
        for name, value in network.state_dict().items():
            assert torch.equal(value, before[name]), name
        for weight in network.parameters():
            weight.zero_()
    assert torch.equal(ready(images()), expected)


def test_weights_files_are_loaded_before_and_the_result_is_ready(tmp_path):
    saved = make("BasicUNet")
    save_weights(saved, tmp_path / "model.pt")
    network = load_weights(NETWORKS["BasicUNet"](), tmp_path / "model.pt")
    ready = prepare(network, "float32")
    with torch.no_grad():
        assert relative(ready(images()), network.eval()(images())) < 1e-5
    assert load_weights(network, tmp_path / "model.pt") is network


def test_wide_layers_are_transformed():
    network = make("BasicUNet")
    wide = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    wide = [m for m in wide if m.in_channels >= 128 and m.out_channels >= 128]
    ready = prepare(network, "float32")
    assert sum(isinstance(m, WinogradConv2d) for m in ready.modules()) == len(wide) == 7


def test_a_training_mode_network_is_run_as_in_inference():
    network = make("Xception")
    expected = prepare(network, "float32")(images())
    assert torch.equal(prepare(network.train(), "float32")(images()), expected)


def test_engines_cannot_switch_it_to_training():
    ready = prepare(make("Xception"), "float32")
    expected = ready(images())
    ready.train()
    assert not any(module.training for module in ready.network.modules())
    assert torch.equal(ready(images()), expected)


def test_outputs_can_be_worked_on_like_any_tensor():
    output = prepare(make("BasicUNet"), "float32")(images())
    assert not output.is_inference()
    assert not output.requires_grad
    output.add_(1.0)
    output.requires_grad_().sum().backward()


def test_large_batches_run_in_parts_of_a_bounded_size(monkeypatch):
    from spine_monai.networks.prepared import Prepared

    seen = []

    class Remembers(nn.Module):
        def forward(self, features):
            seen.append(len(features))
            return features.flatten(1).mean(1, keepdim=True)

    monkeypatch.setattr("spine_monai.networks.prepared.PIXELS_AT_ONCE", 3 * 64 * 96 + 5)
    output = Prepared(Remembers(), torch.float32)(images(7))
    assert seen == [3, 3, 1]
    torch.testing.assert_close(output, images(7).flatten(1).mean(1, keepdim=True))
    Prepared(Remembers(), torch.float32)(images(2, (200, 100)))
    assert seen[3:] == [1, 1]
    looking = Remembers()
    looking.looks = [(0, 1, 0), (10, 1, 0)]  # makes two images of each
    seen.clear()
    Prepared(looking, torch.float32)(images(3))
    assert seen == [1, 1, 1]


def test_a_wrong_precision_is_refused():
    with pytest.raises(ValueError, match=r"precision must be .* got 'half'"):
        prepare(make("Xception"), "half")
