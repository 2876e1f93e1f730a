"""Write spine_monai/viz/normal_ranges.py: usual distances between neighbouring landmarks.

    python tests/tools/make_normal_ranges.py <folder of the subjects>

The folder holds one folder a subject with its reference, ``landmarks.mrk.json``.
"""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

from spine_monai.data import read_markups
from spine_monai.files import write_text
from spine_monai.landmarks import LUMBAR11
from spine_monai.viz.level_distances import spine_size

TARGET = Path(__file__).parents[2] / "spine_monai" / "viz" / "normal_ranges.py"
PERCENTILES = (2.5, 97.5)
HEADER = '''\
"""Usual distances between neighbouring landmarks, in mm. Made by a program; do not edit.

    python tests/tools/make_normal_ranges.py <folder of the subjects>

From the reference landmarks of {count} subjects of the SPIDER data set (van der Graaf et al. 2024,
doi 10.5281/zenodo.10159290, CC BY 4.0): patients with low back pain, so usual is not healthy. A
pair has its median, its 2.5 and 97.5 percentile, and the same two of the distances divided by the
size of their spine. Each subject against the ranges of the others: {inside:.0%} of the distances
lie in one of the two, and {all_inside:.0%} of the subjects have all of theirs inside.
"""

SUBJECTS = {count}
NORMAL_MM: dict[tuple[str, str], tuple[float, tuple[float, float], tuple[float, float]]] = {{
'''


def distances_of(file):
    """Distances of neighbours along one reference, head to foot."""
    points = read_markups(file)
    points_lps = np.stack([points[name] for name in LUMBAR11.names])
    return np.linalg.norm(np.diff(points_lps, axis=0), axis=-1)


def fit(distances_mm):
    """Medians (P,), plain (2, P) and sized (2, P) ranges of (subjects, P) distances."""
    medians = np.median(distances_mm, axis=0)
    sizes = np.array([spine_size(row, medians) for row in distances_mm])
    plain = np.percentile(distances_mm, PERCENTILES, axis=0)
    return medians, plain, np.percentile(distances_mm / sizes[:, None], PERCENTILES, axis=0)


def left_out(distances_mm):
    """Whether each subject's distances lie in a range of the others: (subjects, P)."""
    inside = []
    for index, row in enumerate(distances_mm):
        medians, plain, sized = fit(np.delete(distances_mm, index, axis=0))
        ranges = (plain, sized * spine_size(row, medians))
        inside.append(np.any([(low <= row) & (row <= high) for low, high in ranges], axis=0))
    return np.array(inside)


def text_of(distances_mm):
    """The module's text."""
    inside = left_out(distances_mm)
    shares = {"inside": inside.mean(), "all_inside": inside.all(axis=1).mean()}
    lines = [HEADER.format(count=len(distances_mm), **shares)]
    medians, plain, sized = (array.round(2).tolist() for array in fit(distances_mm))
    for pair, *row in zip(pairwise(LUMBAR11.names), medians, *plain, *sized, strict=True):
        median, low, high, sized_low, sized_high = row
        names = ", ".join(f'"{name}"' for name in pair)
        lines.append(f"    ({names}): ({median}, ({low}, {high}), ({sized_low}, {sized_high})),\n")
    return "".join(lines) + "}\n"


def main(data):
    files = sorted(Path(data).glob("*/landmarks.mrk.json"))
    write_text(TARGET, text_of(np.stack([distances_of(file) for file in files])))


if __name__ == "__main__":
    main(*sys.argv[1:])
