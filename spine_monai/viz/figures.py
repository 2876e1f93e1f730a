"""Matplotlib figures made and saved without a screen and without global state."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

RESEARCH_NOTE = "Research only. Not for clinical use."


def require_matplotlib() -> None:
    """Check that the extra for pictures is installed.

    Raises:
        ImportError: it is not.
    """
    if find_spec("matplotlib") is None:
        msg = "pictures need matplotlib, which is not installed: pip install 'spine_monai[viz]'."
        raise ImportError(msg)


def new_figure(width_in: float, height_in: float) -> Any:
    """Return an empty figure of a size in inches that knows how to save itself as PNG."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in))
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: Path, dpi: int = 120) -> None:
    """Write a figure as PNG without a date in it, so that equal pictures are equal files.

    The quickest compression makes files a fifth larger in half the time.
    """
    quick = {"compress_level": 1}
    figure.savefig(path, dpi=dpi, format="png", metadata={"Software": None}, pil_kwargs=quick)
