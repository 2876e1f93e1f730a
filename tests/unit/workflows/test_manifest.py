import json

import pytest

from spine_monai.workflows.manifest import (
    Manifest,
    ManifestInUseError,
    first_start,
    job_key,
    last_words,
)
from spine_monai.workflows.report import CaseReport
from spine_monai.workflows.shards import Shard

JOB = {"bundle": {"version": "1"}, "options": {"slices": "one"}, "formats": ["json"]}
OTHER_JOB = JOB | {"options": {"slices": "all"}}
WARNING = {"code": "c", "message": "look"}
DONE = CaseReport("a", "done", "T2", [WARNING], 1.25, digest="ab", tries=1)
FAILED = CaseReport("b", "failed", "no T2", [], tries=1)
SECOND = Shard(2, 3)
POISON = CaseReport("c", "failed", "kills", [], tries=3, is_poison=True)


def write(folder, *reports, job=JOB, shard=SECOND, slices=()):
    with Manifest(folder, shard, job) as manifest:
        for report in reports or [DONE]:
            manifest.add(report, dict(slices).get(report.case))
    return manifest


def test_what_is_written_is_read(tmp_path):
    manifest = write(tmp_path, DONE, FAILED, POISON)
    assert manifest.path == tmp_path / "manifest-2-of-3.jsonl"
    words = last_words(tmp_path, manifest.key)
    assert {case: word.status for case, word in words.items()} == {
        "a": "done",
        "b": "failed",
        "c": "poison",
    }
    assert [words[case].report() for case in "abc"] == [DONE, FAILED, POISON]


def test_a_skipped_case_is_done(tmp_path):
    manifest = write(tmp_path, CaseReport("a", "skipped", "finished before", digest="ab"))
    assert last_words(tmp_path, manifest.key)["a"].status == "done"


def test_the_first_line_says_what_the_run_does(tmp_path):
    manifest = write(tmp_path, DONE)
    head, case = map(json.loads, manifest.path.read_text().splitlines())
    assert (head["format"], head["format_version"]) == ("spine_monai.manifest", 1)
    assert {key: head[key] for key in JOB} == JOB
    assert head["job"] == case["job"] == job_key(JOB)
    assert case["digest"] == "ab"


def test_runs_and_shards_add_up_and_the_later_word_holds(tmp_path):
    write(tmp_path, FAILED, DONE)
    write(tmp_path, CaseReport("b", "done", "this time"), shard=Shard(1, 2))
    write(tmp_path, CaseReport("a", "failed", "no T2 any more"))
    words = last_words(tmp_path, job_key(JOB))
    assert {case: word.status for case, word in words.items()} == {"a": "failed", "b": "done"}
    assert words["b"].report().reason == "this time"


@pytest.mark.parametrize("later", ["1-of-2", "2-of-3"])
def test_of_two_manifests_the_later_word_holds(tmp_path, later):
    for shard, slice_index in ((Shard(1, 2), 4), (SECOND, 7)):
        path = write(tmp_path, slices={"a": slice_index}, shard=shard).path
        if shard.name != later:
            line = path.read_text().splitlines()[-1]
            ended = json.loads(line)["ended"]
            path.write_text(path.read_text().replace(ended, "2001-09-09T01:46:40+0000"))
    (word,) = last_words(tmp_path, job_key(JOB)).values()
    assert word.slice_index == (4 if later == "1-of-2" else 7)


def test_the_slice_of_a_case_is_told(tmp_path):
    manifest = write(tmp_path, DONE, slices={"a": 4})
    assert last_words(tmp_path, manifest.key)["a"].slice_index == 4


def test_lines_of_earlier_releases_name_no_slice(tmp_path):
    manifest = write(tmp_path, DONE)
    text = manifest.path.read_text()
    manifest.path.write_text(text.replace('"slice_index": null, ', ""))
    assert "slice_index" not in manifest.path.read_text()
    assert last_words(tmp_path, manifest.key)["a"].slice_index is None


def test_another_job_has_its_own_words(tmp_path):
    write(tmp_path, DONE)
    write(tmp_path, FAILED, job=OTHER_JOB)
    assert set(last_words(tmp_path, job_key(JOB))) == {"a"}
    assert set(last_words(tmp_path, job_key(OTHER_JOB))) == {"b"}


def test_the_first_start_is_that_of_the_job(tmp_path):
    manifest = write(tmp_path, DONE)
    lines = manifest.path.read_text()
    early = lines.replace(json.loads(lines.splitlines()[0])["started"], "2001-09-09T01:46:40+0000")
    (tmp_path / "manifest-1-of-3.jsonl").write_text(early)
    assert first_start(tmp_path, manifest.key) == 1e9
    assert first_start(tmp_path, "another") is None


@pytest.mark.parametrize("torn", [b'{"id": "d", "sta', b"\0" * 70000, b"{}"[:1]])
def test_a_torn_last_line_is_left_out_and_cut_off(tmp_path, torn):
    manifest = write(tmp_path, DONE)
    whole = manifest.path.read_bytes()
    manifest.path.write_bytes(whole + torn)
    assert set(last_words(tmp_path, manifest.key)) == {"a"}
    write(tmp_path, FAILED)
    assert manifest.path.read_bytes().startswith(whole + b'{"format"')
    assert set(last_words(tmp_path, manifest.key)) == {"a", "b"}


def test_a_file_without_any_whole_line_begins_anew(tmp_path):
    (tmp_path / "manifest-2-of-3.jsonl").write_bytes(b'{"form')
    manifest = write(tmp_path, DONE)
    assert set(last_words(tmp_path, manifest.key)) == {"a"}


@pytest.mark.parametrize("line", ["no JSON", "[]", "{}", '{"id": "a"}', '{"format": "x"}'])
def test_a_line_of_something_else_is_refused(tmp_path, line):
    manifest = write(tmp_path, DONE)
    with manifest.path.open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(ValueError, match=r"manifest-2-of-3.jsonl must hold lines of .* line 3 is"):
        last_words(tmp_path, manifest.key)


def test_one_run_at_a_time(tmp_path):
    with Manifest(tmp_path, SECOND, JOB):
        with pytest.raises(ManifestInUseError, match="is in use: another run does this shard"):
            Manifest(tmp_path, SECOND, JOB)
        with Manifest(tmp_path, Shard(1, 3), JOB):
            pass
    with Manifest(tmp_path, SECOND, JOB):
        pass


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        Manifest(tmp_path / "file", Shard(), JOB)
