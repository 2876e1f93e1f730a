"""Every method on the same folds: cross-validated networks, then decoders compared in seconds.

    make bench-accuracy DATA=<folder of case folders with cases.csv> [ARMS="default scn"] [JOBS=2]

Networks are trained once for each fold and kept under --work, so an interrupted run goes on, and a
second run only decodes. The coordinates that place an arm's windows are trained with it; `paper`,
at full size, only where there is a GPU or it is named. `--predictions docs/benchmarks/predictions`
begins with those that are kept there, of the 28 subjects that the page names. Writes
docs/benchmarks/accuracy.json, where rows of arms that are not named stay as they are;
tests/benchmark/accuracy_page.py makes the tables and pictures from it and from the kept
predictions.
"""

import argparse
import json
import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import decoders
import numpy as np
import torch
from accuracy_arms import (
    ARMS,
    AVERAGED,
    BOTH,
    UNTRAINED,
    Arm,
    differs_in_one_thing,
    prepare_arms,
    train_arms,
)
from confidence import fold_records, summarize_confidence
from decoders import Decoder, Item
from numpy.typing import NDArray
from packing import unpack_missing
from shown_again import show_again
from spatial_model import SpatialModel

from spine_monai.data import datalist_from_markups, read_datalist, write_datalist
from spine_monai.data.predictions import UNCUT, fusion_items, load_predictions
from spine_monai.files import write_text
from spine_monai.heatmaps import ij_from_edge_fractions
from spine_monai.joint import JointFusion
from spine_monai.landmarks import HIT_RADIUS_MM, LUMBAR11, LUMBAR13
from spine_monai.metrics import BOOTSTRAP_SAMPLES, CaseResult, summarize
from spine_monai.workflows.arms import case_result, fit_without
from spine_monai.workflows.stages import circumstances

ROOT = Path(__file__).parents[2]
OUTPUT = ROOT / "docs" / "benchmarks" / "accuracy.json"
FLAGGED = ("sub-018", "sub-050", "sub-107", "sub-141", "sub-166", "sub-177", "sub-241")
CONFIDENCE = {  # rows, and where theirs goes
    "default": "confidence",
    "again": "confidence_again",
    "again_looks": "confidence_again_looks",
    "looks_once": "confidence_looks_once",
    "deep_cuts": "confidence_deep_cuts",
}
ROWS = [LUMBAR13.names.index(name) for name in LUMBAR11.names]

Points = NDArray[np.float64]


def main() -> None:
    """Train what is missing, decode everything, write the figures."""
    options = parse()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    logging.getLogger("spine_monai").setLevel(logging.INFO)
    torch.set_num_threads(2)
    options.work.mkdir(parents=True, exist_ok=True)
    datalist = options.work / "datalist.json"
    items = datalist_from_markups([options.data], LUMBAR11, options.data / "cases.csv")
    write_datalist(items, datalist, LUMBAR11.name)
    prepare_arms(["default", *options.arms], options.work)
    if options.predictions:
        unpack_missing(options.predictions, options.work)
    if not options.decode_only:
        values = {"precision": options.precision} if options.precision else {}
        train_arms(options.arms, options.work, datalist, options.jobs, **values)
    if not options.train_only:
        show_again(options.work, datalist)
        names = [*options.arms, *UNTRAINED]
        decode_arms(names, options.work, datalist, options.jobs)


def parse() -> argparse.Namespace:
    """Return the command's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--work", type=Path, default=ROOT / "bench_output")
    affordable = [name for name in ARMS if name != "paper" or torch.cuda.is_available()]
    parser.add_argument("--arms", nargs="*", default=affordable, choices=list(ARMS))
    parser.add_argument("--jobs", type=int, default=1, help="trainings or decodings at a time")
    parser.add_argument("--predictions", type=Path, help="kept ones to begin with; see packing.py")
    parser.add_argument("--precision", help="of the trainings, where bfloat16 is emulated: float32")
    parser.add_argument("--decode-only", action="store_true", help="train nothing")
    parser.add_argument("--train-only", action="store_true", help="decode nothing")
    return parser.parse_args()


def decode_arms(names: Sequence[str], work: Path, datalist: Path, jobs: int) -> None:
    """Decode the arms whose predictions are complete; write their rows, and leave the others'."""
    figures = json.loads(OUTPUT.read_text()) if OUTPUT.is_file() else {"rows": {}, "cases": {}}
    figures |= circumstances("make bench-accuracy DATA=<folder>", [])
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        running = [pool.submit(decode_arm, name, work, datalist) for name in names]
        for name, future in zip(names, running, strict=True):
            rows, confidence = future.result()
            if rows:
                drop_rows(figures, name, rows)
            for row, results in rows.items():
                print_row(row, results)
                figures["rows"][row] = summarize(results, LUMBAR11) | without_flagged(results)
                figures["cases"][row] = {
                    r.case: r.in_plane_errors(LUMBAR11).round(2).tolist() for r in results
                }
            figures |= {CONFIDENCE[name]: confidence} if confidence else {}
    figures["differences"] = differences(figures["cases"])
    figures["gains"] = gains(figures["cases"])
    write_text(OUTPUT, json.dumps(figures, indent=1) + "\n")


