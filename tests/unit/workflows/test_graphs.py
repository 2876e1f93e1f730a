"""Graphs of a small locator with a real fusion, run by the real runtimes."""

import zipfile

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch.nn import functional as F

from spine_monai.fusion import FusionModel
from spine_monai.locator import CoarseToFineLocator
from spine_monai.networks import IntegralXception
from spine_monai.workflows import graphs
from spine_monai.workflows.backends import open_exported, open_torchscript
from spine_monai.workflows.graphs import (
    InPlainWords,
    convert_to_openvino,
    require_export,
    write_onnx,
    write_torchscript,
)
from spine_monai.workflows.signature import FORMAT, FORMAT_VERSION, SIGNATURE_KEY, USE

SIGNATURE = f'{{"format": "{FORMAT}", "format_version": {FORMAT_VERSION}, "note": "é"}}'
SHAPE = (44, 37)
SPACING = (1.21, 1.34)
RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino"}


class Fractions(torch.nn.Module):
    """Edge fractions, shrunk with antialiasing as the coordinate networks do it."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(12 * 10, 6)
        with torch.no_grad():
            self.head.weight.mul_(0.2).copy_(self.head.weight.half().float())
            self.head.bias.fill_(0.5)

    def forward(self, image):
        small = F.interpolate(image, size=(12, 10), mode="bilinear", antialias=True)
        return self.head(small.flatten(1)).unflatten(1, (3, 2))


class Maps(torch.nn.Module):
    """Three bright heatmaps; one weight is none that half precision can hold."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.linspace(9.1, 14.7, 300)[:, None, None, None])

    def forward(self, image):
        blurred = F.avg_pool2d(image, 5, 1, 2)
        return torch.cat([blurred * self.scale[n] - 4 for n in (0, 150, 299)], 1)


def example(shape=SHAPE, count=2):
    rng = np.random.default_rng(5)
    noise = torch.from_numpy(rng.random((count, 1, *shape))).float()
    return F.avg_pool2d(noise, 7, 1, 3) * 2, torch.tensor(SPACING).repeat(count, 1)


@pytest.fixture(scope="module")
def locator():
    torch.manual_seed(3)
    fusion = FusionModel(3, target_sigma_mm=3.0)
    parts = (Fractions(), Maps(), fusion, (2, 0))
    return CoarseToFineLocator(*parts, canvas_size=(40, 48), window_size=(32, 24)).eval()


@pytest.fixture(scope="module")
def files(locator, tmp_path_factory):
    folder = tmp_path_factory.mktemp("graphs")
    write_onnx(locator, example(), SIGNATURE, folder / "onnx", is_any_size=True)
    convert_to_openvino(folder / "onnx", SIGNATURE, folder / "openvino")
    write_torchscript(locator, example(), SIGNATURE, folder / "torchscript")
    return folder


def opened(files, kind):
    file = files / kind
    return open_torchscript(file) if kind == "torchscript" else open_exported(file, RUNTIMES[kind])


@pytest.mark.parametrize("kind", ["torchscript", "onnx", "openvino"])
@pytest.mark.parametrize(("shape", "count"), [(SHAPE, 2), (SHAPE, 1), ((31, 60), 5)])
def test_a_graph_finds_what_the_locator_finds(kind, shape, count, files, locator):
    images, spacing = example(shape, count)
    found = opened(files, kind).run(images.numpy(), spacing.numpy())
    with torch.no_grad():
        expected = locator(images, spacing)
    assert np.isfinite(found[0]).all()
    for array, tensor in zip(found, expected, strict=True):
        np.testing.assert_allclose(array, tensor.numpy(), atol=2e-3)


def looking(looks):
    """A locator whose coordinate network sees an image so often; its places spread."""
    torch.manual_seed(3)
    coordinates = IntegralXception(3, width=0.1, input_size=96, looks=looks)
    with torch.no_grad():
        coordinates.attention.weight.mul_(1e4)
    parts = (coordinates, Maps(), FusionModel(3, target_sigma_mm=3.0), (2, 0))
    return CoarseToFineLocator(*parts, canvas_size=(40, 48), window_size=(32, 24)).eval()


