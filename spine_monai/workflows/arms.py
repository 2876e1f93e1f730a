"""Measure: what each part contributes, on stored predictions of subjects the networks never saw."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spine_monai.data import read_datalist
from spine_monai.data.predictions import fusion_items
from spine_monai.geometry import lps_from_column_row, points_lps_from_ij
from spine_monai.heatmaps import decode_heatmaps
from spine_monai.joint import JointFusion
from spine_monai.landmarks import LandmarkRegistry, load_registry
from spine_monai.metrics import CaseResult, summarize
from spine_monai.workflows.bundle import LANDMARK_SETS, parse_config
from spine_monai.workflows.fitting import decode_item

FUSION_FILE = "train_fusion.yaml"
ARMS = ("coordinates", "heatmap", "product", "fused")


def measure_arms(bundle: Path, datalist: str | Path) -> dict[str, Any]:
    """Score the coordinates, the heatmaps, their product and the chain on the stored predictions.

    What scores a fold is fitted on the others.

    Args:
        bundle: holds the predictions and ``train_fusion.yaml``.
        datalist: the reference points of all levels.

    Returns:
        ``summarize`` of each arm, by its name.
    """
    config = parse_config(bundle, "inference.yaml")
    registry, reported = (load_registry(config.get_parsed_content(k)) for k in LANDMARK_SETS)
    rows = [registry.names.index(name) for name in reported.names]
    items = fusion_items(bundle / "predictions/heatmap", bundle / "predictions/coordinates")
    references = {item["id"]: item["points_lps"] for item in read_datalist(datalist)}
    arms: dict[str, list[CaseResult]] = {name: [] for name in ARMS}
    for fold in sorted({item["fold"] for item in items}):
        joint = fit_without(bundle, {i["subject"] for i in items if i["fold"] == fold})
        for item in (item for item in items if item["fold"] == fold and item["is_whole"]):
            for arm, points_ij in decode_arms(item, joint).items():
                result = case_result(item, points_ij[rows], references[item["id"]])
                arms[arm].append(result)
    summary: dict[str, Any] = {arm: summarize(results, reported) for arm, results in arms.items()}
    return summary | {"errors_mm": _error_table(arms, reported)}


def fit_without(bundle: Path, subjects: Iterable[str], **values: Any) -> JointFusion:
    """Return the fusion of a bundle's stored predictions, fitted without some subjects.

    Args:
        bundle: holds the predictions and ``train_fusion.yaml``.
        subjects: left out.
        **values: further ids of that file.
    """
    parser = parse_config(bundle, FUSION_FILE, exclude=sorted(subjects), **values)
    parser["train::handlers"] = parser["train::handlers"][:1]  # no curves for these fits
    parser.get_parsed_content("initialize")
    parser.get_parsed_content("train::trainer").run()
    joint: JointFusion = parser.get_parsed_content("fit")
    return joint


def decode_arms(item: Mapping[str, Any], joint: JointFusion) -> dict[str, NDArray[np.float64]]:
    """Return (N, 2) points_ij of each arm for one stored prediction."""
    inputs = (item["image"][None], item["predicted_ij"][None], item["spacing_mm"][None])
    points = {
        "coordinates": item["predicted_ij"],
        "heatmap": decode_heatmaps(item["image"].double().sigmoid()),
        "product": joint.fusion.decode(*inputs).points_ij[0],
        "fused": decode_item(joint, item).points_ij[0],
    }
    return {arm: points[arm].double().numpy() for arm in ARMS}


def case_result(
    item: Mapping[str, Any], points_ij: NDArray[np.float64], reference: Mapping[str, Any]
) -> CaseResult:
    """Return points of one stored prediction beside their references.

    Args:
        item: stored prediction.
        points_ij: (N, 2) points of the reported landmarks, in pixels of its grid.
        reference: LPS point of each annotated level, in mm; ``None`` where absent.
    """
    affine = item["ras_from_index"]
    return CaseResult(
        item["id"],
        item["subject"],
        points_lps_from_ij(points_ij, affine),
        {name: np.asarray(point) for name, point in reference.items() if point is not None},
        lps_from_column_row(affine),
    )


def _error_table(
    arms: Mapping[str, Sequence[CaseResult]], registry: LandmarkRegistry
) -> dict[str, dict[str, list[float]]]:
    return {
        arm: {r.case: r.in_plane_errors(registry).round(2).tolist() for r in results}
        for arm, results in arms.items()
    }
