"""Plots of errors: pictures of the right size, and the curves that stand in them."""

import matplotlib.image
import numpy as np
import pytest

from spine_monai.viz import figures, plot_cumulative_error, plot_landmark_errors, plots

NAMES = ["L4", "L4-L5", "L5"]
ERRORS_MM = np.array([[1.0, 2.0, np.nan], [3.0, np.inf, np.nan], [8.5, 6.0, np.nan]])


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, in order; they are saved all the same."""
    kept = []

    def save(figure, path):
        kept.append(figure)
        figures.save_figure(figure, path)

    monkeypatch.setattr(plots, "save_figure", save)
    return kept


def line(figure, label):
    return next(one for one in figure.axes[0].get_lines() if one.get_label() == label)


def test_both_plots_are_png_pictures_of_their_size(tmp_path):
    plot_landmark_errors(ERRORS_MM, NAMES, tmp_path / "errors.png", "three cases")
    plot_cumulative_error({"fused": ERRORS_MM}, tmp_path / "curve.png", "three cases")
    errors = matplotlib.image.imread(tmp_path / "errors.png")
    curve = matplotlib.image.imread(tmp_path / "curve.png")
    assert (errors.shape[:2], curve.shape[:2]) == ((540, 1080), (540, 780))


def test_each_known_error_is_a_dot_and_a_miss_lies_on_top(drawn, tmp_path):
    plot_landmark_errors(ERRORS_MM, NAMES, tmp_path / "errors.png", "three cases")
    dots = line(drawn[0], "one case")
    expected = [1.0, 2.0, np.nan, 3.0, 20.0, np.nan, 8.5, 6.0, np.nan]
    np.testing.assert_array_equal(dots.get_ydata(), expected)
    assert np.abs(dots.get_xdata() - np.tile([0, 1, 2], 3)).max() < 0.2
    assert drawn[0].axes[0].get_ylim()[1] > 20.0


def test_the_median_counts_misses_and_leaves_out_what_is_unknown(drawn, tmp_path):
    plot_landmark_errors(ERRORS_MM, NAMES, tmp_path / "errors.png", "three cases")
    np.testing.assert_array_equal(line(drawn[0], "median").get_ydata(), [3.0, 6.0, np.nan])
    ticks = [tick.get_text() for tick in drawn[0].axes[0].get_xticklabels()]
    assert ticks == NAMES


def test_large_errors_stretch_the_scale(drawn, tmp_path):
    plot_landmark_errors(ERRORS_MM * 10, NAMES, tmp_path / "errors.png", "three cases")
    assert line(drawn[0], "one case").get_ydata()[4] == pytest.approx(85 * 1.05)


def test_the_curve_is_the_share_of_known_errors(drawn, tmp_path):
    errors = {"fused": ERRORS_MM, "one": np.array([4.0])}
    plot_cumulative_error(errors, tmp_path / "curve.png", "three cases")
    curve = line(drawn[0], "fused")
    shares = dict(zip(curve.get_xdata().round(3), curve.get_ydata(), strict=True))
    assert [shares[mm] for mm in (0.95, 1.0, 8.0, 20.0)] == pytest.approx([0, 1 / 6, 4 / 6, 5 / 6])
    assert line(drawn[0], "one").get_ydata()[-1] == 1.0
    assert drawn[0].axes[0].get_title() == "three cases"
