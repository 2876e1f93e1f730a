"""Studies that readers get wrong, written on the spot: how to write each, and what must come of it.

All hold one phantom with H != W, three spacings, an oblique scan and a different picture in each
slice, under a name and a description that must not appear in any message. ``CASES`` lists them.
"""

from hard_cases import encodings, files, geometry, multiframe, series, volumes  # noqa: F401
from hard_cases.outcomes import Outcome, by_simpleitk, by_spine_monai
from hard_cases.registry import CASES, HardCase, Written

__all__ = ["CASES", "HardCase", "Outcome", "Written", "by_simpleitk", "by_spine_monai"]
