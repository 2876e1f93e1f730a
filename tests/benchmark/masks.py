"""Centroids of real label masks against the landmarks of the data set.

    python tests/benchmark/masks.py --data <folder of case folders>

Writes docs/benchmarks/masks.json. The references were computed on the whole original volumes, the
masks hold 3 to 5 slices. They name only the structure (1 disc, 2 vertebra, 3 canal), so each piece
gets its level from the nearest reference; where pieces of two levels are fused, one of them is
wrong.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import yaml

from spine_monai.cli import main as spine_monai
from spine_monai.data import read_datalist, read_markups
from spine_monai.landmarks import LUMBAR11
from spine_monai.workflows.stages import circumstances

OUTPUT = Path(__file__).parents[2] / "docs" / "benchmarks" / "masks.json"
LEVELS = dict(enumerate([*LUMBAR11.names, "T12", "T11-T12", "canal"], start=1))
LEAST_VOXELS = 500  # smaller pieces are rims of a structure that was cut off

References = dict[str, dict[str, Any]]


def main() -> None:
    """Convert the masks as a user does, and say how far the points lie from the references."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, type=Path)
    data = parser.parse_args().data
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        references = name_masks(data, folder)
        words = ["convert", "masks", folder / "data", "--labels", folder / "labels.yaml"]
        spine_monai([str(word) for word in [*words, "--out", folder / "datalist.json"]])
        errors = centroid_errors(folder / "datalist.json", references)
    figures = circumstances("python tests/benchmark/masks.py --data <folder>", [])
    figures["held_out"] = "nothing is learned"
    figures |= {kind: figures_of(values) for kind, values in errors.items()}
    print(json.dumps({kind: figures[kind] for kind in errors}))
    OUTPUT.write_text(json.dumps(figures, indent=1) + "\n")


def figures_of(errors_mm: list[float]) -> dict[str, float]:
    """Return number, median, 95th percentile and largest of some errors."""
    median, high = np.quantile(errors_mm, [0.5, 0.95])
    figures = {"median_mm": median, "within_95_mm": high, "largest_mm": max(errors_mm)}
    return {"n": len(errors_mm)} | {key: round(float(mm), 2) for key, mm in figures.items()}


def name_masks(data: Path, folder: Path) -> References:
    """Write the masks with a label a level into ``data`` of a folder, and ``labels.yaml``.

    Returns:
        LPS points by landmark by case.
    """
    (folder / "labels.yaml").write_text(yaml.safe_dump(LEVELS))
    references = {}
    for case in sorted(path.parent for path in data.glob("*/mask.nii.gz")):
        references[case.name] = read_markups(case / "landmarks.mrk.json")
        target = folder / "data" / case.name
        target.mkdir(parents=True)
        (target / "t2.nii.gz").symlink_to((case / "t2.nii.gz").resolve())
        nib.save(name_levels(case / "mask.nii.gz", references[case.name]), target / "mask.nii.gz")
    return references


def centroid_errors(datalist: Path, references: References) -> dict[str, list[float]]:
    """Return the distances in mm of a datalist's points from the references, by kind."""
    errors: dict[str, list[float]] = {"disc": [], "vertebra": []}
    for item in read_datalist(datalist):
        for name, kind in zip(LUMBAR11.names, LUMBAR11.kinds, strict=True):
            if item["points_lps"][name] is not None:
                offset = item["points_lps"][name] - references[item["id"]][name]
                errors[kind].append(float(np.linalg.norm(offset)))
    return errors


def name_levels(file: Path, points: Mapping[str, Any]) -> nib.Nifti1Image:
    """Give each connected disc and vertebra the label of the nearest reference of its kind."""
    image = nib.load(file)
    structures = np.asarray(image.dataobj)
    named = np.where(structures == 3, len(LEVELS), 0).astype(np.uint8)
    for structure, is_disc in ((1, True), (2, False)):
        mask = sitk.GetImageFromArray((structures == structure).astype(np.uint8))
        pieces = sitk.GetArrayFromImage(sitk.ConnectedComponent(mask))
        candidates = {n: p for n, p in points.items() if p is not None and ("-" in n) is is_disc}
        for piece in range(1, pieces.max() + 1):
            voxels = np.argwhere(pieces == piece)
            centre = nib.affines.apply_affine(image.affine, voxels.mean(0)) * [-1, -1, 1]
            nearest = min(candidates, key=lambda name: np.linalg.norm(candidates[name] - centre))
            if nearest in LEVELS.values() and len(voxels) > LEAST_VOXELS:
                label = next(label for label, name in LEVELS.items() if name == nearest)
                named[pieces == piece] = label
    return nib.Nifti1Image(named, image.affine)


if __name__ == "__main__":
    main()
