"""Logs and references tell what happened, and nothing of whom."""

import io
import json
import logging

import pytest

from spine_monai.pacs.node.log import log, set_up_log, without_names
from spine_monai.pacs.node.reasons import why_failed, why_ignored
from spine_monai.pacs.node.references import KEY_FILE, References


@pytest.fixture
def lines():
    """Log as a node does, and give the lines."""
    names = ["spine_monai.pacs", "spine_monai.workflows", "spine_monai.readers"]
    names.append("spine_monai.writers")
    before = {name: logging.getLogger(name).level for name in names}
    stream = io.StringIO()
    set_up_log(stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)
    logging.getLogger("spine_monai.pacs").handlers = []
    logging.getLogger("spine_monai.pacs").propagate = True


def test_a_line_is_json_with_time_level_and_event(lines):
    log("objects came", reference="0123", objects=3)
    log("refused", logging.WARNING, kind="disk_full")
    first, second = lines()
    assert first.pop("time").endswith("Z")
    assert first == {"level": "info", "event": "objects came", "reference": "0123", "objects": 3}
    assert (second["level"], second["kind"]) == ("warning", "disk_full")


def test_what_others_say_holds_no_uid_and_no_path(lines):
    logging.getLogger("spine_monai.pacs.remotes.dimse").error(
        "no 1.2.840.113619.2.1 in /data/doe/x.dcm"
    )
    logging.getLogger("spine_monai.workflows.localizer").error("case 1.2.840.113619.2.1 failed")
    assert [line["event"] for line in lines()] == ["no <uid> in <path>"]


def test_a_traceback_is_left_out(lines):
    try:
        raise ValueError("Doe^Jane")
    except ValueError:
        logging.getLogger("spine_monai.pacs").exception("it went wrong")
    assert "Doe" not in json.dumps(lines())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/a/b must hold series 1.2.3.4:2: no", "<path> must hold series <uid>: no"),
        ("status 0xA700, 3.5 MB", "status 0xA700, 3.5 MB"),
        ("series 1 (2.25.3080381) must", "series 1 (<uid>) must"),
        ("(/x/y)", "(<path>)"),
    ],
)
def test_names_are_taken_out(text, told):
    assert without_names(text) == told


def test_a_study_without_a_series_is_told_from_one_that_failed():
    reason = "/node/incoming/1.2.3.4 must hold one sagittal T2 series: none of 2 is one. series 3: "
    reason += "T1. A series can be named by its UID."
    assert why_ignored(reason) == "no sagittal T2 series to work on: none of 2 is one"
    assert why_ignored("/node must hold pixels") == ""
    assert why_failed(f"/node/1.2.3.4.5.dcm {'x' * 1000}") == f"<path> {'x' * 293}"


def test_a_reference_is_the_same_with_its_key_and_another_with_another(tmp_path):
    references = References.of(tmp_path)
    assert references.name("1.2.3") == References.of(tmp_path).name("1.2.3")
    assert references.name("1.2.3") != references.name("1.2.4")
    (tmp_path / "other").mkdir()
    assert References.of(tmp_path / "other").name("1.2.3") != references.name("1.2.3")
    assert len(references.name("1.2.3")) == 16
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_a_spoilt_key_is_not_replaced(tmp_path):
    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(ValueError, match="must hold a key of 32 bytes: got 5"):
        References.of(tmp_path)