def drop_rows(figures: dict[str, Any], arm: str, made: Collection[str]) -> None:
    """Drop an arm's rows and cases that are no longer made."""
    for kind in ("rows", "cases"):
        gone = {row for row in figures[kind] if row.split(": ")[0] == arm} - set(made)
        figures[kind] = {row: value for row, value in figures[kind].items() if row not in gone}


def decode_arm(
    name: str, work: Path, datalist: Path
) -> tuple[dict[str, list[CaseResult]], dict[str, Any]]:
    """Return an arm's rows, none if predictions are missing, and what is known of its confidence.

    For each fold everything fitted is fitted on the others.
    """
    torch.set_num_threads(1)
    cases = read_datalist(datalist)
    references = {item["id"]: item["points_lps"] for item in cases}
    items = items_of(name, work, {item["subject"] for item in cases})
    results: dict[str, list[CaseResult]] = defaultdict(list)
    records: list[Any] = []
    if not items:
        return coordinates_alone(name, work, references), {}
    for fold in sorted({item["fold"] for item in items}):
        own = [item for item in items if item["fold"] == fold]
        others = [item for item in items if item["fold"] != fold]
        readings = decoders_of(name, others)
        joint = fit_arm(work / name, {item["subject"] for item in own})
        if name in CONFIDENCE:
            records += fold_records(joint, own, others)
        for item in (item for item in own if item["is_whole"]):
            for row, decode in readings.items():
                points = lumbar(decode(item, joint).double().numpy())
                results[row].append(case_result(item, points, references[item["id"]]))
    return results, summarize_confidence(records) if records else {}


def coordinates_alone(
    name: str, work: Path, references: Mapping[str, Any]
) -> dict[str, list[CaseResult]]:
    """Return the row of an arm's coordinates where there are no heatmaps to join them with."""
    try:
        found = load_predictions(work / name / "predictions" / "coordinates")
    except ValueError:  # there are none
        return {}
    rows = [row for row, view in enumerate(found["views"]) if (view == UNCUT).all()]
    if {str(found["ids"][row]) for row in rows} != references.keys():
        return {}
    return {f"{name}: coordinates": [coordinates_result(found, row, references) for row in rows]}


def coordinates_result(
    found: Mapping[str, NDArray[Any]], row: int, references: Mapping[str, Any]
) -> CaseResult:
    """Return one image's coordinates beside the references, on the network's own grid."""
    case, subject = str(found["ids"][row]), str(found["subjects"][row])
    points = ij_from_edge_fractions(
        torch.from_numpy(found["outputs"][row]).double(), found["shape"].tolist()
    ).numpy()
    item = {"id": case, "subject": subject, "ras_from_index": found["ras_from_index"][row]}
    return case_result(item, lumbar(points), references[case])


def lumbar(points: Points) -> Points:
    """Return the eleven reported points of a network's."""
    return points[ROWS] if len(points) == len(LUMBAR13.names) else points


def items_of(name: str, work: Path, subjects: set[str]) -> list[dict[str, Any]]:
    """Return an arm's pairs of predictions; none unless every subject is there."""
    folders = folders_of(work / name)
    if name in AVERAGED:
        average(name, work)
    try:
        items = fusion_items(folders["heatmap"], folders["coordinates"])
    except ValueError:
        return []
    is_complete = {item["subject"] for item in items} == subjects
    return items if is_complete else []


def folders_of(bundle: Path) -> dict[str, Path]:
    """Return where an arm's predictions lie; what it did not train is another arm's."""
    arm = row_arm(bundle.name)
    givers = {n: bundle.name if n in arm.networks else arm.other for n in BOTH}
    return {n: bundle.parent / giver / "predictions" / n for n, giver in givers.items()}


def row_arm(name: str) -> Arm:
    """Return an arm, trained or not."""
    return ARMS[name] if name in ARMS else UNTRAINED[name]


def average(name: str, work: Path) -> None:
    """Write the mean heatmaps of several arms' networks, fold by fold, where all are there."""
    first, *others = (work / member / "predictions" / "heatmap" for member in AVERAGED[name])
    for file in sorted(first.glob("fold-*.npz")):
        if not all((folder / file.name).is_file() for folder in others):
            continue
        parts = [dict(np.load(folder / file.name)) for folder in (first, *others)]
        windows = [part["ras_from_index"] for part in parts]
        if not all(np.allclose(window, windows[0], atol=1e-4) for window in windows):
            msg = f"{name} must average heatmaps of the same windows: {file.name} has others."
            raise ValueError(msg)
        mean = np.mean([part["outputs"].astype(np.float32) for part in parts], 0)
        target = work / name / "predictions" / "heatmap" / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(target, **parts[0] | {"outputs": mean.astype(np.float16)})


def fit_arm(bundle: Path, held_out: set[str]) -> JointFusion:
    """Fit an arm's fusion without a fold."""
    folders = folders_of(bundle)
    values = {f"{network}_predictions": str(folder) for network, folder in folders.items()}
    with_configs = bundle if (bundle / "configs").is_dir() else bundle.parent / "default"
    return fit_without(with_configs, held_out, **values)


