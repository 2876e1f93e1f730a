"""The model card of a bundle that was trained."""

import pytest

from spine_monai.landmarks import LUMBAR11
from spine_monai.workflows.bundle import find_bundle
from spine_monai.workflows.card import ROWS, write_card, write_metadata

FIGURES = {"n": 11, "mre_mm": 3.21, "sdr": {"4": 0.5, "8": 0.75}, "level_shifts": 2}
NONE_FOUND = FIGURES | {"mre_mm": None, "sdr": {"4": 0.0, "8": 0.0}}


@pytest.mark.parametrize(
    ("overall", "row"),
    [
        (FIGURES, "| 3.21 mm | 50.0% | 75.0% | 2 |"),
        (NONE_FOUND, "| not known | 0.0% | 0.0% | 2 |"),
    ],
)
def test_the_card_says_what_is_not_known(tmp_path, overall, row):
    (tmp_path / "configs").mkdir()
    write_metadata(find_bundle(), tmp_path, LUMBAR11)
    arms = {arm: {"overall": overall, "cases": 1, "subjects": 1} for arm in ROWS}
    write_card(tmp_path, arms | {"command": "train", "software": {"spine_monai": "0"}}, ())
    assert (tmp_path / "docs" / "README.md").read_text().count(row) == len(ROWS)
