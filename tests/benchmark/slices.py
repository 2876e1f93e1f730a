"""Which slice is taken, and how far beside it the landmarks lie: real slabs, whole, cut and bent.

    python tests/benchmark/slices.py --data <folder of case folders> [--bundle DIR]

Writes docs/benchmarks/slices.json. The slabs of the data set are cut about the landmarks, so their
middle slice is right; slices dropped from one side make it wrong. A bent slab has its rows moved
across the slices, as a spine that leaves the plane does.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from spine_monai.data import datalist_from_markups
from spine_monai.geometry import points_ijk_from_lps
from spine_monai.landmarks import LUMBAR11
from spine_monai.readers import read_study
from spine_monai.transforms.slices import upright
from spine_monai.workflows import localize
from spine_monai.workflows.stages import circumstances
from spine_monai.writers.json import RESULT_FILE, points_lps_of, read_case

OUTPUT = Path(__file__).parents[2] / "docs" / "benchmarks" / "slices.json"
FULL_SLABS = 5
BEND_SLICES, REPEATED = 4.0, 4

Array = NDArray[np.float64]
Slab = tuple[Array, Array, Array]  # pixels, ras_from_index, (N, 3) index points of the landmarks


def main() -> None:
    """Make the slabs, localize them both ways, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--bundle", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(2)
    items = datalist_from_markups([options.data], LUMBAR11, options.data / "cases.csv")
    slabs = {item["subject"]: read_slab(item) for item in items}
    full = {case: slab for case, slab in slabs.items() if slab[0].shape[2] == FULL_SLABS}
    command = "python tests/benchmark/slices.py --data <folder>"
    figures = circumstances(command, ["sub-034"])
    figures["held_out"] = "nothing but sub-034: the shipped weights saw the other subjects"
    for name, change in CHANGES.items():
        chosen = slabs if name == "as it is" else full
        figures[name] = measure({case: change(*slab) for case, slab in chosen.items()}, options)
        print(name, json.dumps(figures[name]), flush=True)
    OUTPUT.write_text(json.dumps(figures, indent=1) + "\n")


def read_slab(item: dict[str, Any]) -> Slab:
    """Return an upright volume, its affine, and its landmarks as index points."""
    volume = upright(read_study(item["image"]).image)
    points = np.array([item["points_lps"][name] for name in LUMBAR11.names])
    affine = np.asarray(volume.affine)
    return volume[0].numpy(), affine, points_ijk_from_lps(points, affine)


def drop_first(pixels: Array, affine: Array, places: Array) -> Slab:
    """Drop two slices of one side."""
    moved = affine.copy()
    moved[:3, 3] += 2 * affine[:3, 2]
    return pixels[..., 2:], moved, places - [0, 0, 2]


def drop_last(pixels: Array, affine: Array, places: Array) -> Slab:
    """Drop two slices of the other side."""
    return pixels[..., :-2], affine, places


def bend(sign: float) -> Callable[[Array, Array, Array], Slab]:
    """Move the rows across the slices along a parabola, in a slab widened by its outermost ones."""

    def bent(pixels: Array, affine: Array, places: Array) -> Slab:
        pixels = np.pad(pixels, [(0, 0), (0, 0), (REPEATED, REPEATED)], mode="edge")
        affine, places = affine.copy(), places + np.array([0, 0, REPEATED])
        affine[:3, 3] -= REPEATED * affine[:3, 2]
        rows, _, count = pixels.shape
        along = np.linspace(-1, 1, rows)
        shift = sign * BEND_SLICES * (1.5 * along**2 - 0.5)
        wanted = (np.arange(count) - shift[:, None]).clip(0, count - 1)
        lower = np.floor(wanted).astype(int).clip(0, count - 2)
        share = (wanted - lower)[:, None]
        low, high = (
            np.take_along_axis(pixels, (lower + step)[:, None].repeat(pixels.shape[1], 1), 2)
            for step in (0, 1)
        )
        moved = places.copy()
        moved[:, 2] += np.interp(places[:, 0], np.arange(rows), shift)
        return (1 - share) * low + share * high, affine, moved

    return bent


CHANGES: dict[str, Callable[[Array, Array, Array], Slab]] = {
    "as it is": lambda *slab: slab,
    "two slices of one side dropped": drop_first,
    "two slices of the other side dropped": drop_last,
    "bent to one side": bend(1.0),
    "bent to the other side": bend(-1.0),
}


def measure(slabs: dict[str, Slab], options: argparse.Namespace) -> dict[str, Any]:
    """Localize slabs with one slice and with all, and say how far off the slices are."""
    step_mm = {case: float(np.linalg.norm(slab[1][:3, 2])) for case, slab in slabs.items()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [write(folder / f"{case}.nii.gz", slab) for case, slab in slabs.items()]
        figures: dict[str, Any] = {"slabs": len(slabs)}
        for slices in ("one", "all"):
            out = folder / slices
            localize(files, out, formats=["json"], bundle=options.bundle, slices=slices)
            figures[slices] = beside(out, slabs, step_mm)
    middles = [slab[0].shape[2] // 2 - slab[2][:, 2].mean() for slab in slabs.values()]
    figures["the middle one within half a slice"] = share_within(middles, 0.5)
    return figures


def write(path: Path, slab: Slab) -> Path:
    """Write a slab as NIfTI."""
    nib.save(nib.Nifti1Image(slab[0].astype(np.float32), slab[1]), path)
    return path


def beside(out: Path, slabs: dict[str, Slab], step_mm: dict[str, float]) -> dict[str, Any]:
    """Distances across the slices: of the slice from the landmarks' mean, of each landmark."""
    chosen, landmarks = [], []
    for case, (_, affine, points_ijk) in slabs.items():
        places = points_ijk[:, 2]
        content = read_case(out / case / RESULT_FILE)
        found = points_ijk_from_lps(points_lps_of(content, LUMBAR11.names), affine)[:, 2]
        chosen.append(content["slice"]["index"] - places.mean())
        landmarks.append(np.abs(found - places) * step_mm[case])
    distances = np.concatenate(landmarks)
    return {
        "slice within half a slice": share_within(chosen, 0.5),
        "slice within one slice": share_within(chosen, 1.2),
        "landmarks beside their slice, mean mm": round(float(np.nanmean(distances)), 2),
        "landmarks beside their slice, 95 % mm": round(float(np.nanquantile(distances, 0.95)), 2),
    }


def share_within(values: list[float], limit: float) -> float:
    """Return the share of values at most so far from 0."""
    return round(float((np.abs(values) <= limit).mean()), 3)


if __name__ == "__main__":
    main()
