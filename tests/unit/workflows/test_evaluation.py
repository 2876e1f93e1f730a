import json

import pytest

from spine_monai.workflows.evaluation import evaluate

RECORD = {
    **{"format": "spine_monai.landmarks", "format_version": 1, "case": "a"},
    **{"landmark_set": "lumbar11", "source": {}, "slice": {}, "landmarks": []},
}


def test_two_folders_with_one_case_are_refused(tmp_path):
    for folder in ("a", "a of yesterday"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "landmarks.json").write_text(json.dumps(RECORD))
    expected = r"one folder for each case: .*/a and .*/a of yesterday are both of the case a\. "
    with pytest.raises(ValueError, match=expected):
        evaluate(tmp_path, tmp_path)
