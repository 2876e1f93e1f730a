"""Every method on the same folds: cross-validated networks, then decoders compared in seconds.

    make bench-accuracy DATA=<folder of case folders with cases.csv> [ARMS="default scn"]

Networks are trained once for each fold and kept under --work, so an interrupted run goes on, and a
second run only decodes. Writes docs/benchmarks/accuracy.json; tests/benchmark/accuracy_page.py
makes the tables and pictures from it and from the kept predictions.
"""

import argparse
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from confidence import fold_records, summarize_confidence
from numpy.typing import NDArray
from torch import Tensor

from spine_monai.data import datalist_from_markups, read_datalist, write_datalist
from spine_monai.data.predictions import fusion_items
from spine_monai.heatmaps import decode_argmax, decode_heatmaps
from spine_monai.joint import JointFusion
from spine_monai.landmarks import HIT_RADIUS_MM, LUMBAR11, LUMBAR13
from spine_monai.metrics import BOOTSTRAP_SAMPLES, CaseResult, summarize
from spine_monai.workflows.arms import case_result, fit_without
from spine_monai.workflows.bundle import find_bundle
from spine_monai.workflows.fitting import decode_item
from spine_monai.workflows.stages import circumstances, cross_validate, prepare_bundle

ROOT = Path(__file__).parents[2]
OUTPUT = ROOT / "docs" / "benchmarks" / "accuracy.json"
SIGMAS_MM = (2.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0)
FLAGGED = ("sub-018", "sub-050", "sub-107", "sub-141", "sub-166", "sub-177", "sub-241")
ROWS = [LUMBAR13.names.index(name) for name in LUMBAR11.names]

Points = NDArray[np.float64]
Item = Mapping[str, Any]
Decoder = Callable[[Item, JointFusion], Tensor]


@dataclass(frozen=True)
class Arm:
    """One way to train: a variant, the networks it trains, and what it is called in the table."""

    variant: str | None
    networks: tuple[str, ...]
    title: str


ARMS = {
    "default": Arm(None, ("coordinates", "heatmap"), "window at one scale, DynUNet"),
    "whole_image": Arm("whole_image", ("heatmap",), "whole image squeezed, DynUNet"),
    "xception_fc": Arm("xception_fc", ("coordinates",), "Xception + FC, the paper's recipe"),
    "fcn": Arm("fcn", ("heatmap",), "window at one scale, FCN-8s"),
    "scn": Arm("scn", ("heatmap",), "window at one scale, SpatialConfiguration-Net"),
    "hourglass": Arm("hourglass", ("heatmap",), "window at one scale, stacked hourglass"),
    "hrnet": Arm("hrnet", ("heatmap",), "window at one scale, HRNet"),
}


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
    if not options.decode_only:
        for name in options.arms:
            train_arm(name, options.work, datalist)
    figures = circumstances("make bench-accuracy DATA=<folder>", []) | {"rows": {}, "cases": {}}
    records: list[Any] = []
    for row, results in decode_all(options.work, datalist, records):
        print_row(row, results)
        figures["rows"][row] = summarize(results, LUMBAR11) | without_flagged(results)
        figures["cases"][row] = {
            r.case: r.in_plane_errors(LUMBAR11).round(2).tolist() for r in results
        }
    figures["differences"] = differences(figures["cases"])
    figures["confidence"] = summarize_confidence(records)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(figures, indent=1) + "\n")


def parse() -> argparse.Namespace:
    """Return the command's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--work", type=Path, default=ROOT / "bench_output")
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--decode-only", action="store_true", help="train nothing")
    return parser.parse_args()


def train_arm(name: str, work: Path, datalist: Path) -> None:
    """Cross-validate one arm's networks, but for folds that are there."""
    arm, root = ARMS[name], work / name
    if not (root / "configs").is_dir():
        prepare_bundle(find_bundle(None), root, arm.variant)
    folds = sorted({item["fold"] for item in read_datalist(datalist)})
    values = {
        "datalist": str(datalist.resolve()),
        "coordinates_dir": str(work / "default" / "predictions" / "coordinates"),
    }
    cross_validate(root, folds, values, arm.networks)


def decode_all(
    work: Path, datalist: Path, records: list[Any]
) -> Iterator[tuple[str, list[CaseResult]]]:
    """Yield each row's name and results, for every arm whose predictions are complete.

    The default's records of confidence are added to ``records``.
    """
    references = {item["id"]: item["points_lps"] for item in read_datalist(datalist)}
    subjects = {item["subject"] for item in read_datalist(datalist)}
    default = work / "default" / "predictions"
    for name, arm in ARMS.items():
        own = {n: work / name / "predictions" / n for n in arm.networks}
        try:
            items = fusion_items(
                own.get("heatmap", default / "heatmap"),
                own.get("coordinates", default / "coordinates"),
            )
        except ValueError:
            continue
        if {item["subject"] for item in items} != subjects:
            continue
        own_records = records if name == "default" else []
        yield from decode_arm(name, work / name, items, references, own_records)


