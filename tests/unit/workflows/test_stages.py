"""Cross-validation needs something to hold out."""

import pytest

from spine_monai.workflows.stages import cross_validate


def test_one_fold_cannot_be_cross_validated(tmp_path):
    with pytest.raises(ValueError, match=r"at least two folds, to hold one out: got \[0\]"):
        cross_validate(tmp_path, [0], {})
