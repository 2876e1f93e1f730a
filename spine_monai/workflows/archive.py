"""Runs that many machines share, and that go on where they were: shards and their manifests."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing

from tqdm import tqdm

from spine_monai.workflows.cases import Case
from spine_monai.workflows.engines import Engine
from spine_monai.workflows.job import Job
from spine_monai.workflows.localizer import FINISHED
from spine_monai.workflows.manifest import (
    DONE,
    POISON,
    Manifest,
    Word,
    first_start,
    job_key,
    last_words,
)
from spine_monai.workflows.outputs import was_set_aside, write_run
from spine_monai.workflows.report import CaseReport, Reports, RunReport
from spine_monai.workflows.shards import Shard
from spine_monai.workflows.tries import TRIES_FOLDER, Tries

NOT_DONE = "no run has finished it with these weights and options; run its shard, then gather again"


def run_shard(engine: Engine, job: Job, cases: Sequence[Case], shard: Shard) -> RunReport:
    """Do the cases of a shard that its manifest does not list as finished, and list them.

    What the manifest lists is believed: neither the study nor the result is looked at, unless a
    later run set the result aside. The files that hold all cases are written only where the shard
    is all cases.

    Args:
        engine: does the cases.
        job: what is done with each.
        cases: all there are.
        shard: which of them are done here.

    Returns:
        What happened to each case; only the failed ones are kept.

    Raises:
        ManifestInUseError: another run does this shard.
        OSError: the output folder cannot be written.
    """
    report = RunReport.start(job.bundle, job.formats)
    tries = Tries(job.output_dir / TRIES_FOLDER)
    with Manifest(job.output_dir, shard, job.identity) as manifest:
        words = {} if job.overwrite else last_words(job.output_dir, manifest.key)
        suspects = tries.suspects()  # last, so that they cannot keep the others from being done
        own = [case for case in cases if shard.holds(case.id)]
        todo = list(_todo(job, own, words, report))
        todo.sort(key=lambda case: case.id in suspects)
        items = (case.network_item for case in todo)
        slices = {case.id: case.slice_index for case in todo}
        if todo:
            with closing(engine.run(items, suspects)) as reports:
                for case in progress(reports, len(todo)):
                    manifest.add(case, slices[case.case])
                    report.count(case)
            tries.clear()
    if shard.is_whole:
        gather_cases(job, cases)
    return report


def _todo(
    job: Job, cases: Sequence[Case], words: dict[str, Word], report: RunReport
) -> Iterator[Case]:
    for case in cases:
        word = _word_on(job, case, words)
        if word is not None and word.status == DONE:
            report.count(CaseReport(case.id, "skipped", FINISHED))
        elif word is not None and word.status == POISON:
            report.count(word.report())
        else:
            yield case


def _word_on(job: Job, case: Case, words: dict[str, Word]) -> Word | None:
    """The last word on a case; none where it was about another slice, or results set aside."""
    word = words.get(case.id)
    if word is None or word.slice_index != case.slice_index:
        return None
    is_gone = word.status == DONE and was_set_aside(job.output_dir / case.id)
    return None if is_gone else word


def gather_cases(job: Job, cases: Sequence[Case]) -> RunReport:
    """Write the files that hold all cases, from the manifests of all shards.

    Args:
        job: what the shards did with each case.
        cases: all there are; one in no manifest counts as failed.

    Raises:
        OSError: the output folder cannot be written.
    """
    key = job_key(job.identity)
    words = last_words(job.output_dir, key)
    started = first_start(job.output_dir, key) or time.time()
    report = RunReport(job.bundle, job.formats, started)
    report.write(job.output_dir, _counted(job, cases, words, report))
    write_run(job.output_dir, job.formats)
    return report


def _counted(job: Job, cases: Sequence[Case], words: dict[str, Word], report: RunReport) -> Reports:
    for case in cases:
        word = _word_on(job, case, words)
        entry = word.report() if word else CaseReport(case.id, "failed", NOT_DONE)
        report.count(entry)
        yield entry


def progress(reports: Reports, total: int) -> Reports:
    """Yield the reports and draw how far it is, on a terminal."""
    yield from tqdm(reports, total=total, desc="localize", unit="case", disable=None)
