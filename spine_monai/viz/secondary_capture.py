"""The overlay as a DICOM secondary capture, with its purpose burned in."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spine_monai.readers.series import Series
from spine_monai.viz.figures import new_figure
from spine_monai.viz.overlay import draw_overlay
from spine_monai.writers.dicom_sc import write_capture
from spine_monai.writers.dicom_study import SOFTWARE
from spine_monai.writers.result import Result

BANNER = "RESEARCH ONLY"
BANNER_IN, BANNER_DPI = 0.5, 100


def write_sc(result: Result, content: Mapping[str, Any], series: Series, path: Path) -> None:
    """Draw the landmarks on their slice and write the picture in the study of the images.

    The case's id is not drawn: it may be a file's name, and pixels are not de-identified.

    Args:
        result: landmarks and slice.
        content: of ``landmarks.json``.
        series: the images; see ``writers.check_is_dicom``.
        path: file to write.

    Raises:
        ImportError: the extra ``viz`` is not installed.
        ValueError: the series does not hold the slice.
    """
    write_capture(_picture(result), result, content, series, path)


def _picture(result: Result) -> NDArray[np.uint8]:
    """(H, W, 3) RGB: the banner over the overlay."""
    from matplotlib.image import imread

    with TemporaryDirectory() as folder:
        file = Path(folder) / "overlay.png"
        draw_overlay(replace(result, case=SOFTWARE), file)
        overlay = np.rint(imread(file)[..., :3] * 255).astype(np.uint8)
    return np.concatenate([_banner(overlay.shape[1]), overlay])


def _banner(width: int) -> NDArray[np.uint8]:
    figure = new_figure(width / BANNER_DPI, BANNER_IN)
    figure.set_dpi(BANNER_DPI)
    figure.text(0.5, 0.45, BANNER, ha="center", va="center", fontsize=18, weight="bold")
    figure.set_facecolor("#ffd166")
    figure.canvas.draw()
    pixels: NDArray[np.uint8] = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    return pixels
