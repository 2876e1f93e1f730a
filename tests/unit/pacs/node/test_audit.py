"""The audit file on a disk without room."""

import json

import pytest
from pacs_node import SmallDisk

from spine_monai.pacs.node.audit import Audit


def test_a_line_that_finds_no_room_leaves_nothing(tmp_path):
    with SmallDisk(tmp_path / "disk", 1) as disk:
        audit = Audit(disk.folder, "weights")
        audit.write("done", "0123")
        before = audit.file.read_bytes()
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            audit.write("failed", "4567", reason="x" * 2 * disk.PAGE)
        assert audit.file.read_bytes() == before
        disk.free()
        audit.write("done", "4567")
        lines = audit.file.read_text().splitlines()
        assert [json.loads(line)["reference"] for line in lines] == ["0123", "4567"]
