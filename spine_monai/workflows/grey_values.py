"""Whether a slice's grey values leave its tissues any contrast once they are equalized.

The bundle's preprocessing (``HistogramNormalized``) counts pixels in 256 even steps from the least
grey value to the greatest: one far off puts all tissues into the same few steps.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEPS = 256  # num_bins of the bundle's configurations
SHARE = 0.99  # of the pixels
# Tried by hand: every slice of 28 T2 studies needs 119 steps or more. With one voxel far above it,
# points were up to 4 mm off where 12 were left (as usual at 16), 9 mm at 6, and 45 mm at 2.
FEW_STEPS = 12
# Grey values a step, at least: else steps are few because the image has few values, and no extreme
# one takes contrast away.
VALUES_PER_STEP = 2


def grey_value_warnings(item: Mapping[str, Any]) -> tuple[Mapping[str, str], ...]:
    """Warn of a slice of which nearly all pixels lie in very few steps, many values in each.

    Args:
        item: of the slice, ``slice`` with its ``index``, and ``native_image``, (1, H, W) as it goes
            into the preprocessing.

    Returns:
        One warning with ``code`` and ``message``, or none.
    """
    values = np.asarray(item["native_image"])
    index = item["slice"]["index"]
    low, high = float(values.min()), float(values.max())
    steps = _fewest(np.histogram(values, STEPS)[0])
    if low == high or steps > FEW_STEPS or not _are_shared(values, steps):
        return ()
    message = "clip or window the image's grey values, or look at each landmark: "
    message += f"{SHARE * 100:g} % of the pixels of slice {index} lie in {steps} of the {STEPS} "
    message += f"steps from its least grey value to its greatest ({low:g} to {high:g}), so "
    message += "its tissues have hardly any contrast left, and landmarks may be far off"
    return ({"code": "extreme_grey_values", "message": message},)


def _are_shared(values: NDArray[Any], steps: int) -> bool:
    """Whether the steps in use hold more grey values than one each."""
    return _fewest(np.unique(values, return_counts=True)[1]) >= VALUES_PER_STEP * steps


def _fewest(counts: NDArray[Any]) -> int:
    """How many of the counted groups, the fullest first, hold nearly all pixels."""
    sums = np.sort(counts)[::-1].cumsum()
    return int(np.searchsorted(sums, SHARE * sums[-1])) + 1
