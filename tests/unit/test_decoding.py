"""Decoding by windows and factors, against the same with every map written out whole."""

import copy
import math
import warnings

import pytest
import torch
from benchmark.speed.full_map import decode_alone, decode_jointly
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from spine_monai.fusion import FusionModel, factors
from spine_monai.fusion import product as product_module
from spine_monai.fusion.windows import FINEST_MM
from spine_monai.joint import JointFusion

B, N, H, W = 3, 5, 97, 66
GROUPS = (0, 1, 0, 1, 0)
SPACING_MM = torch.tensor([[1.1, 1.6], [1.7, 0.9], [1.3, 1.3]])
NAN = math.nan


def smooth_noise(seed, *, height=14.0, shape=(H, W), images=B, landmarks=N):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(images, landmarks, *shape, generator=generator)
    return height * F.avg_pool2d(noise, 7, 1, 3) * 2.5 - 5


def predicted(seed, *, beyond=0.0, shape=(H, W), images=B, landmarks=N):
    """Points on the grid, or so many pixels beyond its border."""
    generator = torch.Generator().manual_seed(100 + seed)
    share = torch.rand(images, landmarks, 2, generator=generator)
    size = torch.tensor([shape[0] - 1.0, shape[1] - 1.0])
    return -beyond + share * (size + 2 * beyond)


def with_nan(logits):
    logits[1, 2, 30, 40] = NAN
    logits[2, 0, 3, 3] = math.inf
    logits[2, 4, 90, 60] = -math.inf
    return logits


def with_plateaus(logits):
    """Two hills a map, as from a network that computes in bfloat16, cut off above and below.

    With fewer peaks than candidates: of many equally high ones any may be taken.
    """
    grid = torch.stack(torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij"), -1)
    centres_ij = torch.rand(B, N, 2, 1, 1, 2) * torch.tensor([H - 1.0, W - 1.0])
    hills = 5 * torch.rand(B, N, 2, 1, 1) - (grid - centres_ij).square().sum(-1) / 40
    return hills.amax(2).bfloat16().float().clamp(-6.0, 2.5)


def flat(logits):
    logits[0] = -3.0
    logits[1, 1] = 2.0
    return logits


CASES = {
    "smooth": (lambda logits: logits, 0.0),
    "sharp noise": (lambda logits: 3 * torch.randn(logits.shape), 0.0),
    "faint": (lambda logits: logits - 40, 0.0),
    "no numbers": (with_nan, 0.0),
    "plateaus": (with_plateaus, 0.0),
    "flat": (flat, 0.0),
    "points beyond the grid": (lambda logits: logits, 45.0),
}


def model_of(temperature=0.3):
    model = FusionModel(N, target_sigma_mm=3.6).eval()
    with torch.no_grad():
        model.prior_sigma_mm.copy_(torch.linspace(5, 16, 2 * N).view(N, 2))
        model.temperature.fill_(temperature)
        model.background_floor.fill_(0.03)
    model.conformal_quantile.fill_(1.2)
    return model


def joint_of(temperature=0.3):
    joint = JointFusion(GROUPS, target_sigma_mm=3.6).eval()
    joint.fusion = model_of(temperature)
    joint.chain.chain_mean_mm.copy_(torch.tensor([[18.0, 2.0], [17.0, -3.0], [19.0, 0], [16.0, 1]]))
    joint.chain.chain_cov_mm2.copy_(torch.tensor([[6.0, 1.0], [1.0, 4.0]]).expand(N - 1, 2, 2))
    return joint


def given(name, seed=0):
    torch.manual_seed(seed)
    change, beyond = CASES[name]
    view_ij = torch.tensor([[4.0, 2.0], [H - 9.0, W - 3.0]]).expand(B, 2, 2)
    return change(smooth_noise(seed)), predicted(seed, beyond=beyond), SPACING_MM, view_ij


def assert_same(ours, whole):
    torch.testing.assert_close(ours.points_ij, whole.points_ij, atol=1e-3, rtol=0, equal_nan=True)
    for name in ("confidence", "radius95_mm", "covariance_mm2", "rival_heat"):
        one, other = getattr(ours, name), getattr(whole, name)
        if other is not None:
            torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4, equal_nan=True, msg=name)


@pytest.mark.parametrize("temperature", [0.09, 1.0, 6.0])
@pytest.mark.parametrize("case", CASES)
def test_each_landmark_alone_is_decoded_as_from_whole_maps(case, temperature):
    model, inputs = model_of(temperature), given(case)
    assert_same(model.decode(*inputs), decode_alone(model, *inputs))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("case", CASES)
def test_all_landmarks_together_are_decoded_as_from_whole_maps(case, seed):
    joint, inputs = joint_of(), given(case, seed)
    ours = joint.decode(*inputs)
    assert_same(ours, decode_jointly(joint, *inputs))
    assert torch.isfinite(ours.points_ij).any()


@pytest.mark.parametrize("decoder", [model_of(), joint_of()], ids=["alone", "together"])
def test_an_image_is_decoded_alike_alone_and_in_a_batch(decoder):
    """Though windows are as large as the finest image of the batch needs."""
    inputs = given("smooth")
    together = decoder.decode(*inputs)
    for image in range(B):
        alone = decoder.decode(*(values[image : image + 1] for values in inputs))
        for one, other in zip(alone, together, strict=True):
            if one is not None:
                torch.testing.assert_close(
                    one, other[image : image + 1], atol=1e-5, rtol=1e-5, equal_nan=True
                )


@pytest.mark.parametrize("decoder", [model_of(), joint_of()], ids=["alone", "together"])
def test_logits_in_channels_last_memory_are_decoded_alike(decoder):
    logits, *others = given("smooth")
    strided = logits.to(memory_format=torch.channels_last)
    assert_same(decoder.decode(strided, *others), decoder.decode(logits, *others))


