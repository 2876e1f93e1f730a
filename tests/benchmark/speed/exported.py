"""The bundle's own networks beside the files that ``export`` makes of them, on the demo slices."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from speed.quantized import quantize
from speed.timing import goal, side_by_side
from spine_monai.landmarks import load_registry
from spine_monai.workflows.backends import ExportedPredict, open_exported, open_torchscript
from spine_monai.workflows.bundle import find_bundle, parse_config
from spine_monai.workflows.exporting import TOLERANCE_MM, compare, export
from spine_monai.workflows.recipe import EvaluatorPredict

# runtime -> format of its file; OpenVINO reads both
RUNTIMES = {
    "TorchScript": "torchscript",
    "ONNX Runtime": "onnx",
    "OpenVINO": "openvino",
    "OpenVINO from ONNX": "onnx",
}
INT8 = "ONNX Runtime, 8-bit integers"
BATCHES = (1, 5, 9)
REPEATS = 7
BUNDLE = "the bundle (torch)"
Predict = Callable[[Sequence[Mapping[str, Any]]], Sequence[Mapping[str, Any]]]


def measure() -> dict[str, Any]:
    """Export the shipped bundle three times, and time what came out beside the bundle."""
    root = find_bundle()
    values = {"studies": [str(root / "sample/datalist.json")], "device": "$torch.device('cpu')"}
    config = parse_config(root, "inference.yaml", **values)
    items = config.get_parsed_content("dataset")[0]
    reference = EvaluatorPredict(config.get_parsed_content("evaluator"))
    with tempfile.TemporaryDirectory() as folder:
        files = {kind: Path(folder) / kind for kind in dict.fromkeys(RUNTIMES.values())}
        for kind, file in files.items():
            export(file, kind)
        sizes = {runtime: files[kind].stat().st_size for runtime, kind in RUNTIMES.items()}
        ways = {BUNDLE: reference} | {
            runtime: _predict(runtime, files[kind]) for runtime, kind in RUNTIMES.items()
        }
        small = quantize(files["onnx"], items, Path(folder) / "int8")
        ways[INT8], sizes[INT8] = _predict("ONNX Runtime", small), small.stat().st_size
    stacks = {count: (list(items) * 2)[:count] for count in BATCHES}
    times = {count: _times(ways, stack) for count, stack in stacks.items()}
    distances = {
        name: compare(way(items), reference(items)).largest_mm for name, way in ways.items()
    }
    rows = [
        {"way": name}
        | {f"{count}_slices_ms": round(times[count][name], 1) for count in BATCHES}
        | {"file_MB": round(sizes[name] / 1e6, 1) if name in sizes else None}
        | {"largest_difference_mm": float(f"{distances[name]:.2g}")}
        for name in ways
    ]
    goals = [
        goal(f"{name}: landmarks of the bundle", distances[name], "<=", TOLERANCE_MM, "mm")
        for name in RUNTIMES
    ]
    return {"title": "Exported files", "rows": rows, "goals": goals, "notes": NOTES}


NOTES = [
    "From preprocessed slices of 251 x 201 pixels to landmarks and slice scores: both networks, "
    "fusion and chain; the files of ONNX and OpenVINO hold weights in half precision or packed, "
    "and compute in float32.",
    "8-bit integers by post-training quantization (static, per channel, all convolutions, "
    "calibrated on these very slices) are not offered: see how far they move a landmark.",
]


def _predict(runtime: str, file: Path) -> Predict:
    if runtime == "TorchScript":
        exported = open_torchscript(file)
    else:
        exported = open_exported(file, "onnxruntime" if runtime == "ONNX Runtime" else "openvino")
    registry = load_registry(exported.signature["landmark_set"])
    return ExportedPredict(exported, registry, exported.signature["min_confidence"])


def _times(ways: Mapping[str, Predict], items: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    calls = {name: partial(predict, items) for name, predict in ways.items()}
    return side_by_side(calls, repeats=REPEATS)
