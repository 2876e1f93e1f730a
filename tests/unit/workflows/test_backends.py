"""Exported files in the place of networks; the files are small ones, made with onnx by hand."""

import io
import json
import zipfile

import numpy as np
import onnx
import openvino
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from onnx import TensorProto, helper, numpy_helper

from spine_monai.geometry import spacing_mm
from spine_monai.landmarks import load_registry
from spine_monai.workflows import graphs
from spine_monai.workflows.backends import (
    ExportedPredict,
    exported_predict,
    open_exported,
    open_torchscript,
)
from spine_monai.workflows.bundle import find_bundle, parse_config
from spine_monai.workflows.signature import FORMAT, FORMAT_VERSION, OUTPUTS, SIGNATURE_KEY

THREE = """
name: three
landmarks:
  - {name: L3, kind: vertebra}
  - {name: L3-L4, kind: disc}
  - {name: L4, kind: vertebra}
"""
POINTS_IJ = [[9.0, 30.0], [28.5, 21.25], [np.nan, np.nan]]
SHAPE = (60, 44)
SIGNATURE = {
    "format": FORMAT,
    "format_version": FORMAT_VERSION,
    "calibrated": True,
    "finest_spacing_mm": 0.25,
}


def constant(name, values):
    return helper.make_node(
        "Constant", [], [name], value=numpy_helper.from_array(np.array(values, np.float32))
    )


def by_hand(signature=SIGNATURE):
    """A model that finds the same points in every image, as sure as the image is bright."""
    nodes = [
        constant("points", [POINTS_IJ]),
        constant("radii", [[2.0, 9.0, np.nan]]),
        constant("factors", [[1.0, 0.5, np.nan]]),
        helper.make_node("ReduceMax", ["image"], ["top"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("ReduceMax", ["image"], ["tops"], axes=[2, 3], keepdims=0),
        helper.make_node("Flatten", ["tops"], ["column"], axis=1),
        helper.make_node("Mul", ["column", "factors"], ["confidence"]),
        helper.make_node("Sub", ["column", "column"], ["nothing"]),
        helper.make_node("Add", ["nothing", "radii"], ["radius95_mm"]),
        helper.make_node("ReduceSum", ["spacing_mm"], ["sum"], keepdims=1),
        helper.make_node("Sub", ["sum", "sum"], ["zero"]),
        helper.make_node("Unsqueeze", ["nothing", "axis"], ["nothings"]),
        helper.make_node("Add", ["points", "nothings"], ["spread"]),
        helper.make_node("Add", ["spread", "zero"], ["points_ij"]),
        helper.make_node("Identity", ["top"], ["rival_heat"]),
    ]
    sizes = {
        "points_ij": ["batch", 3, 2],
        "confidence": ["batch", 3],
        "radius95_mm": ["batch", 3],
        "rival_heat": ["batch"],
    }
    graph = helper.make_graph(
        nodes,
        "by hand",
        [
            helper.make_tensor_value_info(
                "image", TensorProto.FLOAT, ["batch", 1, "height", "width"]
            ),
            helper.make_tensor_value_info("spacing_mm", TensorProto.FLOAT, ["batch", 2]),
        ],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, sizes[n]) for n in OUTPUTS],
        [numpy_helper.from_array(np.array([2]), "axis")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if signature is not None:
        model.metadata_props.add(key=SIGNATURE_KEY, value=json.dumps(signature))
    return model


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("exported") / "by_hand.onnx"
    onnx.save(by_hand(), file)
    return file


@pytest.fixture(scope="module")
def zip_file(onnx_file):
    file = onnx_file.with_suffix(".zip")
    graphs.convert_to_openvino(onnx_file, json.dumps(SIGNATURE), file)
    return file


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    file = tmp_path_factory.mktemp("registry") / "three.yaml"
    file.write_text(THREE)
    return load_registry(file)


def affine():
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[0.1, 0, 1], [0, -1, 0], [-1, 0, 0.1]]) * [1.3, 1.7, 4.0]
    matrix[:3, 3] = [-11.0, 62.0, 95.0]
    return matrix