class Largest(TorchDispatchMode):
    """Remembers the largest memory that an operation returned, but for that of its arguments."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        held = {id_of(value) for value in torch.utils._pytree.tree_leaves((args, kwargs))}
        for value in torch.utils._pytree.tree_leaves(result):
            if isinstance(value, torch.Tensor) and id_of(value) not in held:
                self.bytes = max(self.bytes, value.untyped_storage().nbytes())
        return result


def id_of(value):
    return value.untyped_storage().data_ptr() if isinstance(value, torch.Tensor) else None


@pytest.mark.parametrize("decoder", [model_of(1.0), joint_of(1.0)], ids=["alone", "together"])
def test_no_map_is_written_out_whole(decoder):
    shape = (512, 384)
    inputs = (
        smooth_noise(3, shape=shape, images=1),
        predicted(3, shape=shape, images=1),
        torch.tensor([[0.7, 0.5]]),
    )
    with Largest() as largest:
        decoder.decode(*inputs)
    one_map = inputs[0][0, 0].numel() * 4
    assert 0 < largest.bytes < 2.5 * one_map  # of five
    with Largest() as largest, torch.no_grad():
        product = factors(*inputs[:2], 9.0, inputs[2])
        product.log_map()
    assert largest.bytes >= 5 * one_map


@pytest.mark.parametrize("decoder", [model_of(), joint_of()], ids=["alone", "together"])
def test_no_number_is_read_back_off_the_cpu(decoder):
    """Tensors without memory raise where a value is asked for."""
    inputs = [values.to("meta") for values in given("smooth")]
    fused = copy.deepcopy(decoder).to("meta").decode(*inputs)
    assert fused.points_ij.shape == (B, N, 2)
    assert fused.radius95_mm.shape == fused.confidence.shape == (B, N)
    with pytest.raises(RuntimeError, match="meta"):
        fused.confidence.sum().item()


class Sent(TorchFunctionMode):
    """Counts tensors that are made of the host's numbers: a GPU waits for each one."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.count += function in (torch.tensor, torch.Tensor.new_tensor, torch.as_tensor)
        return function(*args, **(kwargs or {}))


class Operations(TorchDispatchMode):
    """Counts what a GPU would be asked to do, one after the other."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("decoder", [model_of(), joint_of()], ids=["alone", "together"])
def test_hardly_any_number_is_sent_off_the_cpu(decoder):
    inputs = [values.to("meta") for values in given("smooth")]
    elsewhere = copy.deepcopy(decoder).to("meta")
    with Sent() as sent:
        elsewhere.decode(*inputs)
    assert sent.count <= 2  # the sigma, which is there already, and the chain's prior
    with Sent() as sent:
        inputs[0].new_tensor([1.0])
    assert sent.count == 1


def test_off_the_cpu_more_landmarks_are_no_more_operations():
    counts = []
    for landmarks in (5, 11):
        inputs = [torch.empty(1, landmarks, 512, 512), torch.empty(1, landmarks, 2)]
        inputs = [values.to("meta") for values in [*inputs, torch.empty(1, 2)]]
        model = FusionModel(landmarks).to("meta")
        with Operations() as operations:
            model.decode(*inputs)
        counts.append(operations.count)
    assert counts[0] == counts[1] > 10


class Outputs(torch.nn.Module):
    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, *inputs):
        return tuple(v for v in self.decoder.decode(*inputs) if v is not None)


def traced(decoder, inputs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates its tracer
        return torch.jit.trace(Outputs(decoder), tuple(inputs), check_trace=False)


@pytest.mark.parametrize("decoder", [model_of(), joint_of()], ids=["alone", "together"])
def test_a_graph_recorded_on_one_image_decodes_others(decoder):
    """Another number of images, at other spacings, with other points."""
    graph = traced(decoder, [values[:1] for values in given("smooth")])
    for case in ("smooth", "points beyond the grid", "no numbers"):
        inputs = given(case, seed=2)
        expected = Outputs(decoder)(*inputs)
        for one, other in zip(graph(*inputs), expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4, equal_nan=True)


@pytest.mark.parametrize("decoder", [model_of(), joint_of()], ids=["alone", "together"])
def test_a_graph_gives_no_points_for_images_finer_than_its_windows(decoder):
    logits, points_ij, spacing_mm, view_ij = given("smooth")
    graph = traced(decoder, (logits, points_ij, spacing_mm, view_ij))
    spacing_mm = spacing_mm.clone()
    spacing_mm[1, 1] = 0.9 * FINEST_MM
    outputs = graph(logits, points_ij, spacing_mm, view_ij)
    for values in outputs:
        assert torch.isnan(values[1]).all()
        assert torch.isfinite(values[0]).any()


def test_results_can_be_worked_on_with_gradients():
    fused = joint_of().decode(*given("smooth"))
    weight = torch.ones((), requires_grad=True)
    (weight * fused.points_ij.nan_to_num(0.0)).sum().backward()
    assert weight.grad is not None
    assert not any(v is not None and (v.is_inference() or v.requires_grad) for v in fused)


def test_what_is_left_out_is_negligible(monkeypatch):
    """Whatever part of the maps is gone over, the mass is that of the whole."""
    model, (logits, points_ij, spacing_mm, _) = model_of(0.2), given("smooth")
    product = model.factors(logits, points_ij, spacing_mm)
    expected = (product.log_map() / 0.2).flatten(2).double().logsumexp(-1).float()
    for at_once in (1, 2**30):
        monkeypatch.setattr(product_module, "AT_ONCE", at_once)
        torch.testing.assert_close(model.log_masses(product), expected, atol=5e-5, rtol=1e-5)
