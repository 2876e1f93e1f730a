"""What the heatmaps alone know of the level, on held-out images rewritten to other fields of view.

    python tests/benchmark/field_of_view.py --work bench_output

The heatmap networks of each arm and fold see their fold's images as they are and rewritten
(``robustness.py``); where an arm looks at a window, the coordinates that placed it on the image as
it is place it here too, so that only the heatmaps are compared. Needs the networks that
``accuracy.py`` keeps under --work; writes docs/benchmarks/field_of_view.json, where other arms stay
as they are.
"""

import argparse
import json
import logging
import shutil
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accuracy_arms import ARMS
from decoders import heatmap
from robustness import REWRITINGS, ROOT, rewritten

from spine_monai.data import read_datalist, write_datalist
from spine_monai.data.predictions import fusion_items, store_predictions
from spine_monai.landmarks import LUMBAR11, LUMBAR13
from spine_monai.metrics import CaseResult, summarize
from spine_monai.networks import load_weights
from spine_monai.workflows.arms import case_result
from spine_monai.workflows.bundle import parse_config
from spine_monai.workflows.stages import circumstances

OUTPUT = ROOT / "docs" / "benchmarks" / "field_of_view.json"
THIRTEEN = [name for name in ARMS if name != "paper"]  # arms that look for all thirteen
ROWS = [LUMBAR13.names.index(name) for name in LUMBAR11.names]


def main() -> None:
    """Compare the arms' heatmaps on every rewriting, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / "bench_output")
    parser.add_argument("--arms", nargs="+", default=["default"], choices=THIRTEEN)
    parser.add_argument(
        "--placed-by", default="default", help="arm whose coordinates place windows"
    )
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    items = read_datalist(options.work / "datalist.json")
    results: dict[str, dict[str, list[CaseResult]]] = defaultdict(lambda: defaultdict(list))
    for fold in sorted({item["fold"] for item in items}):
        own = [item for item in items if item["fold"] == fold]
        arms = {arm: results[arm] for arm in options.arms}
        run_fold(options.work, fold, own, arms, options.placed_by)
    command = f"python tests/benchmark/field_of_view.py --arms {' '.join(options.arms)} "
    command += f"--placed-by {options.placed_by}"
    measured = circumstances(command, []) | {"placed_by": options.placed_by}
    figures = json.loads(OUTPUT.read_text())
    for arm, rows in results.items():
        summary = {name: summarize(found, LUMBAR11)["overall"] for name, found in rows.items()}
        figures[arm] = measured | {"rows": summary}
        for name, row in summary.items():
            print(f"{arm:<16} {name:<32} within 8 mm {row['sdr']['8']:.3f}")
    OUTPUT.write_text(json.dumps(figures, indent=1) + "\n")


def run_fold(
    work: Path,
    fold: int,
    items: list[dict[str, Any]],
    results: Mapping[str, dict[str, list[CaseResult]]],
    placed_by: str,
) -> None:
    """Add one fold's results to those of the arms."""
    folder = work / "field_of_view"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    cases = [rewritten(item, folder) for item in items]
    for number, name in enumerate(REWRITINGS):
        same = [{**own[number], "id": item["id"]} for own, item in zip(cases, items, strict=True)]
        write_datalist(same, folder / "datalist.json", LUMBAR13.name)
        for arm, rows in results.items():
            coordinates = work / placed_by / "predictions" / "coordinates"
            rows[name] += heatmaps_alone(work / arm, fold, folder, coordinates)
    shutil.rmtree(folder)


def heatmaps_alone(bundle: Path, fold: int, folder: Path, coordinates: Path) -> list[CaseResult]:
    """Return what an arm's network of a fold finds on the images of a folder's datalist."""
    parser = parse_config(
        bundle,
        "train_heatmap.yaml",
        datalist=str(folder / "datalist.json"),
        val_folds=[fold],
        views=[[None, None]],
        coordinates_dir=str(coordinates),
        **ARMS[bundle.name].values.get("heatmap", {}),
    )
    weights = bundle / "runs" / "heatmap" / f"fold-{fold}" / "model.pt"
    network = load_weights(parser.get_parsed_content("network_def"), weights)
    dataset = parser.get_parsed_content("predict::dataset")
    inferer = parser.get_parsed_content("validate::inferer")
    path = folder / f"fold-{fold}.npz"
    store_predictions(network, inferer, dataset, torch.device("cpu"), path)
    references = {i["id"]: i["points_lps"] for i in read_datalist(folder / "datalist.json")}
    return [
        case_result(item, heatmap(item, None).double().numpy()[ROWS], references[item["id"]])
        for item in fusion_items(folder, coordinates)
    ]


if __name__ == "__main__":
    main()