def items(brightness=(0.4, 0.9)):
    return [
        {"image": MetaTensor(torch.full((1, *SHAPE), value), affine=affine())}
        for value in brightness
    ]


def by_simpleitk(points_ij):
    grid = sitk.Image(*SHAPE, 1, sitk.sitkUInt8)
    lps_from_index = np.diag([-1, -1, 1, 1]) @ affine()
    spacing = np.linalg.norm(lps_from_index[:3, :3], axis=0)
    direction = lps_from_index[:3, :3] / spacing
    direction[:, 2] = np.cross(direction[:, 0], direction[:, 1])
    grid.SetSpacing(spacing)
    grid.SetDirection(direction.ravel())
    grid.SetOrigin(lps_from_index[:3, 3])
    return [grid.TransformContinuousIndexToPhysicalPoint((i, j, 0.0)) for i, j in points_ij]


@pytest.mark.parametrize(
    ("kind", "backend"), [("onnx", "onnxruntime"), ("onnx", "openvino"), ("zip", "openvino")]
)
def test_points_become_landmarks_in_the_patient(kind, backend, onnx_file, zip_file, registry):
    file = {"onnx": onnx_file, "zip": zip_file}[kind]
    first, second = ExportedPredict(open_exported(file, backend), registry, 0.6)(items())
    np.testing.assert_allclose(
        second["landmarks"].points_lps[:2], by_simpleitk(POINTS_IJ[:2]), atol=1e-4
    )
    assert second["landmarks"].statuses == ("found", "uncertain", "absent")
    assert first["landmarks"].statuses == ("uncertain", "uncertain", "absent")
    np.testing.assert_allclose(first["landmarks"].confidence[:2], [0.4, 0.2], rtol=1e-6)
    assert second["landmarks"].calibrated
    assert second["landmarks"].level_in_doubt
    assert second["slice_score"].shape == (3,)
    assert second["slice_score"][2] == 0.0


def test_doubt_is_none_where_nothing_rivals(onnx_file, registry):
    predict = ExportedPredict(open_exported(onnx_file, "onnxruntime"), registry, 0.6)
    assert not predict(items([0.01]))[0]["landmarks"].level_in_doubt


def test_pixels_too_small_for_the_graph_are_refused(onnx_file, registry):
    predict = ExportedPredict(open_exported(onnx_file, "onnxruntime"), registry, 0.6)
    small = items([0.5])
    small[0]["image"].affine = torch.from_numpy(affine() * [0.1, 0.1, 1.0, 1.0])
    assert spacing_mm(small[0]["image"].affine)[0] < 0.25
    with pytest.raises(ValueError, match=r"at least 0\.25 mm for an exported file: got 0\.131 mm"):
        predict(small)


def test_an_unknown_backend_is_refused(onnx_file):
    with pytest.raises(ValueError, match=r"one of onnxruntime, openvino: got 'torchscript'"):
        open_exported(onnx_file, "torchscript")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing: .*none\.onnx\. Write it with"):
        open_exported(tmp_path / "none.onnx", "onnxruntime")


