"""Held-out subjects scanned otherwise: their images rewritten, through `localize` itself.

    python tests/benchmark/robustness.py --work bench_output [--arm remapped]

For each fold, an arm's networks and fusion that have not seen it localize its subjects as they are
and rewritten: other resolution, pixel aspect, field of view, noise, contrast. The rewriting is done
on the volumes, with nibabel and torch alone. Needs what ``accuracy.py`` keeps of the arm under
--work; writes docs/benchmarks/robustness.json, where other arms stay as they are. Rewritten images
are no other scanner.
"""

import argparse
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from accuracy import fit_arm
from accuracy_arms import ONE_LOOK
from numpy.typing import NDArray
from torch.nn import functional as F

from spine_monai.data import read_datalist, write_datalist
from spine_monai.metrics import CaseResult, summarize
from spine_monai.networks import save_weights
from spine_monai.workflows import evaluate, localize
from spine_monai.workflows.bundle import find_bundle
from spine_monai.workflows.configuration import Configuration
from spine_monai.workflows.stages import circumstances

ROOT = Path(__file__).parents[2]
OUTPUT = ROOT / "docs" / "benchmarks" / "robustness.json"
# Rows with networks as the bundle has them: whose these are, and the ids that differ from it.
OF_DEFAULT_SHAPE: dict[str, tuple[str, dict[str, Any]]] = {
    "default": ("default", {}),
    "again": ("again", ONE_LOOK),
    "again_looks": ("again", {}),
    "remapped": ("remapped", ONE_LOOK),
}
NETWORK_FILES = {"heatmap": "model.pt", "coordinates": "model_coordinates.pt"}

Volume = NDArray[np.float32]
Affine = NDArray[np.float64]


def resampled(row_mm: float, column_mm: float) -> Callable[[Volume, Affine], tuple[Volume, Affine]]:
    """Rewrite rows and columns (axes 1 and 2) at another spacing."""

    def rewrite(volume: Volume, affine: Affine) -> tuple[Volume, Affine]:
        spacing = np.linalg.norm(affine[:3, 1:3], axis=0)
        shape = [
            round(n * s / new)
            for n, s, new in zip(volume.shape[1:], spacing, (row_mm, column_mm), strict=True)
        ]
        slices = torch.from_numpy(volume)[None]
        scaled = F.interpolate(slices, size=shape, mode="bilinear", antialias=True)[0].numpy()
        factors = np.array(volume.shape[1:]) / shape
        moved = affine.copy()
        moved[:3, 3] += affine[:3, 1:3] @ ((factors - 1) / 2)
        moved[:3, 1:3] *= factors
        return scaled, moved

    return rewrite


def taller(height_mm: float) -> Callable[[Volume, Affine], tuple[Volume, Affine]]:
    """Put the mirrored upper image above it, as if more of the thorax were in view."""

    def rewrite(volume: Volume, affine: Affine) -> tuple[Volume, Affine]:
        rows = round(height_mm / float(np.linalg.norm(affine[:3, 1])))
        moved = affine.copy()
        moved[:3, 3] -= affine[:3, 1] * rows
        return np.concatenate([volume[:, 1 : rows + 1][:, ::-1], volume], 1), moved

    return rewrite


def wider(volume: Volume, affine: Affine) -> tuple[Volume, Affine]:
    """Put 60 mm of nothing in front of and behind the image."""
    columns = round(60 / float(np.linalg.norm(affine[:3, 2])))
    moved = affine.copy()
    moved[:3, 3] -= affine[:3, 2] * columns
    return np.pad(volume, ((0, 0), (0, 0), (columns, columns))), moved


def narrower(volume: Volume, affine: Affine) -> tuple[Volume, Affine]:
    """Keep 70 % of the columns, those about the spine."""
    first, last = round(volume.shape[2] * 0.16), round(volume.shape[2] * 0.86)
    moved = affine.copy()
    moved[:3, 3] += affine[:3, 2] * first
    return volume[:, :, first:last], moved


def noisy(volume: Volume, affine: Affine) -> tuple[Volume, Affine]:
    """Add noise of 15 % of the bright tissue."""
    noise = np.random.default_rng(0).normal(size=volume.shape) * np.percentile(volume, 95)
    return (volume + 0.15 * noise).astype(np.float32), affine


def softer(volume: Volume, affine: Affine) -> tuple[Volume, Affine]:
    """Take the square root of the brightness."""
    return np.sqrt(volume), affine


def shaded(volume: Volume, affine: Affine) -> tuple[Volume, Affine]:
    """Make the back five times as bright as the front, and the bottom twice as the top."""
    down, along = (np.linspace(0, 1, size, dtype=np.float32) for size in volume.shape[1:])
    return volume * (0.6 + 0.8 * down[:, None]) * (0.3 + 1.2 * along), affine


