"""Localize: studies in, landmarks in files out; one case's failure never ends the others."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai.data import DataLoader, Dataset
from monai.engines import EnsembleEvaluator
from tqdm import tqdm

from spine_monai.readers import LocatedStudy, locate_study
from spine_monai.readers.location import UnusableStudy
from spine_monai.workflows.bundle import describe_bundle, find_bundle, parse_config
from spine_monai.workflows.causes import in_one_line, root_cause
from spine_monai.workflows.outputs import (
    DEFAULT_FORMATS,
    check_formats,
    check_source,
    why_not_finished,
    write_case,
    write_run,
)
from spine_monai.workflows.report import CaseReport, RunReport
from spine_monai.workflows.slice_choice import Slices, check_slices, choose_slices
from spine_monai.writers import RESULT_FILE, Result, case_content

logger = logging.getLogger(__name__)

FIRST_TIME = "to be done"


@dataclass(frozen=True)
class Job:
    """What one call does with each of its cases.

    Args:
        output_dir: where the case folders go.
        formats: kinds of files to write.
        bundle: description of the bundle, as ``describe_bundle`` gives it.
        options: values of the workflow that change results.
        overwrite: do finished cases again.
    """

    output_dir: Path
    formats: tuple[str, ...]
    bundle: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    overwrite: bool = False

    @property
    def slices(self) -> Slices:
        """Whether the landmarks come from ``one`` slice or ``all``."""
        return check_slices(self.options.get("slices", "one"))


def localize(
    studies: Sequence[str | Path],
    output_dir: str | Path,
    *,
    formats: Sequence[str] = DEFAULT_FORMATS,
    bundle: str | Path | None = None,
    device: str | None = None,
    **values: Any,
) -> RunReport:
    """Find the landmarks of studies and write them, one folder a case.

    Runs the bundle's ``inference.yaml``; ``python -m monai.bundle run evaluating`` does the same.

    Args:
        studies: DICOM folders, zips or files, volume files (NIfTI, MHA, NRRD), PNG or JPEG
            pictures, datalists.
        output_dir: folder for the results; made if need be.
        formats: ``json``, ``csv``, ``markups``, ``overlay``, ``report``, ``sr``, ``sc``, ``gsps``.
        bundle: folder of the bundle; see ``find_bundle``.
        device: such as ``cpu`` or ``cuda:0``; the bundle's choice where not given.
        **values: further ids of ``inference.yaml``, such as ``overwrite``, ``num_workers``,
            ``slice_index``, ``slices``, ``series_uid`` and ``pixel_spacing_mm``.

    Returns:
        What happened to each case. Failed cases are in it, not raised.

    Raises:
        ValueError: the studies, formats or bundle are wrong, before any work is done.
        OSError: the output folder cannot be written.
    """
    root = find_bundle(bundle)
    check_formats(formats)
    describe_bundle(root)
    values |= {"studies": [str(study) for study in studies], "output_dir": str(output_dir)}
    if device:
        values["device"] = f"$torch.device('{device}')"
    parser = parse_config(root, "inference.yaml", formats=list(formats), **values)
    try:
        report: RunReport = parser.get_parsed_content("report")
    except RuntimeError as error:
        raise root_cause(error) from None
    return report


def localize_dataset(
    evaluator: EnsembleEvaluator,
    dataset: Dataset,
    output_dir: str | Path,
    *,
    bundle_root: str | Path,
    formats: Sequence[str] = DEFAULT_FORMATS,
    **options: Any,
) -> RunReport:
    """Run the evaluator over a dataset's cases and write the results: the loop of every door.

    Args:
        evaluator: gives ``landmarks`` for an item.
        dataset: raw items with ``id`` and ``image`` in ``data``, and the preprocessing.
        output_dir: folder for the results.
        bundle_root: the bundle that the evaluator was made from.
        formats: kinds of files to write.
        **options: ``overwrite``, ``num_workers`` (threads that read ahead), and ``result_options``,
            the values that change results.

    Returns:
        What happened to each case.

    Raises:
        ValueError: a format or an option is wrong.
        OSError: the output folder cannot be written.
    """
    num_workers = int(options.get("num_workers", 0))
    if num_workers < 0:
        msg = f"num_workers must be 0 or more: got {num_workers}."
        raise ValueError(msg)
    job = Job(
        Path(output_dir),
        check_formats(formats),
        describe_bundle(Path(bundle_root)),
        options.get("result_options", {}),
        bool(options.get("overwrite", False)),
    )
    job.output_dir.mkdir(parents=True, exist_ok=True)
    report = RunReport.start(job.bundle, job.formats)
    try:
        for case in _run_cases(evaluator, dataset, job, num_workers):
            report.cases.append(case)
    finally:
        report.write(job.output_dir)
    write_run(job.output_dir, job.formats)
    return report


def _run_cases(
    evaluator: EnsembleEvaluator, dataset: Dataset, job: Job, num_workers: int
) -> Iterator[CaseReport]:
    todo: list[int] = []
    for index, item in enumerate(dataset.data):
        reason = _why_again(item, job)
        if reason is None:
            yield CaseReport(item["id"], "skipped", "finished before, with the same inputs")
        else:
            level = logging.DEBUG if reason == FIRST_TIME else logging.INFO
            logger.log(level, "case %s: %s", item["id"], reason)
            todo.append(index)
    with tqdm(total=len(todo), desc="localize", unit="case", disable=None) as bar:
        for index, prepared in _read_ahead(dataset, todo, num_workers):
            yield _run_case(evaluator, dataset.data[index], prepared, job)
            bar.update()


def _why_again(item: Mapping[str, Any], job: Job) -> str | None:
    """Why a case must be done (again), or ``None`` where its files are finished and fit."""
    study, folder = item["image"], job.output_dir / item["id"]
    if not (folder / RESULT_FILE).is_file():
        return FIRST_TIME
    if job.overwrite:
        return "done again, as asked"
    if not isinstance(study, LocatedStudy):
        return "done again: its study cannot be located any more"
    expected = {"bundle": dict(job.bundle), "options": dict(job.options)}
    reason = why_not_finished(folder, study.digest, expected, job.formats)
    return reason and f"done again: {reason}"


def _read_ahead(
    dataset: Dataset, indices: Sequence[int], num_workers: int
) -> Iterator[tuple[int, "Future[Any]"]]:
    """Prepare items in the background, at most ``num_workers`` ahead of the network."""
    with ThreadPoolExecutor(max(1, num_workers)) as pool:
        waiting = list(indices)
        running: list[tuple[int, Future[Any]]] = []
        while waiting or running:
            while waiting and len(running) <= num_workers:
                index = waiting.pop(0)
                running.append((index, pool.submit(dataset.__getitem__, index)))
            yield running.pop(0)


def _run_case(
    evaluator: EnsembleEvaluator, item: Mapping[str, Any], prepared: "Future[Any]", job: Job
) -> CaseReport:
    started = time.perf_counter()
    case = str(item["id"])
    try:
        study = _usable(item["image"])
        check_source(job.formats, study)
        result = _infer(evaluator, prepared.result(), job.slices)
    except Exception as error:
        return _failed(case, error, started)
    content = case_content(result, study, job.bundle, job.options)
    try:
        write_case(job.output_dir / case, job.formats, content, result, study)
    except OSError:  # the disk: no other case can be written either
        raise
    except Exception as error:
        return _failed(case, error, started)
    reason = f"{study.reason}; {result.slice_choice}"
    logger.info("case %s: %s", case, reason)
    for warning in content["warnings"]:
        logger.warning("case %s: %s", case, warning["message"])
    seconds = time.perf_counter() - started
    return CaseReport(case, "done", reason, content["warnings"], seconds, result.landmarks)


def _failed(case: str, error: Exception, started: float) -> CaseReport:
    reason = in_one_line(error)
    logger.error("case %s failed: %s", case, reason)
    logger.debug("case %s", case, exc_info=error)
    return CaseReport(case, "failed", reason, duration_s=time.perf_counter() - started)


def _usable(study: LocatedStudy | UnusableStudy | str | Path) -> LocatedStudy:
    if isinstance(study, UnusableStudy):
        raise study.error
    return study if isinstance(study, LocatedStudy) else locate_study(study)


def _infer(evaluator: EnsembleEvaluator, prepared: Any, slices: Slices) -> Result:
    """Run the evaluator on the slices of one case, one batch in a loader of its own."""
    items = prepared if isinstance(prepared, list) else [prepared]
    images = [{"image": item["image"]} for item in items]
    evaluator.data_loader = DataLoader(images, batch_size=len(images))
    evaluator.state.epoch_length = 1
    evaluator.run()
    choice = choose_slices(items, evaluator.state.output, slices)
    best = items[choice.best]
    return Result(
        case=best["id"],
        landmarks=choice.landmarks,
        source=best["image_source"],
        slice=best["slice"],
        image=best["native_image"],
        slice_choice=choice.reason,
        landmark_slices=[items[n]["slice"] for n in choice.of_each] if slices == "all" else (),
        warnings=[*best.get("image_warnings", ()), *choice.warnings],
    )
