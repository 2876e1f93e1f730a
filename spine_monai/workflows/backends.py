"""Run an exported file: ONNX Runtime or OpenVINO in the place of the bundle's own networks.

Both formats are data: reading a file runs no code of it. TorchScript archives are programs, so
``localize`` does not take them; ``open_torchscript`` is for files that one has written oneself.
"""

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spine_monai.geometry import points_lps_from_ij, spacing_mm
from spine_monai.landmarks import LandmarkRegistry, LandmarkSet, load_registry
from spine_monai.transforms import ScoreSliced
from spine_monai.transforms.decode import plain
from spine_monai.transforms.fuse import DOUBTFUL_HEAT
from spine_monai.workflows.graphs import quiet, read_zipped_openvino, require_export
from spine_monai.workflows.signature import (
    OUTPUTS,
    SIGNATURE_KEY,
    check_same_bundle,
    read_signature,
)

BACKENDS = ("onnxruntime", "openvino")
Arrays = Sequence[NDArray[np.float32]]


@dataclass(frozen=True)
class Exported:
    """An exported file, ready to run.

    Args:
        signature: what the file says about itself.
        run: from (B, 1, H, W) images and (B, 2) spacing to the arrays of ``Located``.
    """

    signature: Mapping[str, Any]
    run: Callable[[NDArray[np.float32], NDArray[np.float32]], Arrays]


class ExportedPredict:
    """An exported file as a ``Predict``: from the slices of one case to their landmarks.

    Args:
        exported: the file.
        registry: names of its landmarks.
        min_confidence: below it a landmark is ``uncertain``.
    """

    def __init__(
        self, exported: Exported, registry: LandmarkRegistry, min_confidence: float
    ) -> None:
        self.exported, self.registry = exported, registry
        self.min_confidence = min_confidence
        self.score = ScoreSliced("image")

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Return ``landmarks`` and ``slice_score`` of each slice.

        Args:
            items: each with ``image``, a preprocessed (1, H, W) MetaTensor; all of one size.

        Raises:
            ValueError: the pixels are smaller than the file can decode.
        """
        images, spacing = batch_of(items)
        finest_mm = self.exported.signature["finest_spacing_mm"]
        if spacing.min() < finest_mm:
            msg = f"pixels must be at least {finest_mm:g} mm for an exported file: got "
            msg += f"{spacing.min():.3g} mm. Use --backend torch."
            raise ValueError(msg)
        arrays = self.exported.run(images, spacing)
        return [self._output(item, *found) for item, *found in zip(items, *arrays, strict=True)]

    def _output(
        self, item: Mapping[str, Any], points_ij: Any, confidence: Any, radius95_mm: Any, heat: Any
    ) -> Mapping[str, Any]:
        image = item["image"]
        landmarks = LandmarkSet(
            self.registry,
            points_lps=points_lps_from_ij(points_ij, image.affine.cpu()),
            confidence=confidence.astype(np.float64),
            radius95_mm=radius95_mm.astype(np.float64),
            calibrated=self.exported.signature["calibrated"],
            min_confidence=self.min_confidence,
            level_in_doubt=bool(heat > DOUBTFUL_HEAT),
        )
        output: Mapping[Any, Any] = self.score({"image": image, "landmarks": landmarks})
        return output


def batch_of(items: Sequence[Mapping[str, Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return what an exported file takes: (B, 1, H, W) images and (B, 2) spacing in mm."""
    images = torch.stack([plain(item["image"]).float() for item in items]).numpy()
    steps_mm = [spacing_mm(item["image"].affine.cpu())[:2] for item in items]
    return images, np.stack(steps_mm).astype(np.float32)


def exported_predict(model: str | Path, backend: str, config: Any) -> ExportedPredict:
    """Open an exported file for the bundle that it was made from.

    Args:
        model: the file.
        backend: ``onnxruntime`` or ``openvino``.
        config: the bundle's parsed ``inference.yaml``, with the caller's values in it.

    Raises:
        ImportError: the backend is not installed.
        ValueError: there is no such backend or device, the file is damaged or of another kind, or
            it was exported from another bundle.
        FileNotFoundError: there is no such file.
    """
    file = Path(model)
    device = str(config.get_parsed_content("device"))
    exported = open_exported(file, backend, device=device)
    check_same_bundle(exported.signature, config, file)
    registry = load_registry(config.get_parsed_content("reported_set"))
    return ExportedPredict(exported, registry, config.get_parsed_content("min_confidence"))