def test_a_missing_package_names_the_extra(onnx_file, monkeypatch):
    monkeypatch.setattr(graphs, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'spine_monai\[export\]'"):
        open_exported(onnx_file, "openvino")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x0a\xff\xff\xff"])
def test_a_damaged_file_is_refused(content, backend, tmp_path):
    (tmp_path / "damaged.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged\.onnx must be"):
        open_exported(tmp_path / "damaged.onnx", backend)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_truncated_file_is_refused(backend, onnx_file, tmp_path):
    content = onnx_file.read_bytes()
    (tmp_path / "half.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"half\.onnx must be"):
        open_exported(tmp_path / "half.onnx", backend)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_graph_that_cannot_run_is_refused(backend, tmp_path):
    model = by_hand()
    model.graph.node[-1].op_type = "NoSuchOperation"
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(ValueError, match=r"odd\.onnx must be a graph that .* can run"):
        open_exported(tmp_path / "odd.onnx", backend)


def test_onnxruntime_refuses_openvinos_zip(zip_file):
    with pytest.raises(ValueError, match=r"must be an ONNX file.*--format onnx"):
        open_exported(zip_file, "onnxruntime")


def test_openvino_refuses_another_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("something", "else")
    with pytest.raises(ValueError, match=r"must hold OpenVINO's model\.xml and model\.bin"):
        open_exported(tmp_path / "other.zip", "openvino")


def test_openvino_refuses_a_damaged_model_in_a_zip(zip_file, tmp_path):
    with zipfile.ZipFile(zip_file) as archive:
        weights = archive.read("model.bin")
    with zipfile.ZipFile(tmp_path / "odd.zip", "w") as archive:
        archive.writestr("model.xml", "<net")
        archive.writestr("model.bin", weights)
    with pytest.raises(ValueError, match=r"odd\.zip must be a graph that openvino can run"):
        open_exported(tmp_path / "odd.zip", "openvino")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_file_without_signature_is_refused(backend, tmp_path):
    onnx.save(by_hand(None), tmp_path / "foreign.onnx")
    with pytest.raises(ValueError, match="must be a file of `spine-monai export`"):
        open_exported(tmp_path / "foreign.onnx", backend)


def test_a_zip_without_signature_is_refused(onnx_file, tmp_path):
    model = openvino.convert_model(str(onnx_file))
    openvino.save_model(model, str(tmp_path / "model.xml"))
    with zipfile.ZipFile(tmp_path / "foreign.zip", "w") as archive:
        for name in ("model.xml", "model.bin"):
            archive.write(tmp_path / name, name)
    with pytest.raises(ValueError, match="must be a file of `spine-monai export`"):
        open_exported(tmp_path / "foreign.zip", "openvino")


def test_a_file_that_sends_the_reader_to_others_is_refused(tmp_path):
    model = by_hand()
    weight = numpy_helper.from_array(np.ones(2000, np.float32), "weight")
    model.graph.initializer.append(weight)
    onnx.save(model, tmp_path / "outside.onnx", save_as_external_data=True, size_threshold=0)
    with pytest.raises(ValueError, match="must hold its weights: it names other files"):
        open_exported(tmp_path / "outside.onnx", "onnxruntime")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("backend", "match"),
    [
        ("onnxruntime", r"onnxruntime-gpu installed: got cuda:0.*Add --device cpu"),
        ("openvino", r"device must be cpu for openvino: got cuda:0"),
    ],
)
def test_a_gpu_that_is_not_there_is_refused(backend, match, onnx_file):
    with pytest.raises(ValueError, match=match):
        open_exported(onnx_file, backend, device="cuda:0")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_file_of_another_bundle_is_refused(backend, onnx_file):
    values = {"studies": ["none"], "device": "$torch.device('cpu')"}
    config = parse_config(find_bundle(), "inference.yaml", **values)
    with pytest.raises(ValueError, match=r"its weights_sha256, landmarks, .* differ"):
        exported_predict(onnx_file, backend, config)


def test_a_torchscript_without_signature_is_refused(tmp_path):
    with graphs.quiet():
        torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.ones(2)), str(tmp_path / "relu.pt"))
    with pytest.raises(ValueError, match="must be a file of `spine-monai export`"):
        open_torchscript(tmp_path / "relu.pt")


def test_zips_are_read_without_unpacking(zip_file):
    xml, weights = graphs.read_zipped_openvino(zip_file.read_bytes())
    assert xml.startswith(b"<?xml")
    assert isinstance(io.BytesIO(weights).read(), bytes)
