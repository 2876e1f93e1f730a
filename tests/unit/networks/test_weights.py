"""Weights in and out of files."""

import os
import pickle

import pytest
import torch
from monai.networks.nets import DynUNet

from spine_monai.networks import Xception, load_weights, save_weights, with_output_bias


def layers(seed=0, hidden=5):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(4, hidden), torch.nn.BatchNorm1d(hidden), torch.nn.Linear(hidden, 3)
    )


def unet(seed=0):
    """The bundle's heatmap network, small."""
    torch.manual_seed(seed)
    return DynUNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=3,
        filters=[8, 16, 24],
        kernel_size=[3, 3, 3],
        strides=[1, 2, 2],
        upsample_kernel_size=[2, 2],
        norm_name=["group", {"num_groups": 8}],
    ).eval()


class Command:
    """Pickles as a shell command that leaves a trace."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("make", [layers, unet])
def test_weights_survive_a_file_to_half_precision(make, tmp_path):
    saved = make(seed=1)
    save_weights(saved, tmp_path / "model.pt")
    loaded = load_weights(make(seed=2), tmp_path / "model.pt")
    for name, value in saved.state_dict().items():
        expected = value.half().to(value.dtype) if value.is_floating_point() else value
        assert torch.equal(loaded.state_dict()[name], expected), name
        assert loaded.state_dict()[name].dtype == value.dtype, name


def test_a_reloaded_network_gives_the_same_picture(tmp_path):
    saved, image = unet(seed=1), torch.rand(2, 1, 16, 24, generator=torch.manual_seed(0))
    save_weights(saved, tmp_path / "model.pt")
    loaded = load_weights(unet(seed=2), tmp_path / "model.pt")
    torch.testing.assert_close(loaded(image), saved(image), atol=0.02, rtol=0.02)


def test_the_file_is_a_plain_state_dict_in_half_precision_with_whole_counters(tmp_path):
    save_weights(layers(), tmp_path / "model.pt")
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    dtypes = {value.dtype for name, value in state.items() if "num_batches" not in name}
    assert dtypes == {torch.float16}
    assert state["1.num_batches_tracked"].dtype == torch.int64


def test_saving_does_not_change_the_network(tmp_path):
    network = layers()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    save_weights(network, tmp_path / "model.pt")
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.dtype == before[name].dtype


def test_tensors_that_the_unet_holds_twice_are_stored_once(tmp_path):
    network = unet()
    named = sum(value.numel() for value in network.state_dict().values())
    stored = sum(weight.numel() for weight in network.parameters())
    assert named > 1.9 * stored
    save_weights(network, tmp_path / "once.pt")
    separate = {name: value.half().clone() for name, value in network.state_dict().items()}
    torch.save(separate, tmp_path / "twice.pt")
    saved_bytes = (tmp_path / "twice.pt").stat().st_size - (tmp_path / "once.pt").stat().st_size
    assert saved_bytes >= 2 * (named - stored)


def test_folders_are_made_and_nothing_else_is_left(tmp_path):
    save_weights(layers(), str(tmp_path / "models" / "model.pt"))
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["model.pt"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_weights_of_any_precision_are_loaded(dtype, tmp_path):
    saved, file = layers(seed=1).to(dtype), tmp_path / "model.pt"
    torch.save(saved.state_dict(), file)
    network = layers(seed=2)
    assert load_weights(network, str(file)) is network
    assert network[0].weight.dtype == torch.float32
    assert torch.equal(network[0].weight, saved[0].weight.float())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"weights file is missing: .*none\.pt"):
        load_weights(layers(), tmp_path / "none.pt")


@pytest.mark.parametrize("save", [torch.save, lambda o, f: f.write_bytes(pickle.dumps(o, 2))])
def test_code_in_a_file_is_refused_and_never_run(save, tmp_path):
    trace, file = tmp_path / "trace", tmp_path / "model.pt"
    save({"0.weight": Command(trace)}, file)
    with pytest.raises(ValueError, match=r"model\.pt must be .* damaged or holds code"):
        load_weights(layers(), file)
    assert not trace.exists()


def test_a_whole_network_is_refused(tmp_path):
    torch.save(layers(), tmp_path / "model.pt")
    with pytest.raises(ValueError, match="damaged or holds code"):
        load_weights(layers(), tmp_path / "model.pt")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.98])
def test_a_file_that_ends_early_is_refused(share, tmp_path):
    file = tmp_path / "model.pt"
    save_weights(layers(), file)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"model\.pt must be .* damaged"):
        load_weights(layers(), file)


def test_a_pointer_in_place_of_the_file_is_refused(tmp_path):
    file = tmp_path / "model.pt"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")
    with pytest.raises(ValueError, match=r"model\.pt must be .* damaged"):
        load_weights(layers(), file)


@pytest.mark.parametrize(
    ("content", "kind"),
    [([torch.ones(2)], "list"), (torch.ones(2), "Tensor"), ({"epoch": 3}, "dict")],
)
def test_a_file_that_is_no_state_dict_is_refused(content, kind, tmp_path):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=rf"must be a state dict \(name -> tensor\): got {kind}"):
        load_weights(layers(), tmp_path / "model.pt")


def test_weights_of_another_width_are_refused_and_nothing_is_changed(tmp_path):
    save_weights(layers(hidden=6), tmp_path / "model.pt")
    network = layers(seed=1)
    with pytest.raises(ValueError, match=r"must hold the 9 tensors of Sequential: got 9, 7 of"):
        load_weights(network, tmp_path / "model.pt")
    assert torch.equal(network[0].weight, layers(seed=1)[0].weight)


@pytest.mark.parametrize(("drop", "add"), [(["2.bias"], {}), ([], {"3.bias": torch.ones(1)})])
def test_missing_and_unknown_weights_are_refused_with_the_first_name(drop, add, tmp_path):
    state = layers().state_dict() | add
    torch.save({k: v for k, v in state.items() if k not in drop}, tmp_path / "model.pt")
    first = (drop + list(add))[0]
    with pytest.raises(ValueError, match=rf"got {9 - len(drop) + len(add)}, 1 of .*first: {first}"):
        load_weights(layers(), tmp_path / "model.pt")


def test_a_bias_shifts_every_pixel_of_the_heatmaps_by_as_much():
    network, image = unet(), torch.rand(2, 1, 16, 24, generator=torch.manual_seed(0))
    flat = with_output_bias(network, 0.0)(image).detach()
    assert with_output_bias(network, -6.0) is network
    torch.testing.assert_close(network(image), flat - 6)


def test_each_landmark_may_have_its_own_bias():
    image = torch.rand(2, 1, 16, 24, generator=torch.manual_seed(0))
    flat = with_output_bias(unet(), 0.0)(image)
    biased = with_output_bias(unet(), [-6.0, -5.0, 2.0])(image)
    shift = torch.tensor([-6.0, -5.0, 2.0])[:, None, None].expand_as(flat)
    torch.testing.assert_close(biased - flat, shift, atol=1e-5, rtol=1e-5)


def test_a_coordinate_network_starts_at_the_mean_shape():
    shape = torch.tensor([[0.2, 0.5], [0.4, 0.55], [0.7, 0.45]])
    network = with_output_bias(Xception(3, width=0.05, input_size=32), shape).eval()
    with torch.no_grad():
        network.head.weight.zero_()
    assert torch.equal(network(torch.rand(2, 1, 30, 40)), shape.expand(2, 3, 2))
    assert network.head.bias.requires_grad


def test_a_view_of_a_tensor_is_stored_as_itself(tmp_path):
    network = torch.nn.Linear(3, 2)
    network.register_buffer("first_row", network.weight.data[:1])
    save_weights(network, tmp_path / "model.pt")
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    assert state["first_row"].shape == (1, 3)


@pytest.mark.parametrize("bias", [[1.0, 2.0, 3.0], []])
def test_a_bias_of_another_size_is_refused(bias):
    with pytest.raises(ValueError, match="bias must be one value or 2"):
        with_output_bias(torch.nn.Linear(3, 2), bias)
    with pytest.raises(ValueError, match="bias must be one value or 0"):
        with_output_bias(torch.nn.ReLU(), 1.0)


def test_a_state_dict_of_other_keys_is_refused(tmp_path):
    torch.save({1: torch.ones(2)}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="must be a state dict"):
        load_weights(torch.nn.Linear(3, 2), tmp_path / "model.pt")
