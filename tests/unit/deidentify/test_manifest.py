import json
from collections import Counter
from dataclasses import replace

import pytest

from spine_monai.deidentify.manifest import MANIFEST_FILE, Entry, add_entry, finished


@pytest.fixture
def entry(tmp_path):
    """A series of two images, exported."""
    for name in ("1.dcm", "2.dcm"):
        (tmp_path / "S-A" / "x").mkdir(parents=True, exist_ok=True)
        (tmp_path / "S-A" / "x" / name).touch()
    return Entry("done", 1, "why", series="2.25.1", folder="S-A/x", objects=2, fingerprint="f")


def test_an_entry_is_a_line_with_the_profile(tmp_path, entry):
    add_entry(tmp_path, entry)
    add_entry(tmp_path, Entry("refused", 2, "no", refused=Counter({"a report": 3})))
    first, second = map(json.loads, (tmp_path / MANIFEST_FILE).read_text().splitlines())
    assert first["profile"]["options"]["113100"].startswith("Basic")
    assert (first["status"], first["objects"]) == ("done", 2)
    assert second["refused"] == {"a report": 3}


def test_what_is_whole_is_finished(tmp_path, entry):
    assert finished(tmp_path) == {}
    add_entry(tmp_path, entry)
    assert set(finished(tmp_path)) == {"f"}


def test_a_missing_image_or_folder_of_landmarks_is_not_finished(tmp_path, entry):
    add_entry(tmp_path, replace(entry, landmarks="landmarks/2.25.1"))
    assert finished(tmp_path) == {}
    (tmp_path / "landmarks" / "2.25.1").mkdir(parents=True)
    assert set(finished(tmp_path)) == {"f"}
    (tmp_path / "S-A" / "x" / "1.dcm").unlink()
    assert finished(tmp_path) == {}


def test_the_last_line_about_a_series_counts(tmp_path, entry):
    add_entry(tmp_path, entry)
    add_entry(tmp_path, replace(entry, status="refused", fingerprint="g"))
    assert finished(tmp_path) == {}


def test_a_torn_line_is_left_out_and_does_not_tear_the_next(tmp_path, entry):
    (tmp_path / MANIFEST_FILE).write_text('{"format": "spine_mo')
    add_entry(tmp_path, entry)
    assert set(finished(tmp_path)) == {"f"}


@pytest.mark.parametrize(
    ("change", "is_whole"),
    [({}, True), ({"status": "skipped"}, True), ({"status": "refused"}, False)],
)
def test_an_entry_is_whole_if_nothing_was_refused(entry, change, is_whole):
    assert replace(entry, **change).is_whole is is_whole
    assert not replace(entry, **change, refused={"a report": 1}).is_whole