def open_exported(file: Path, backend: str, *, device: str = "cpu") -> Exported:
    """Open an exported file; OpenVINO reads ONNX too.

    Args:
        file: written by ``spine-monai export``.
        backend: ``onnxruntime`` or ``openvino``.
        device: ``cpu``, or ``cuda:0`` ... with ONNX Runtime.

    Raises:
        ImportError: the backend is not installed.
        ValueError: there is no such backend or device, or the file is damaged or of another kind.
        FileNotFoundError: there is no such file.
    """
    if backend not in BACKENDS:
        msg = f"backend must be torch or one of {', '.join(BACKENDS)}: got {backend!r}."
        raise ValueError(msg)
    require_export("onnx", backend)
    if not file.is_file():
        msg = f"exported file is missing: {file}. Write it with `spine-monai export`."
        raise FileNotFoundError(msg)
    opener = _open_onnxruntime if backend == "onnxruntime" else _open_openvino
    return opener(file, device)


def open_torchscript(file: Path) -> Exported:
    """Open a TorchScript file that one has written oneself: unlike the others it holds code."""
    extra = {SIGNATURE_KEY: ""}
    with quiet():
        module = torch.jit.load(str(file), map_location="cpu", _extra_files=extra)

    def run(images: NDArray[np.float32], spacing: NDArray[np.float32]) -> Arrays:
        with torch.no_grad():
            outputs = module(torch.from_numpy(images), torch.from_numpy(spacing))
        return [output.numpy() for output in outputs]

    return Exported(read_signature(_text(extra[SIGNATURE_KEY]), file), run)


def _open_onnxruntime(file: Path, device: str) -> Exported:
    import onnxruntime

    content = file.read_bytes()
    signature = read_signature(_onnx_signature(content, file), file)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    providers = _providers(device, onnxruntime.get_available_providers())
    with _runnable(file, "onnxruntime"):
        session = onnxruntime.InferenceSession(content, options, providers=providers)

    def run(images: NDArray[np.float32], spacing: NDArray[np.float32]) -> Arrays:
        outputs: Arrays = session.run(list(OUTPUTS), {"image": images, "spacing_mm": spacing})
        return outputs

    return Exported(signature, run)


def _open_openvino(file: Path, device: str) -> Exported:
    import openvino

    if device != "cpu":
        msg = f"device must be cpu for openvino: got {device}. Add --device cpu."
        raise ValueError(msg)
    core = openvino.Core()
    content = file.read_bytes()
    exact = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    is_zip = zipfile.is_zipfile(file)
    parts = _zipped(content, file) if is_zip else (content, b"")
    text = None if is_zip else _onnx_signature(content, file)
    with _runnable(file, "openvino"):
        model = core.read_model(*parts)
        if is_zip and model.has_rt_info([SIGNATURE_KEY]):
            text = model.get_rt_info([SIGNATURE_KEY]).astype(str)
        compiled = core.compile_model(model, "CPU", exact)

    def run(images: NDArray[np.float32], spacing: NDArray[np.float32]) -> Arrays:
        outputs = compiled({"image": images, "spacing_mm": spacing})
        return [outputs[name] for name in OUTPUTS]

    return Exported(read_signature(text, file), run)


@contextmanager
def _runnable(file: Path, backend: str) -> Iterator[None]:
    """Turn what a runtime says of a graph, each in errors of its own, into one error."""
    try:
        yield
    except Exception as error:
        msg = f"{file} must be a graph that {backend} can run: it is damaged, or made by other "
        msg += "versions. Export the bundle again."
        raise ValueError(msg) from error


def _onnx_signature(content: bytes, file: Path) -> str | None:
    """What an ONNX file says about itself; files that send the reader to others are refused."""
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # whatever protobuf says of bytes that are none
        msg = f"{file} must be an ONNX file: it is damaged, or of another kind. Export the bundle "
        msg += "with --format onnx."
        raise ValueError(msg) from error
    if any(tensor.external_data for tensor in model.graph.initializer):
        msg = f"{file} must hold its weights: it names other files. Export the bundle again."
        raise ValueError(msg)
    return {entry.key: entry.value for entry in model.metadata_props}.get(SIGNATURE_KEY)


def _zipped(content: bytes, file: Path) -> tuple[bytes, bytes]:
    try:
        return read_zipped_openvino(content)
    except (KeyError, zipfile.BadZipFile) as error:
        msg = f"{file} must hold OpenVINO's model.xml and model.bin: it is damaged, or of another "
        msg += "kind. Export the bundle with --format openvino or onnx."
        raise ValueError(msg) from error


def _providers(device: str, available: Sequence[str]) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    kind, _, number = device.partition(":")
    if kind != "cuda" or "CUDAExecutionProvider" not in available:
        msg = f"device must be cpu, or cuda with onnxruntime-gpu installed: got {device}, and "
        msg += f"onnxruntime has {', '.join(available)}. Add --device cpu."
        raise ValueError(msg)
    options = {"device_id": number or "0", "use_tf32": "0"}
    return [("CUDAExecutionProvider", options), "CPUExecutionProvider"]


def _text(extra: str | bytes) -> str:
    return extra.decode("utf-8") if isinstance(extra, bytes) else extra
