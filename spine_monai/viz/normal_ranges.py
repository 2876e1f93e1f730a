"""Usual distances between neighbouring landmarks, in mm. Made by a program; do not edit.

    python tests/tools/make_normal_ranges.py <folder of the subjects>

From the reference landmarks of 28 subjects of the SPIDER data set (van der Graaf et al. 2024,
doi 10.5281/zenodo.10159290, CC BY 4.0): patients with low back pain, so usual is not healthy. A
pair has its median, its 2.5 and 97.5 percentile, and the same two of the distances divided by the
size of their spine. Each subject against the ranges of the others: 96% of the distances
lie in one of the two, and 79% of the subjects have all of theirs inside.
"""

SUBJECTS = 28
NORMAL_MM: dict[tuple[str, str], tuple[float, tuple[float, float], tuple[float, float]]] = {
    ("T12-L1", "L1"): (16.75, (11.93, 18.18), (14.25, 18.09)),
    ("L1", "L1-L2"): (17.12, (13.58, 18.16), (15.2, 18.43)),
    ("L1-L2", "L2"): (17.5, (12.91, 19.59), (15.19, 19.21)),
    ("L2", "L2-L3"): (18.04, (15.11, 19.77), (17.34, 19.93)),
    ("L2-L3", "L3"): (18.06, (14.26, 19.54), (16.87, 18.98)),
    ("L3", "L3-L4"): (18.61, (14.95, 19.76), (16.71, 20.34)),
    ("L3-L4", "L4"): (18.57, (13.98, 19.54), (15.81, 19.21)),
    ("L4", "L4-L5"): (18.6, (14.74, 21.1), (16.32, 20.94)),
    ("L4-L5", "L5"): (18.26, (13.57, 20.21), (15.51, 19.59)),
    ("L5", "L5-S1"): (18.19, (14.57, 20.7), (15.89, 21.08)),
}
