"""What the fast path and reduced precision cost in accuracy: the shipped default on real studies.

The reference is the networks as they were trained: float32, nothing folded, laid out or reordered.
Without SPINE_MONAI_DATA (case folders with cases.csv) only the bundled study is moved, and nothing
is said about accuracy.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from numpy.typing import NDArray

from speed.timing import goal
from spine_monai.data import datalist_from_markups, write_datalist
from spine_monai.landmarks import LUMBAR11
from spine_monai.metrics import CaseResult
from spine_monai.networks import prepare
from spine_monai.workflows import localize
from spine_monai.workflows.bundle import find_bundle
from spine_monai.workflows.evaluation import Evaluation, evaluate
from spine_monai.writers.json import RESULT_FILE, points_lps_of, read_case

REDUCED = ("float32", "bfloat16")
PLAIN_NETWORKS = ["$@coordinates_network.to(@device)", "$@network.to(@device)"]
IMAGE_SIDE = 512  # px, of the paper's networks

Points = dict[str, NDArray[np.float64]]


def measure() -> dict[str, Any]:
    """Return how far each precision moves the landmarks, and what that does to the accuracy."""
    data = os.environ.get("SPINE_MONAI_DATA")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        studies, reference = real_studies(Path(data), folder) if data else demo_study()
        results = {kind: run(studies, folder / kind, kind) for kind in ("reference", *REDUCED)}
        scores = {kind: evaluate(folder / kind, reference) for kind in results} if data else {}
    rows = [compare(kind, results, scores) for kind in REDUCED]
    rows += [{"arithmetic": "bfloat16"} | row for row in paper_logits()]
    notes = ["The shipped weights saw all subjects but sub-034: read the differences alone."]
    if not data:
        notes = ["Bundled study alone: set SPINE_MONAI_DATA for the accuracy conditions."]
    return {
        "title": "Precision: what speed costs in accuracy",
        "rows": rows,
        "goals": goals(*rows[:2], rows[2:], is_scored=bool(data)),
        "notes": notes,
    }


def real_studies(data: Path, folder: Path) -> tuple[list[str], Path]:
    """Return the studies of a folder of case folders, and the datalist of their references."""
    root = data / "spider_t2space" if (data / "spider_t2space").is_dir() else data
    items = datalist_from_markups([root], LUMBAR11, root / "cases.csv")
    write_datalist(items, folder / "datalist.json", LUMBAR11.name)
    return [str(folder / "datalist.json")], folder / "datalist.json"


def demo_study() -> tuple[list[str], Path]:
    """Return the bundled study, and its datalist."""
    sample = find_bundle() / "sample"
    return [str(sample / "sub-034")], sample / "datalist.json"


def run(studies: Sequence[str], out: Path, kind: str) -> Points:
    """Localize, and return the landmarks of each case, (N, 3) LPS in mm."""
    values = plain_workflow() if kind == "reference" else {"inference_precision": kind}
    localize(studies, out, formats=["json"], **values)
    records = [read_case(file) for file in sorted(out.glob(f"*/{RESULT_FILE}"))]
    return {record["case"]: points_lps_of(record, LUMBAR11.names) for record in records}


def plain_workflow() -> dict[str, Any]:
    """Return the values that make ``inference.yaml`` run the networks as they were trained."""
    parser = ConfigParser()
    parser.read_config(str(find_bundle() / "configs" / "inference.yaml"))
    inferer = {"_target_": "spine_monai.networks.AutocastInferer", "dtype": "float32"}
    return {"inferer": inferer, "evaluator": parser["evaluator"] | {"networks": PLAIN_NETWORKS}}


def compare(
    kind: str, results: Mapping[str, Points], scores: Mapping[str, Evaluation]
) -> dict[str, Any]:
    """Return how far one precision's landmarks lie from the reference's, and both accuracies."""
    pairs = [(results["reference"][case], points) for case, points in results[kind].items()]
    moved = np.concatenate([np.linalg.norm(ours - theirs, axis=-1) for theirs, ours in pairs])
    is_absent = [np.isnan(np.concatenate(side)).any(-1) for side in zip(*pairs, strict=True)]
    row: dict[str, Any] = {
        "arithmetic": kind,
        "cases": len(pairs),
        "points": len(moved),
        "moved_99_percent_mm": round(float(np.nanquantile(moved, 0.99)), 5),
        "moved_most_mm": round(float(np.nanmax(moved)), 5),
        "moved_more_than_0.1_mm": int((moved > 0.1).sum()),
        "present_in_one_only": int((is_absent[0] != is_absent[1]).sum()),
    }
    return row | (accuracy(scores["reference"], scores[kind]) if scores else {})


def accuracy(reference: Evaluation, ours: Evaluation) -> dict[str, Any]:
    """Return both medians and shares within 8 mm, and how many landmarks changed their level."""
    before, after = (one.metrics["overall"] for one in (reference, ours))
    pairs = zip(reference.results, ours.results, strict=True)
    return {
        "median_mm": round(after["median_mm"], 4),
        "median_change_mm": round(after["median_mm"] - before["median_mm"], 5),
        "sdr_8": after["sdr"]["8"],
        "sdr_8_change": after["sdr"]["8"] - before["sdr"]["8"],
        "levels_changed": sum(levels_changed(*pair) for pair in pairs),
    }


def levels_changed(before: CaseResult, after: CaseResult) -> int:
    """Return how many landmarks are nearest to another level, of any kind, than before."""
    nearest = [
        case._nearest(LUMBAR11, lambda _own, _other: True).values() for case in (before, after)
    ]
    return sum(one != other for one, other in zip(*nearest, strict=True))


def paper_logits() -> list[dict[str, Any]]:
    """Return how far bfloat16 moves the outputs of the paper's networks, which are untrained."""
    parser = ConfigParser()
    configs = find_bundle() / "configs"
    parser.read_config(str(configs / "inference.yaml"))
    parser.update(ConfigParser.load_config_file(str(configs / "variants" / "paper.yaml")))
    torch.manual_seed(0)
    image = torch.rand(1, 1, IMAGE_SIDE, IMAGE_SIDE)
    rows = []
    for name in ("heatmap_network_def", "coordinates_network_def"):
        network = parser.get_parsed_content(name).eval()
        with torch.no_grad():
            expected, reduced = network(image), prepare(network, "bfloat16")(image)
        share = float((reduced - expected).norm() / expected.norm())
        rows.append({"network": f"paper: {type(network).__name__}", "relative_change": share})
    return rows


def goals(
    full: Mapping[str, Any],
    reduced: Mapping[str, Any],
    paper: Sequence[Mapping[str, Any]],
    *,
    is_scored: bool,
) -> list[dict[str, Any]]:
    """Return what was asked of the accuracy."""
    most = goal("float32: a landmark moves", full["moved_most_mm"], "<=", 0.1, "mm")
    found = [most]
    found += [
        goal(f"bfloat16, {row['network']}: outputs change", row["relative_change"], "<=", 0.02)
        for row in paper
    ]
    if is_scored:
        asked = (("moved_99_percent_mm", 1.0), ("median_change_mm", 0.1))
        asked += (("levels_changed", 0), ("sdr_8_change", 0))
        found += [goal(f"bfloat16: {key}", abs(reduced[key]), "<=", limit) for key, limit in asked]
    return found
