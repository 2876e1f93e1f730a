"""A locator as a graph: TorchScript, ONNX or OpenVINO.

ONNX comes from ``torch.export``, which refuses what a graph cannot say, where tracing would fix it
in silence; OpenVINO is converted from that ONNX. Weights are stored in half precision where that
loses nothing, as for weights that were loaded from half precision.
"""

import io
import logging
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from spine_monai.workflows.signature import OUTPUTS, SIGNATURE_KEY, USE

OPSET = 18
LARGEST_BATCH, SMALLEST_PX, LARGEST_PX = 4096, 16, 4096
WORTH_HALVING = 256  # values of a tensor
BRIGHT = 5.0  # logit above which two terms of a series are as exact as a logarithm near 1
XML, BIN = "model.xml", "model.bin"
SIZES = ("batch", "channel", "height", "width")
Example = tuple[Tensor, Tensor]


def require_export(*packages: str) -> None:
    """Check that packages of the extra for exported files are installed.

    Raises:
        ImportError: one is not.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        msg = f"exported files need {', '.join(missing)}, which is not installed: "
        msg += "pip install 'spine_monai[export]'."
        raise ImportError(msg)


def write_torchscript(locator: nn.Module, example: Example, text: str, file: Path) -> None:
    """Trace, freeze and save; ``text`` goes in as an extra file."""
    with torch.no_grad(), quiet():
        traced = torch.jit.trace(locator, example, check_trace=False, strict=False)
        frozen = torch.jit.freeze(traced.eval())
        buffer = io.BytesIO()  # a file's name would go into it, and not every name may
        torch.jit.save(frozen, buffer, _extra_files={SIGNATURE_KEY: text})
    file.write_bytes(buffer.getvalue())


def write_onnx(
    locator: nn.Module, example: Example, text: str, file: Path, *, is_any_size: bool
) -> None:
    """Write an ONNX file with its weights inside and ``text`` among its metadata.

    Args:
        locator: from images and spacing to ``Located``.
        example: (B, 1, H, W) images, B of at least 2, and (B, 2) spacing.
        text: the file's signature.
        file: where to write.
        is_any_size: whether the graph shall take images of any H and W.
    """
    require_export("onnx", "onnxscript")
    model = _onnx_model(locator, example, is_any_size=is_any_size)
    model.producer_name, model.doc_string = "spine_monai", USE
    model.metadata_props.add(key=SIGNATURE_KEY, value=text)
    file.write_bytes(model.SerializeToString())


def write_openvino(
    locator: nn.Module, example: Example, text: str, file: Path, *, is_any_size: bool
) -> None:
    """Write a zip of OpenVINO's two files; arguments as for ``write_onnx``."""
    require_export("onnx", "onnxscript", "openvino")
    with tempfile.TemporaryDirectory() as folder:
        onnx_file = Path(folder) / "model.onnx"
        write_onnx(locator, example, text, onnx_file, is_any_size=is_any_size)
        convert_to_openvino(onnx_file, text, file)


def convert_to_openvino(onnx_file: Path, text: str, file: Path) -> None:
    """Write a zip of OpenVINO's two files from an ONNX file; ``text`` goes into its ``rt_info``."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        model = openvino.Core().read_model(str(onnx_file))  # convert_model would report home
        model.set_rt_info(text, [SIGNATURE_KEY])
        # Its own half precision would make numbers of NaN, so of absent landmarks.
        openvino.save_model(model, str(Path(folder) / XML), compress_to_fp16=False)
        with zipfile.ZipFile(file, "w") as archive:
            for name in (XML, BIN):
                content = (Path(folder) / name).read_bytes()
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


class InPlainWords(TorchFunctionMode):
    """Puts operations that every runtime has in place of equal ones that it lacks or does badly."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return _PLAIN_WORDS.get(function, function)(*args, **(kwargs or {}))


def _log_sigmoid(logits: Tensor) -> Tensor:
    """Return the logarithm of the sigmoid, at most 2e-5 of the value off.

    ONNX has log(sigmoid(x)), minus infinity from -104 on; OpenVINO's softplus, without log1p, makes
    plateaus of bright peaks.
    """
    decay = (-logits.clamp_min(BRIGHT)).exp()
    return torch.where(logits > BRIGHT, decay * (0.5 * decay - 1), -F.softplus(-logits))


