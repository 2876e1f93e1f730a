"""An output folder of `localize` as the quality report finds it."""

import pytest
from tools.report_run import RunWriter, straight_spine


@pytest.fixture
def sure(landmarks):
    """Landmarks that are all found, and as far apart as in a spine."""
    return straight_spine(landmarks)


@pytest.fixture
def make_run(tmp_path, result, located):
    """Write a run: landmarks by case, and for failed cases the reason; gives its folder."""
    return RunWriter(tmp_path / "out", result, located)
