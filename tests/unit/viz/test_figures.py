"""Figures without a screen."""

import matplotlib.image
import pytest
from matplotlib import pyplot

from spine_monai.viz import figures, require_matplotlib
from spine_monai.viz.figures import new_figure, save_figure


def test_a_figure_is_a_png_of_its_size(tmp_path):
    save_figure(new_figure(2.0, 1.5), tmp_path / "figure", dpi=100)
    picture = matplotlib.image.imread(tmp_path / "figure", format="png")
    assert picture.shape[:2] == (150, 200)


def test_equal_figures_are_equal_files(tmp_path):
    for name in "ab":
        save_figure(new_figure(1, 1), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert b"Software" not in (tmp_path / "a").read_bytes()


def test_figures_stay_out_of_pyplot():
    new_figure(1, 1)
    assert pyplot.get_fignums() == []


def test_without_matplotlib_the_extra_to_install_is_named(monkeypatch):
    require_matplotlib()
    monkeypatch.setattr(figures, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'spine_monai\[viz\]'"):
        new_figure(1, 1)
