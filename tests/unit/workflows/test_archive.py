"""What a shard's manifest is believed about: an engine of our own that only counts."""

from spine_monai.workflows.archive import gather_cases, run_shard
from spine_monai.workflows.cases import Case, ListedStudy
from spine_monai.workflows.job import Job
from spine_monai.workflows.outputs import set_aside
from spine_monai.workflows.report import CaseReport
from spine_monai.workflows.shards import Shard

BUNDLE = {"name": "b", "version": "1", "weights_sha256": {}, "config_sha256": ""}


class Counting:
    """Does every case at once, and notes its slice."""

    def __init__(self):
        self.slices = []

    def run(self, items, alone):
        for item in items:
            self.slices.append(item.get("slice_index"))
            yield CaseReport(item["id"], "done", "T2")


def test_a_case_whose_own_slice_changed_is_done_again(tmp_path):
    job, engine = Job(tmp_path, ("json",), BUNDLE), Counting()
    for slice_index in (1, 1, 3, 1, None):
        case = Case("a", ListedStudy("a"), slice_index)
        run_shard(engine, job, [case], Shard(1, 2))
    assert engine.slices == [1, 3, 1, None]


def test_what_was_done_on_another_slice_is_not_gathered(tmp_path):
    job = Job(tmp_path, ("json",), BUNDLE)
    cases = [Case("a", ListedStudy("a"), 1)]
    run_shard(Counting(), job, cases, Shard(1, 2))
    run_shard(Counting(), job, cases, Shard(2, 2))
    assert not gather_cases(job, cases).failed
    (failed,) = gather_cases(job, [Case("a", ListedStudy("a"), 3)]).failed
    assert "no run has finished it with these weights and options" in failed.reason


def test_the_manifest_does_not_vouch_for_results_that_were_set_aside(tmp_path):
    job, engine, cases = Job(tmp_path, ("json",), BUNDLE), Counting(), [Case("a", ListedStudy("a"))]
    run_shard(engine, job, cases, Shard(1, 2))
    run_shard(engine, job, cases, Shard(2, 2))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "landmarks.json").write_text("{}")
    run_shard(engine, job, cases, Shard(1, 1))
    assert len(engine.slices) == 1
    set_aside(tmp_path / "a")
    (failed,) = gather_cases(job, cases).failed
    assert "no run has finished it" in failed.reason
    run_shard(engine, job, cases, Shard(1, 1))
    assert len(engine.slices) == 2


def test_the_manifest_is_believed_of_results_that_were_moved_away(tmp_path):
    job, engine, cases = Job(tmp_path, ("json",), BUNDLE), Counting(), [Case("a", ListedStudy("a"))]
    for _ in range(2):
        run_shard(engine, job, cases, Shard(1, 1))
    assert len(engine.slices) == 1
