"""Synthetic sagittal T2 studies with known landmarks, for tests and load; never for accuracy.

The phantom is a lordotic column of grey vertebrae and brighter discs before a bright canal, on a
noisy background: eleven separable levels, and no axis like another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from spine_monai.data.datalists import Item
from spine_monai.data.dicom import write_dicom_series
from spine_monai.geometry import LPS_FROM_RAS, apply_affine
from spine_monai.landmarks import LUMBAR11

FloatArray = NDArray[np.float64]
PITCH_MM = 16.0
TOP_MM = 40.0
DEPTH_MM = 14.0


@dataclass(frozen=True)
class SyntheticStudy:
    """A phantom and the truth about it.

    Args:
        volume: (I, J, K) uint16; axes row (inferior), column (posterior), slice (right).
        ras_from_index: (4, 4) affine.
        points_lps: (3,) LPS point in mm of each landmark.
    """

    volume: NDArray[np.uint16]
    ras_from_index: FloatArray
    points_lps: dict[str, FloatArray]

    def write_dicom(self, folder: Path, *, seed: str, **attributes: Any) -> list[Path]:
        """Write the study as a DICOM series; see ``write_dicom_series``."""
        t2 = {"EchoTime": "100", "RepetitionTime": "3000", "ImageType": ["ORIGINAL", "PRIMARY"]}
        return write_dicom_series(
            self.volume, self.ras_from_index, folder, seed=seed, attributes=t2 | attributes
        )

    def write_nifti(self, path: Path) -> Path:
        """Write the study as NIfTI."""
        nib.save(nib.Nifti1Image(self.volume, self.ras_from_index), path)
        return path

    def datalist_item(self, image: Path, *, case: str, fold: int) -> Item:
        """Return the datalist item of the study as written to ``image``."""
        points = {name: point.tolist() for name, point in self.points_lps.items()}
        common: Item = {"id": case, "subject": case, "fold": fold, "image": str(image)}
        return common | {"points_lps": points}


def make_study(
    *,
    shape: Sequence[int] = (96, 80, 5),
    spacing_mm: Sequence[float] = (2.8, 2.4, 4.0),
    oblique_deg: Sequence[float] = (0.0, 0.0, 0.0),
    curve_mm: float = 0.0,
    seed: int = 0,
) -> SyntheticStudy:
    """Make a phantom.

    Args:
        shape: rows, columns, slices.
        spacing_mm: between rows, columns, slices.
        oblique_deg: rotation of the scan about the patient's x, y and z axes.
        curve_mm: how far the spine bends out of the middle slice, at its apex.
        seed: of noise and of the spine's shape.
    """
    generator = np.random.default_rng(seed)
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    middle_mm = np.array([0.0, 0.45 * shape[1], shape[2] // 2]) * spacing
    centres_mm = _centres_mm(middle_mm, curve_mm, generator, len(LUMBAR11))
    grid_mm = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) * spacing
    volume = generator.normal(100.0, 8.0, tuple(shape))
    for kind, centre_mm in zip(LUMBAR11.kinds, centres_mm, strict=True):
        _paint(volume, grid_mm, centre_mm, kind)
    affine = _oblique_affine(spacing, oblique_deg)
    points_ras = apply_affine(affine, centres_mm / spacing)
    points_lps = apply_affine(LPS_FROM_RAS, points_ras)
    pixels = volume.clip(0, 4095).round().astype(np.uint16)
    return SyntheticStudy(pixels, affine, dict(zip(LUMBAR11.names, points_lps, strict=True)))


def _centres_mm(
    middle_mm: FloatArray, curve_mm: float, generator: np.random.Generator, count: int
) -> FloatArray:
    """(N, 3) centres along rows, columns and slices, in mm from the first pixel."""
    along = np.linspace(0, 1, count)
    lordosis_mm = generator.uniform(10, 22)
    rows = TOP_MM + generator.uniform(-6, 6) + PITCH_MM * np.arange(count)
    columns = middle_mm[1] - lordosis_mm * np.sin(np.pi * along) + 12 * along
    slices = middle_mm[2] + curve_mm * np.sin(np.pi * along)
    return np.stack([rows, columns, slices], axis=-1)


def _paint(volume: FloatArray, grid_mm: FloatArray, centre_mm: FloatArray, kind: str) -> None:
    """Draw one level: a box for a vertebra, an ellipse for a disc, and the canal behind it."""
    row, column, across = np.moveaxis(np.abs(grid_mm - centre_mm), -1, 0)
    half_height = 0.5 * PITCH_MM * (1.25 if kind == "vertebra" else 0.6)
    is_body = (row < half_height) & (column < DEPTH_MM) & (across < 20.0)
    is_disc = (row / half_height) ** 2 + (column / DEPTH_MM) ** 2 + (across / 20.0) ** 2 < 1
    behind_mm = grid_mm[..., 1] - centre_mm[1] - DEPTH_MM
    is_canal = (row < PITCH_MM / 2) & (behind_mm > 4) & (behind_mm < 14) & (across < 8.0)
    volume[is_body if kind == "vertebra" else is_disc] = 350.0 if kind == "vertebra" else 700.0
    volume[is_canal] = 1100.0


def _oblique_affine(spacing_mm: FloatArray, oblique_deg: Sequence[float]) -> FloatArray:
    upright = np.zeros((3, 3))
    upright[2, 0], upright[1, 1], upright[0, 2] = -1.0, -1.0, 1.0  # inferior, posterior, right
    affine = np.eye(4)
    affine[:3, :3] = _rotation(oblique_deg) @ upright * spacing_mm
    affine[:3, 3] = [-11.0, 62.0, 95.0]
    return affine


def _rotation(angles_deg: Sequence[float]) -> FloatArray:
    rotation = np.eye(3)
    for axis, angle in enumerate(np.radians(angles_deg)):
        first, second = [(1, 2), (2, 0), (0, 1)][axis]
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        rotation = turn @ rotation
    return rotation