def decoders_of(name: str, others: Sequence[Item]) -> dict[str, Decoder]:
    """Return the rows that an arm gives, where something is fitted on items of other folds."""
    networks = row_arm(name).networks
    rows: dict[str, Decoder] = {}
    if "coordinates" in networks:
        rows[f"{name}: coordinates"] = decoders.coordinates
    if "heatmap" in networks:
        rows[f"{name}: heatmap"] = decoders.heatmap
        rows[f"{name}: product, learned sigma"] = decoders.learned_product
    if name == "dsnt":
        rows["dsnt: expectation"] = decoders.expectation
    rows[f"{name}: chain"] = decoders.chain
    return rows | (decoders_of_the_default(others) if name == "default" else {})


def decoders_of_the_default(others: Sequence[Item]) -> dict[str, Decoder]:
    """Return the rows that only the default gives."""
    model = SpatialModel([item for item in others if item["is_whole"]])
    rows: dict[str, Decoder] = {
        "default: heatmap, whole pixels": decoders.whole_pixels,
        "default: heatmap, graphical model": lambda item, _joint: model.decode(item),
        "default: chain without coordinates": decoders.chain_without_coordinates,
        "default: product, sigma of the image": decoders.product_of_the_image,
    }
    for sigma_mm in decoders.SIGMAS_MM:
        rows[f"default: product, sigma {sigma_mm:g} mm"] = decoders.product_with(sigma_mm)
    return rows


def without_flagged(results: Sequence[CaseResult]) -> dict[str, Any]:
    """Return the overall figures of the subjects that are not flagged."""
    plain = [result for result in results if result.subject not in FLAGGED]
    return {"without_flagged": summarize(plain, LUMBAR11)["overall"]}


def differences(cases: Mapping[str, Mapping[str, list[float]]]) -> dict[str, Any]:
    """Share within 8 mm of one row minus another's, with its interval over subjects."""
    pairs = {
        "default: chain - chain without coordinates": (
            "default: chain",
            "default: chain without coordinates",
        ),
        "default - looks_once (chain)": ("default: chain", "looks_once: chain"),
        "deep_cuts - default (coordinates)": ("deep_cuts: coordinates", "default: coordinates"),
        "one_look - narrow window (heatmap)": ("one_look: heatmap", "narrow_window: heatmap"),
        "one_look - narrow window (chain)": ("one_look: chain", "narrow_window: chain"),
        "one_look - whole image (heatmap)": ("one_look: heatmap", "whole_image: heatmap"),
        "narrow window - whole image (heatmap)": (
            "narrow_window: heatmap",
            "whole_image: heatmap",
        ),
    } | {
        f"{name} - narrow window (heatmap)": (f"{name}: heatmap", "narrow_window: heatmap")
        for name in ARMS
        if differs_in_one_thing(name)
    }
    return {
        title: paired_difference(cases[first], cases[second])
        for title, (first, second) in pairs.items()
        if first in cases and second in cases
    }


def gains(cases: Mapping[str, Mapping[str, list[float]]]) -> dict[str, dict[str, Any]]:
    """What the product and the chain add to each arm's heatmaps, with intervals over subjects."""
    rows = {"product": "product, learned sigma", "chain": "chain"}
    return {
        name: {
            title: paired_difference(cases[f"{name}: {row}"], cases[f"{name}: heatmap"])
            for title, row in rows.items()
        }
        for name in (*ARMS, *UNTRAINED)
        if f"{name}: heatmap" in cases
    }


def paired_difference(
    first: Mapping[str, list[float]], second: Mapping[str, list[float]]
) -> dict[str, Any]:
    """Return the difference of two rows' SDR at 8 mm and its bootstrap interval over subjects."""
    hits = [
        np.array([np.array(row[case]) <= HIT_RADIUS_MM for case in sorted(first)]).mean(1)
        for row in (first, second)
    ]
    own = hits[0] - hits[1]
    generator = np.random.default_rng(0)
    drawn = generator.choice(own, (BOOTSTRAP_SAMPLES, len(own))).mean(1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"sdr_8": float(own.mean()), "interval": [float(low), float(high)]}


def print_row(row: str, results: Sequence[CaseResult]) -> None:
    """Say on the screen what a row came to."""
    errors = np.stack([result.in_plane_errors(LUMBAR11) for result in results])
    finite = errors[np.isfinite(errors)]
    hits = int((errors <= HIT_RADIUS_MM).sum())
    whole = int((errors <= HIT_RADIUS_MM).all(1).sum())
    print(
        f"{row:<44} MRE {finite.mean():6.2f}  median {np.median(errors):5.2f}  "
        f"SDR@4 {(errors <= 4).mean():.3f}  @6 {(errors <= 6).mean():.3f}  "
        f"within 8 mm {hits}/{errors.size}  subjects {whole}/{len(errors)}",
        flush=True,
    )


if __name__ == "__main__":
    main()
