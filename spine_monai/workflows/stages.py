"""Train: all stages in order, from a datalist to a complete bundle, with its figures."""

import json
import logging
import os
import platform
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from spine_monai import __version__
from spine_monai.data import read_datalist
from spine_monai.data.predictions import fusion_items
from spine_monai.files import write_text
from spine_monai.fusion import FusionModel
from spine_monai.geometry import lps_from_column_row, points_lps_from_ij
from spine_monai.heatmaps import decode_heatmaps
from spine_monai.landmarks import LandmarkRegistry, load_registry
from spine_monai.metrics import CaseResult, summarize
from spine_monai.workflows.bundle import find_bundle, parse_config
from spine_monai.workflows.causes import root_cause

logger = logging.getLogger(__name__)

STAGES = ("train_heatmap.yaml", "train_coordinates.yaml", "train_fusion.yaml")
WORKFLOWS = (*STAGES, "inference.yaml")
COPIED = ("configs/metadata.json", "configs/logging.conf", "docs/README.md", "LICENSE")
METRICS_FILE = "metrics.json"


def train(
    datalist: str | Path,
    output_dir: str | Path,
    *,
    variant: str | Path | None = None,
    bundle: str | Path | None = None,
    exclude: Sequence[str] = (),
    **values: Any,
) -> dict[str, Any]:
    """Train both networks, fit the fusion, and measure the three arms on the held-out fold.

    Every stage goes on from its last checkpoint, so an interrupted run is started again with the
    same words.

    Args:
        datalist: cases with landmarks and folds.
        output_dir: becomes a complete bundle: configs, models, predictions, metrics.
        variant: name of an overlay in the bundle's ``configs/variants``, or a YAML file.
        bundle: the bundle whose configuration is used; see ``find_bundle``.
        exclude: subjects that nothing is trained or fitted on; they are measured where held out.
        **values: further ids of the workflow files, put into those that have them.

    Returns:
        The figures that ``metrics.json`` holds, by arm.

    Raises:
        ValueError: the datalist, the variant or the bundle is wrong.
    """
    read_datalist(datalist)
    root = Path(output_dir)
    prepare_bundle(find_bundle(bundle), root, variant)
    given = {"datalist": str(Path(datalist).resolve()), "exclude": list(exclude), **values}
    for stage in STAGES:
        run_stage(root, stage, given)
    words = f"spine-monai train --datalist {Path(datalist).name} --out DIR"
    words += " --exclude " + " ".join(exclude) if exclude else ""
    metrics = circumstances(words, exclude) | measure_arms(root, datalist, exclude)
    write_text(root / METRICS_FILE, json.dumps(metrics, indent=1) + "\n")
    return metrics