def inverted(volume: Volume, affine: Affine) -> tuple[Volume, Affine]:
    """Make the darkest tissue the brightest."""
    return volume.max() - volume, affine


def dark_fluid(volume: Volume, affine: Affine) -> tuple[Volume, Affine]:
    """Fold the upper half of the range down: fluid darker than marrow, as in T1."""
    bright = np.percentile(volume, 97)
    shares = np.clip(volume / bright, 0, 1)
    return bright * np.minimum(shares, 1 - shares), affine


def as_it_is(volume: Volume, affine: Affine) -> tuple[Volume, Affine]:
    """Change nothing."""
    return volume, affine


REWRITINGS = {
    "as it is": as_it_is,
    "pixels of 1 mm": resampled(1.0, 1.0),
    "pixels of 0.6 x 1.1 mm": resampled(0.6, 1.1),
    "pixels of 1.5 mm": resampled(1.5, 1.5),
    "80 mm more above": taller(80),
    "150 mm more above": taller(150),
    "60 mm more in front and behind": wider,
    "70 % of the width": narrower,
    "noise": noisy,
    "softer contrast": softer,
    "uneven brightness": shaded,
    "inverted": inverted,
    "dark fluid, as in T1": dark_fluid,
}


def main() -> None:
    """Localize every fold's rewritten subjects, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / "bench_output")
    parser.add_argument("--arm", default="default", choices=list(OF_DEFAULT_SHAPE))
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    items = read_datalist(options.work / "datalist.json")
    results: dict[str, list[CaseResult]] = {name: [] for name in REWRITINGS}
    for fold in sorted({item["fold"] for item in items}):
        own = [item for item in items if item["fold"] == fold]
        evaluation = run_fold(options.work / options.arm, fold, own)
        for result in evaluation.results:
            name = list(REWRITINGS)[int(result.case.rsplit("-", 1)[1])]
            results[name].append(result)
    content = circumstances(f"python tests/benchmark/robustness.py --arm {options.arm}", [])
    content["rows"] = {
        name: summarize(own, evaluation.registry)["overall"] for name, own in results.items()
    }
    figures = json.loads(OUTPUT.read_text()) | {options.arm: content}
    OUTPUT.write_text(json.dumps(figures, indent=1) + "\n")
    for name, row in content["rows"].items():
        print(f"{name:<32} within 8 mm {row['sdr']['8']:.3f}  median {row['median_mm']:.2f} mm")


def run_fold(row: Path, fold: int, items: list[dict[str, Any]]) -> Any:
    """Return the evaluation of one fold's rewritten subjects."""
    folder = row / "robustness" / f"fold-{fold}"
    shutil.rmtree(folder, ignore_errors=True)
    bundle = fold_bundle(row, fold, items, folder / "bundle")
    cases = [case for item in items for case in rewritten(item, folder)]
    write_datalist(cases, folder / "datalist.json", "lumbar11")
    localize([folder / "datalist.json"], folder / "results", bundle=bundle, formats=["json"])
    evaluation = evaluate(folder / "results", folder / "datalist.json")
    shutil.rmtree(folder)
    return evaluation


def fold_bundle(row: Path, fold: int, items: list[dict[str, Any]], bundle: Path) -> Path:
    """Make a bundle of the weights that have not seen a fold."""
    arm, values = OF_DEFAULT_SHAPE[row.name]
    Configuration(find_bundle(None), values=values).write(bundle)
    (bundle / "models").mkdir()
    for network, file in NETWORK_FILES.items():
        weights = row.parent / arm / "runs" / network / f"fold-{fold}" / "model.pt"
        shutil.copyfile(weights, bundle / "models" / file)
    joint = fit_arm(row, {item["subject"] for item in items})
    save_weights(joint, bundle / "models" / "fusion.pt")
    return bundle


def rewritten(item: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Write a subject's volume in every way, and return the datalist's items."""
    source = nib.load(item["image"])
    volume = np.asarray(source.dataobj).astype(np.float32)
    cases = []
    for number, rewrite in enumerate(REWRITINGS.values()):
        image, affine = rewrite(volume, source.affine)
        path = folder / f"{item['id']}-{number}.nii.gz"
        nib.save(nib.Nifti1Image(np.ascontiguousarray(image), affine), path)
        own = {"id": f"{item['id']}-{number}", "image": str(path), "fold": item["fold"]}
        cases.append({**own, "subject": item["subject"], "points_lps": item["points_lps"]})
    return cases


if __name__ == "__main__":
    main()