def _hypot(first: Tensor, second: Tensor) -> Tensor:
    return (first.square() + second.square()).sqrt()


def _interpolate(image: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """OpenVINO's antialiasing is another one; to a fixed size it is two products of matrices."""
    if not kwargs.get("antialias") or kwargs.get("mode") != "bilinear" or args:
        return F.interpolate(image, *args, **kwargs)
    before, after = (int(side) for side in image.shape[-2:]), kwargs["size"]
    down, along = (
        image.new_tensor(_antialiasing(*sizes)) for sizes in zip(before, after, strict=True)
    )
    return down @ image @ along.mT


def _antialiasing(before: int, after: int) -> list[list[float]]:
    """(after, before) weights of the triangle filter, as wide as a pixel of the result."""
    scale = before / after
    centres = (np.arange(after) + 0.5)[:, None] * scale
    distances = np.abs(np.arange(before) + 0.5 - centres) / max(scale, 1.0)
    weights = np.maximum(1 - distances, 0)
    rows: list[list[float]] = (weights / weights.sum(1, keepdims=True)).tolist()
    return rows


_PLAIN_WORDS: dict[Any, Callable[..., Any]] = {
    F.interpolate: _interpolate,
    F.logsigmoid: _log_sigmoid,
    torch.hypot: _hypot,
}


def _onnx_model(locator: nn.Module, example: Example, *, is_any_size: bool) -> Any:
    batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
    of_image: dict[int, Any] = {0: batch}
    if is_any_size:
        for axis, name in ((2, "height"), (3, "width")):
            of_image[axis] = torch.export.Dim(name, min=SMALLEST_PX, max=LARGEST_PX)
    shapes = (of_image, {0: batch})
    with torch.no_grad(), quiet():
        with InPlainWords():
            program = torch.export.export(locator, example, dynamic_shapes=shapes, strict=False)
        onnx_program = torch.onnx.export(
            program,
            (),
            dynamo=True,
            input_names=["image", "spacing_mm"],
            output_names=list(OUTPUTS),
            opset_version=OPSET,
            optimize=False,  # runtimes do; here norms would go into weights, no longer halves
            verbose=False,
        )
    if onnx_program is None:
        msg = "torch.onnx.export must give a program: got none. Use another version of torch."
        raise ValueError(msg)
    return _with_halved_weights(_with_known_types(_without_traces(onnx_program.model_proto)))


def _without_traces(model: Any) -> Any:
    """Leave out where in whose source code each node came from, and name the free sizes."""
    graph = model.graph
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output, graph, model):
        del part.metadata_props[:]
    del graph.value_info[:]
    names: dict[str, str] = {}
    for value in graph.input:
        for size, name in zip(value.type.tensor_type.shape.dim, SIZES, strict=False):
            if size.dim_param:
                names.setdefault(size.dim_param, name)
    for value in (*graph.input, *graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = names[size.dim_param]
    return model


def _with_known_types(model: Any) -> Any:
    """Name the type of every cast: runtimes fold no constants through casts to another's type."""
    from onnx import helper, shape_inference

    inferred = shape_inference.infer_shapes(model).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {tensor.name: tensor.data_type for tensor in inferred.initializer}
    for node in model.graph.node:
        if node.op_type == "CastLike" and types.get(node.input[1]):
            to = types[node.input[1]]
            node.CopyFrom(helper.make_node("Cast", node.input[:1], node.output, to=to))
    return model


def _with_halved_weights(model: Any) -> Any:
    """Store in half precision what is not changed by it, and widen it where it is used."""
    from onnx import TensorProto, helper, numpy_helper

    widen = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if values.size < WORTH_HALVING or not np.array_equal(half.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}_half"))
        widen.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    nodes = [*widen, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the exporters say about themselves."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def read_zipped_openvino(content: bytes) -> tuple[bytes, bytes]:
    """Return OpenVINO's two files out of a zip.

    Raises:
        KeyError: they are not in it.
        zipfile.BadZipFile: it is no zip, or a damaged one.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read(XML), archive.read(BIN)
