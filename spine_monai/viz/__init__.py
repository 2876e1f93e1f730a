"""Pictures: landmarks on their slice, and plots of errors. Needs the extra ``viz``."""

from spine_monai.viz.figures import require_matplotlib
from spine_monai.viz.overlay import draw_overlay
from spine_monai.viz.plots import plot_cumulative_error, plot_landmark_errors

__all__ = ["draw_overlay", "plot_cumulative_error", "plot_landmark_errors", "require_matplotlib"]
