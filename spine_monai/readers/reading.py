"""What reading gives: values, their place in the patient, and what to know about them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spine_monai.readers.series import Instance


@dataclass(frozen=True)
class Reading:
    """An image volume as arrays.

    Args:
        array: (I, J, K) float32; of DICOM (rows, columns, slices).
        affine: (4, 4) ras_from_index.
        instances: the DICOM image of each slice along K; empty for other files. Copies are gone.
        warnings: what a user of the result should know, each with ``code`` and ``message``.
    """

    array: NDArray[np.float32]
    affine: NDArray[np.float64]
    instances: tuple[Instance, ...] = ()
    warnings: tuple[dict[str, str], ...] = ()


def warning(code: str, message: str) -> dict[str, str]:
    """Return one entry of a reading's warnings."""
    return {"code": code, "message": message}
