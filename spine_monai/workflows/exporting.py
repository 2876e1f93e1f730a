"""Export: a bundle as one file, from image to points and confidences, checked before it appears."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from torch import nn

from spine_monai.files import write_whole
from spine_monai.geometry import spacing_mm
from spine_monai.landmarks import LandmarkSet, load_registry
from spine_monai.locator import CoarseToFineLocator, WholeImageLocator
from spine_monai.transforms.decode import plain
from spine_monai.workflows.backends import (
    Exported,
    ExportedPredict,
    open_exported,
    open_torchscript,
)
from spine_monai.workflows.bundle import find_bundle, parse_config
from spine_monai.workflows.causes import root_cause
from spine_monai.workflows.coarse_to_fine import CoarseToFine
from spine_monai.workflows.graphs import (
    Example,
    require_export,
    write_onnx,
    write_openvino,
    write_torchscript,
)
from spine_monai.workflows.recipe import EvaluatorPredict
from spine_monai.workflows.signature import signature_of
from spine_monai.workflows.slice_choice import Item

logger = logging.getLogger(__name__)

DEMO_DATALIST = "sample/datalist.json"
TOLERANCE_MM = 0.1
CONFIDENCE_TOLERANCE = 1e-3
KEPT = 0.6  # of the rows, where the lower part is cut off
NEEDS: Mapping[str, tuple[str, ...]] = {
    "torchscript": (),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
}
FORMATS = tuple(NEEDS)


@dataclass(frozen=True)
class Agreement:
    """How far an exported file's landmarks lie from those of the bundle itself.

    Args:
        slices: how many were compared.
        largest_mm: largest distance of a landmark.
        largest_confidence: largest difference of a confidence.
        problems: what is not equal, in words; empty for a good file.
    """

    slices: int
    largest_mm: float
    largest_confidence: float
    problems: tuple[str, ...] = ()


def export(
    file: str | Path,
    format: str,  # noqa: A002 - the user's word
    *,
    bundle: str | Path | None = None,
    study: str | Path | None = None,
) -> Agreement:
    """Write a bundle as one file and check it against the bundle on a real study.

    Args:
        file: where to write; it appears whole and checked, or not at all.
        format: ``torchscript``, ``onnx`` or ``openvino``.
        bundle: folder of the bundle; see ``find_bundle``.
        study: what to check on; the bundle's demo study, else the shipped one's, if not given.

    Returns:
        How well the file agrees with the bundle.

    Raises:
        ImportError: what the format needs is not installed.
        ValueError: the format or the bundle is wrong, or the file's landmarks are not the bundle's.
        OSError: the file cannot be written.
    """
    if format not in NEEDS:
        msg = f"format must be one of {', '.join(FORMATS)}: got {format!r}."
        raise ValueError(msg)
    require_export(*NEEDS[format])
    root = find_bundle(bundle)
    config = _parse(root, study or _demo_study(root))
    try:
        locator, case = locator_of(config), _Case(config)
    except RuntimeError as error:
        raise root_cause(error) from None
    text = json.dumps(signature_of(config))
    agreements = []

    def fill(path: Path) -> None:
        _writer(format, locator)(locator, case.example, text, path)
        agreements.append(_check(path, format, case))

    write_whole(Path(file), fill)
    return agreements[0]


def locator_of(config: Any) -> nn.Module:
    """Return a bundle's networks and fusion as one module.

    Args:
        config: the bundle's parsed ``inference.yaml``.

    Raises:
        ValueError: the bundle's iteration is none that a graph is known for.
    """
    iteration = config.get_parsed_content("iteration")
    known, reported = (
        load_registry(config.get_parsed_content(name)).names
        for name in ("landmark_set", "reported_set")
    )
    rows = [known.index(name) for name in reported]
    ids = ("coordinates_network", "network", "fusion")
    coordinates, heatmaps, fusion = (config.get_parsed_content(n).cpu().eval() for n in ids)
    if iteration is None:
        return WholeImageLocator(coordinates, heatmaps, fusion, rows).eval()
    if not isinstance(iteration, CoarseToFine):
        msg = "iteration must be CoarseToFine or none for a bundle that is exported: got "
        msg += f"{type(iteration).__name__}."
        raise ValueError(msg)
    sizes = {name: config.get_parsed_content(name) for name in ("canvas_size", "window_size")}
    return CoarseToFineLocator(coordinates, heatmaps, fusion, rows, **sizes).eval()


def compare(
    found: Sequence[Mapping[str, Any]],
    reference: Sequence[Mapping[str, Any]],
) -> Agreement:
    """Say how far the landmarks of slices lie from the reference's.

    Args:
        found: ``landmarks`` of each slice.
        reference: the same, of the bundle's own networks.
    """
    pairs = [(a["landmarks"], b["landmarks"]) for a, b in zip(found, reference, strict=True)]
    distances = [np.linalg.norm(a.points_lps - b.points_lps, axis=-1) for a, b in pairs]
    largest_mm = _largest(distances)
    confidence = _largest([np.abs(a.confidence - b.confidence) for a, b in pairs])
    problems = []
    if any(_absent(a) != _absent(b) for a, b in pairs):
        problems.append("other landmarks are absent")
    if largest_mm > TOLERANCE_MM:
        problems.append(f"a landmark lies {largest_mm:.3g} mm away")
    if confidence > CONFIDENCE_TOLERANCE:
        problems.append(f"a confidence differs by {confidence:.2g}")
    return Agreement(len(pairs), largest_mm, confidence, tuple(problems))


def _check(path: Path, format: str, case: "_Case") -> Agreement:  # noqa: A002
    """Compare a file with the bundle on all slices, on one, and where landmarks are absent."""
    opened = _open(path, format)
    predict = ExportedPredict(opened, case.registry, opened.signature["min_confidence"])
    agreements = [compare(predict(items), case.reference(items)) for items in case.batches]
    problems = [problem for agreement in agreements for problem in agreement.problems]
    if problems:
        msg = f"the exported {format} must give the landmarks of the bundle: {'; '.join(problems)}."
        msg += " Nothing was written. Use another format, or other versions of what writes it."
        raise ValueError(msg)
    return Agreement(
        sum(agreement.slices for agreement in agreements),
        max(agreement.largest_mm for agreement in agreements),
        max(agreement.largest_confidence for agreement in agreements),
    )


class _Case:
    """A study to check on, and what the bundle's own networks find.

    Args:
        config: the bundle's parsed ``inference.yaml``, with one study.
    """

    def __init__(self, config: Any) -> None:
        prepared = config.get_parsed_content("dataset")[0]
        self.items: Sequence[Item] = prepared if isinstance(prepared, list) else [prepared]
        self.reference = EvaluatorPredict(config.get_parsed_content("evaluator"))
        self.registry = load_registry(config.get_parsed_content("reported_set"))
        self.is_any_size = config["iteration"] is not None

    @property
    def batches(self) -> list[Sequence[Item]]:
        """All slices; one alone; all without their lower part; and all black there, all absent."""
        black = [_black_below(item["image"]) for item in self.items]
        cut = [item["image"][:, : _most(item["image"])] for item in self.items]
        views = [black, cut] if self.is_any_size else [black]
        return [self.items, self.items[:1], *([{"image": i} for i in view] for view in views)]

    @property
    def example(self) -> Example:
        """Two images, (2, 1, H, W), and their spacing: the first slice, twice."""
        image = self.items[0]["image"]
        spacing = torch.from_numpy(spacing_mm(image.affine.cpu())[:2]).float()
        return plain(image).float().expand(2, 1, -1, -1).contiguous(), spacing.repeat(2, 1)


def _black_below(image: MetaTensor) -> MetaTensor:
    image = image.clone()
    image[:, _most(image) :] = 0.0
    return image


def _most(image: MetaTensor) -> int:
    """Rows from the head down to where some landmarks are still in view."""
    return int(KEPT * image.shape[1])


def _open(path: Path, format: str) -> Exported:  # noqa: A002
    if format == "torchscript":
        return open_torchscript(path)
    return open_exported(path, "onnxruntime" if format == "onnx" else "openvino")


def _writer(format: str, locator: nn.Module) -> Callable[..., None]:  # noqa: A002
    if format == "torchscript":
        return write_torchscript
    write = write_onnx if format == "onnx" else write_openvino
    return partial(write, is_any_size=isinstance(locator, CoarseToFineLocator))


def _parse(root: Path, study: str | Path) -> Any:
    values = {"studies": [str(study)], "device": "$torch.device('cpu')"}
    return parse_config(root, "inference.yaml", **values, inference_precision="float32")


def _demo_study(root: Path) -> Path:
    own = root / DEMO_DATALIST
    return own if own.is_file() else find_bundle() / DEMO_DATALIST


def _largest(values: Sequence[Any]) -> float:
    return float(np.nanmax(np.concatenate(values), initial=0.0))


def _absent(landmarks: LandmarkSet) -> list[bool]:
    return [status == "absent" for status in landmarks.statuses]
