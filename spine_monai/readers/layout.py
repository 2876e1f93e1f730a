"""How a series lies in the patient, as far as its headers can be read."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spine_monai.readers.errors import StudyError
from spine_monai.readers.series import Series
from spine_monai.readers.stacks import SAME_PLANE_MM, placed_along_normal

PLANES = ("sagittal", "coronal", "axial")  # by the axis nearest the normal: x, y, z
# What readers accept as even: a slice may be off its place by so much of the mean distance.
EVEN_SPACING = 0.1


@dataclass(frozen=True)
class Layout:
    """Plane, grid and extent of a series.

    Args:
        plane: ``sagittal``, ``coronal`` or ``axial``, whichever is nearest; empty if unreadable.
        oblique_deg: angle between the images' plane and that one.
        matrix: rows and columns.
        pixel_mm: distance between rows and between columns; ``None`` if unreadable.
        slices: number of planes; of images, if their places are unreadable.
        steps_mm: distance from each plane to the next.
    """

    plane: str
    oblique_deg: float
    matrix: tuple[int, int]
    pixel_mm: tuple[float, float] | None
    slices: int
    steps_mm: tuple[float, ...]

    @property
    def is_even(self) -> bool:
        """Whether the slices are evenly spaced."""
        steps_mm = np.array(self.steps_mm or (0.0,))
        return bool(np.abs(steps_mm - steps_mm.mean()).max() <= EVEN_SPACING * steps_mm.mean())

    @property
    def step_range_mm(self) -> tuple[float, ...]:
        """Smallest and largest distance; empty where there is none."""
        return (min(self.steps_mm), max(self.steps_mm)) if self.steps_mm else ()

    @property
    def extent_mm(self) -> tuple[float, float]:
        """Height of the images and width of the stack; 0 where they are unreadable."""
        height_mm = self.matrix[0] * self.pixel_mm[0] if self.pixel_mm else 0.0
        return height_mm, float(sum(self.steps_mm))


def layout_of(series: Series) -> Layout:
    """Return how a series lies in the patient."""
    header = series.header
    matrix = (int(header.Rows), int(header.Columns))
    try:
        row_mm, column_mm = series.instances[0].pixel_spacing_mm.tolist()
        pixel_mm = (row_mm, column_mm)
    except StudyError:
        pixel_mm = None
    try:
        heights_mm = np.array([place.height_mm for place in placed_along_normal(series.instances)])
        plane, oblique_deg = plane_of(series.instances[0].normal_lps)
    except StudyError:
        return Layout("", 0.0, matrix, pixel_mm, len(series.instances), ())
    steps_mm = np.diff(heights_mm)
    steps_mm = steps_mm[steps_mm >= SAME_PLANE_MM]
    return Layout(plane, oblique_deg, matrix, pixel_mm, len(steps_mm) + 1, tuple(steps_mm.tolist()))


def plane_of(normal_lps: NDArray[np.float64]) -> tuple[str, float]:
    """Return the anatomical plane nearest to one, and the angle between them in degrees."""
    along = np.abs(normal_lps)
    nearest = int(along.argmax())
    return PLANES[nearest], float(np.degrees(np.arccos(min(along[nearest], 1.0))))
