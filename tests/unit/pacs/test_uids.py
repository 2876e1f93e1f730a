"""UIDs of which paths are made."""

import pytest
from pydicom import Dataset

from spine_monai.pacs.uids import checked_uid


@pytest.mark.filterwarnings("ignore:The value length")
@pytest.mark.parametrize("uid", ["../../etc", "1.2/3", "", "..", "1" * 65, "1.2\n", "1.2\x00"])
def test_no_path_is_made_of_what_is_no_uid(uid):
    dataset = Dataset()
    dataset.add_new("SeriesInstanceUID", "LO", uid)
    with pytest.raises(ValueError, match="must be 1 to 64 digits and points") as caught:
        checked_uid(dataset, "SeriesInstanceUID")
    assert "etc" not in str(caught.value)