def decode_arm(
    name: str,
    bundle: Path,
    items: Sequence[Item],
    references: Mapping[str, Any],
    records: list[Any],
) -> Iterator[tuple[str, list[CaseResult]]]:
    """Yield the rows of one arm; for each fold everything fitted is fitted on the others."""
    decoders = decoders_of(name)
    results: dict[str, list[CaseResult]] = {row: [] for row in decoders}
    for fold in sorted({item["fold"] for item in items}):
        held_out = {item["subject"] for item in items if item["fold"] == fold}
        joint = fit_arm(bundle, held_out)
        if name == "default":
            own = [item for item in items if item["fold"] == fold]
            records += fold_records(joint, own, [i for i in items if i["fold"] != fold])
        for item in (i for i in items if i["fold"] == fold and i["is_whole"]):
            for row, decode in decoders.items():
                points = decode(item, joint).double().numpy()[ROWS]
                results[row].append(case_result(item, points, references[item["id"]]))
    yield from results.items()


def fit_arm(bundle: Path, held_out: set[str]) -> JointFusion:
    """Fit an arm's fusion without a fold; the other network's predictions are the default's."""
    default = bundle.parent / "default" / "predictions"
    values = {}
    for network in ("heatmap", "coordinates"):
        own = bundle / "predictions" / network
        values[f"{network}_predictions"] = str(own if own.is_dir() else default / network)
    return fit_without(bundle, held_out, **values)


def decoders_of(name: str) -> dict[str, Decoder]:
    """Return the rows that an arm gives."""
    if "heatmap" not in ARMS[name].networks:
        return {f"{name}: coordinates": coordinates}
    rows: dict[str, Decoder] = {
        f"{name}: heatmap": heatmap,
        f"{name}: product, learned sigma": learned_product,
        f"{name}: chain": chain,
    }
    if name != "default":
        return rows
    rows = {f"{name}: coordinates": coordinates} | rows
    rows[f"{name}: heatmap, whole pixels"] = whole_pixels
    rows[f"{name}: chain without coordinates"] = chain_without_coordinates
    for sigma_mm in SIGMAS_MM:
        rows[f"{name}: product, sigma {sigma_mm:g} mm"] = product_with(sigma_mm)
    return rows


def coordinates(item: Item, _joint: JointFusion) -> Tensor:
    """The coordinate network alone."""
    points: Tensor = item["predicted_ij"]
    return points


def heatmap(item: Item, _joint: JointFusion) -> Tensor:
    """Each heatmap's peak by itself, below the pixel."""
    return decode_heatmaps(item["image"].double().sigmoid())


def whole_pixels(item: Item, _joint: JointFusion) -> Tensor:
    """Each heatmap's argmax."""
    return decode_argmax(item["image"])


def learned_product(item: Item, joint: JointFusion) -> Tensor:
    """The paper's product with a fitted sigma a landmark."""
    return joint.fusion.decode(*inputs(item)).points_ij[0]


def chain(item: Item, joint: JointFusion) -> Tensor:
    """All landmarks together."""
    points: Tensor = decode_item(joint, item).points_ij[0]
    return points


def chain_without_coordinates(item: Item, joint: JointFusion) -> Tensor:
    """The chain over the heatmaps' candidates alone."""
    weights = (joint.chain.prior_weight, joint.chain.cut_prior_weight)
    fitted = [weight.detach().clone() for weight in weights]
    with torch.no_grad():
        for weight in weights:
            weight.zero_()
        points: Tensor = decode_item(joint, item).points_ij[0]
        for weight, value in zip(weights, fitted, strict=True):
            weight.copy_(value)
    return points


def product_with(sigma_mm: float) -> Decoder:
    """The paper's product with one given sigma."""

    def decode(item: Item, joint: JointFusion) -> Tensor:
        learned = joint.fusion.prior_sigma_mm.detach().clone()
        with torch.no_grad():
            joint.fusion.prior_sigma_mm.fill_(sigma_mm)
            points = joint.fusion.decode(*inputs(item)).points_ij[0]
            joint.fusion.prior_sigma_mm.copy_(learned)
        return points

    return decode


def inputs(item: Item) -> tuple[Tensor, Tensor, Tensor]:
    """What the fusion takes, as a batch of one."""
    return item["image"][None], item["predicted_ij"][None], item["spacing_mm"][None]


def without_flagged(results: Sequence[CaseResult]) -> dict[str, Any]:
    """Return the overall figures of the subjects that are not flagged."""
    plain = [result for result in results if result.subject not in FLAGGED]
    return {"without_flagged": summarize(plain, LUMBAR11)["overall"]}


def differences(cases: Mapping[str, Mapping[str, list[float]]]) -> dict[str, Any]:
    """Share within 8 mm of one row minus another's, with its interval over subjects."""
    product, without = "default: product, learned sigma", "default: chain without coordinates"
    pairs = {
        "product - heatmap": (product, "default: heatmap"),
        "chain - heatmap": ("default: chain", "default: heatmap"),
        "chain - chain without coordinates": ("default: chain", without),
        "window - whole image (heatmap)": ("default: heatmap", "whole_image: heatmap"),
        "window - whole image (chain)": ("default: chain", "whole_image: chain"),
    }
    return {
        title: paired_difference(cases[first], cases[second])
        for title, (first, second) in pairs.items()
        if first in cases and second in cases
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