@pytest.mark.parametrize("count", [1, 3])
def test_several_looks_are_in_every_file(count, tmp_path):
    looks = [(0, 1, 0), (10, 0.9, 0.05)]
    write_onnx(looking(looks), example(), SIGNATURE, tmp_path / "onnx", is_any_size=True)
    convert_to_openvino(tmp_path / "onnx", SIGNATURE, tmp_path / "openvino")
    write_torchscript(looking(looks), example(), SIGNATURE, tmp_path / "torchscript")
    images, spacing = example(count=count)
    with torch.no_grad():
        expected, once = (looking(own)(images, spacing)[0].numpy() for own in (looks, ()))
    assert np.abs(expected - once).max() > 0.1
    for kind in ("torchscript", "onnx", "openvino"):
        found = opened(tmp_path, kind).run(images.numpy(), spacing.numpy())
        np.testing.assert_allclose(found[0], expected, atol=5e-3)


@pytest.mark.parametrize("kind", ["torchscript", "onnx", "openvino"])
def test_the_signature_is_inside(kind, files):
    assert opened(files, kind).signature["note"] == "é"


def test_openvino_reads_onnx_too(files, locator):
    images, spacing = example()
    found = open_exported(files / "onnx", "openvino").run(images.numpy(), spacing.numpy())
    with torch.no_grad():
        expected = locator(images, spacing)
    np.testing.assert_allclose(found[0], expected.points_ij, atol=2e-3)


def test_onnx_is_valid_says_what_it_is_and_nothing_of_the_machine(files):
    model = onnx.load(files / "onnx")
    onnx.checker.check_model(model, full_check=True)
    assert model.doc_string == USE
    assert {entry.key for entry in model.metadata_props} == {SIGNATURE_KEY}
    sizes = [size.dim_param for size in model.graph.input[0].type.tensor_type.shape.dim]
    assert sizes == ["batch", "", "height", "width"]
    assert b"/site-packages/" not in (files / "onnx").read_bytes()
    assert b"graphs.py" not in (files / "onnx").read_bytes()


def test_weights_are_halved_only_where_nothing_is_lost(files, locator):
    stored = {t.name: t for t in onnx.load(files / "onnx").graph.initializer}
    assert stored["coordinates.head.weight_half"].data_type == TensorProto.FLOAT16
    halved = numpy_helper.to_array(stored["coordinates.head.weight_half"])
    np.testing.assert_array_equal(halved, locator.coordinates.head.weight.detach())
    assert stored["heatmaps.scale"].data_type == TensorProto.FLOAT


def test_torchscript_does_not_depend_on_the_files_name(files, locator, tmp_path):
    named = tmp_path / ".a name.of its own"
    write_torchscript(locator, example(), SIGNATURE, named)
    with zipfile.ZipFile(named) as archive, zipfile.ZipFile(files / "torchscript") as other:
        assert archive.namelist()[0] == other.namelist()[0]
    assert open_torchscript(named).signature["note"] == "é"


def test_openvino_is_one_zip_of_two_files(files):
    with zipfile.ZipFile(files / "openvino") as archive:
        assert archive.namelist() == ["model.xml", "model.bin"]


@pytest.mark.parametrize(("before", "after"), [((40, 48), (12, 10)), ((21, 20), (33, 20))])
def test_antialiasing_in_plain_words_is_torchs(before, after):
    image = torch.rand((2, 1, *before), generator=torch.Generator().manual_seed(0))
    options = {"size": after, "mode": "bilinear", "antialias": True}
    expected = F.interpolate(image, **options)
    with InPlainWords():
        torch.testing.assert_close(F.interpolate(image, **options), expected)


def test_interpolation_without_antialiasing_stays():
    image = torch.rand(1, 1, 9, 7)
    expected = F.interpolate(image, scale_factor=2)
    with InPlainWords():
        torch.testing.assert_close(F.interpolate(image, scale_factor=2), expected)


def test_the_logarithm_of_a_sigmoid_in_plain_words_is_exact_everywhere():
    logits = torch.linspace(-300, 80, 40001)
    exact = F.logsigmoid(logits.double())
    with InPlainWords():
        found = F.logsigmoid(logits)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.double(), exact, rtol=2e-5, atol=0)
    assert (found.diff() >= 0).all(), "a plateau or a dip would move peaks"


def test_a_hypotenuse_in_plain_words_is_torchs():
    with InPlainWords():
        found = torch.hypot(torch.tensor([3.0, 0.0]), torch.tensor([4.0, -2.0]))
    torch.testing.assert_close(found, torch.tensor([5.0, 2.0]))


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(graphs, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"onnx, openvino.*pip install 'spine_monai\[export\]'"):
        require_export("onnx", "openvino")