def circumstances(command: str, exclude: Sequence[str]) -> dict[str, Any]:
    """Return what must stand beside every figure: machine, load, versions, command.

    Args:
        command: what prints the figures.
        exclude: subjects that nothing was trained or fitted on.
    """
    return {
        "command": command,
        "held_out": "the stored predictions' folds; each subject scored by a fusion without it",
        "never_fitted_on": list(exclude),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "threads": torch.get_num_threads(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "software": {"spine_monai": __version__, "torch": torch.__version__},
    }


def prepare_bundle(source: Path, target: Path, variant: str | Path | None = None) -> None:
    """Make a bundle without weights: the source's files, a variant's values merged into them.

    Raises:
        ValueError: there is no such variant, or no file has one of its ids.
    """
    for name in COPIED:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
    texts = {n: (source / "configs" / n).read_text(encoding="utf-8") for n in WORKFLOWS}
    overlay = _read_variant(source, variant, texts.values()) if variant else {}
    for name, text in texts.items():
        merged = f"# {name} with the variant {variant}.\n" + _merged(text, overlay)
        write_text(target / "configs" / name, merged if overlay else text)


def run_stage(bundle: Path, file: str, values: Mapping[str, Any]) -> None:
    """Run one training file of a bundle with those of the values whose ids it has."""
    from monai.bundle import ConfigWorkflow

    logger.info("stage %s", file)
    config = yaml.safe_load((bundle / "configs" / file).read_text(encoding="utf-8"))
    known = {name: value for name, value in values.items() if name in config}
    workflow = ConfigWorkflow(
        str(bundle / "configs" / file),
        workflow_type="train",
        logging_file=False,
        bundle_root=str(bundle),
        **known,
    )
    try:
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    except RuntimeError as error:
        raise root_cause(error) from None


def measure_arms(bundle: Path, datalist: str | Path, exclude: Sequence[str] = ()) -> dict[str, Any]:
    """Score coordinates alone, heatmaps alone and their fusion on the stored predictions.

    The fusion that scores a subject is fitted on the others, without the excluded ones.

    Args:
        bundle: holds the predictions and ``train_fusion.yaml``.
        datalist: the reference points of all levels.
        exclude: subjects that no fusion is fitted on.

    Returns:
        ``summarize`` of each arm, by its name.
    """
    registry = load_registry(parse_config(bundle, "inference.yaml")["landmark_set"])
    items = fusion_items(bundle / "predictions/heatmap", bundle / "predictions/coordinates")
    references = {item["id"]: item["points_lps"] for item in read_datalist(datalist)}
    arms: dict[str, list[CaseResult]] = {"coordinates": [], "heatmap": [], "fused": []}
    for subject in sorted({item["subject"] for item in items}):
        fusion = _fit_without(bundle, [subject, *exclude])
        for item in (item for item in items if item["subject"] == subject):
            for arm, points_ij in _decode(item, fusion).items():
                arms[arm].append(_case_result(item, points_ij, references[item["id"]]))
    summary: dict[str, Any] = {arm: summarize(results, registry) for arm, results in arms.items()}
    return summary | {"errors_mm": _error_table(arms, registry)}


def _fit_without(bundle: Path, subjects: Sequence[str]) -> FusionModel:
    parser = parse_config(bundle, "train_fusion.yaml", exclude=list(subjects))
    parser["train::handlers"] = parser["train::handlers"][:1]  # no curves for these fits
    parser.get_parsed_content("initialize")
    parser.get_parsed_content("train::trainer").run()
    fusion: FusionModel = parser.get_parsed_content("network")
    return fusion.cpu().eval()


def _decode(item: Mapping[str, Any], fusion: FusionModel) -> dict[str, NDArray[np.float64]]:
    """(N, 2) points_ij of each arm."""
    logits, predicted_ij = item["image"][None], item["predicted_ij"][None]
    fused = fusion.decode(logits, predicted_ij, item["spacing_mm"][None])
    heatmap_ij = decode_heatmaps(logits.double().sigmoid())
    return {
        "coordinates": predicted_ij[0].double().numpy(),
        "heatmap": heatmap_ij[0].numpy(),
        "fused": fused.points_ij[0].double().numpy(),
    }


def _case_result(
    item: Mapping[str, Any], points_ij: NDArray[np.float64], reference: Mapping[str, Any]
) -> CaseResult:
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


def _read_variant(source: Path, variant: str | Path, texts: Iterable[str]) -> dict[str, Any]:
    shipped = source / "configs" / "variants" / f"{variant}.yaml"
    file = shipped if shipped.is_file() else Path(variant)
    if not file.is_file():
        names = sorted(path.stem for path in shipped.parent.glob("*.yaml"))
        msg = f"variant must be one of {names} or a YAML file: got {variant}."
        raise ValueError(msg)
    overlay = dict(yaml.safe_load(file.read_text(encoding="utf-8")))
    unknown = sorted(overlay.keys() - set().union(*(yaml.safe_load(text) for text in texts)))
    if unknown:
        msg = f"{file} must hold ids of the workflow files: no file has {unknown}."
        raise ValueError(msg)
    return overlay


def _merged(text: str, overlay: Mapping[str, Any]) -> str:
    config = yaml.safe_load(text)
    known = {name: value for name, value in overlay.items() if name in config}
    return yaml.safe_dump(config | known, sort_keys=False)
