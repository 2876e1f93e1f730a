"""The warm program of one process: it is built once, then takes one study after the other."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spine_monai.readers import LocatedStudy
from spine_monai.readers.location import UnusableStudy
from spine_monai.workflows.bundle import find_bundle
from spine_monai.workflows.cases import located
from spine_monai.workflows.causes import in_one_line, root_cause
from spine_monai.workflows.grey_values import grey_value_warnings
from spine_monai.workflows.job import Job
from spine_monai.workflows.outputs import (
    DEFAULT_FORMATS,
    check_source,
    set_aside,
    why_not_finished,
    write_case,
)
from spine_monai.workflows.recipe import TORCH, Recipe
from spine_monai.workflows.report import CaseReport
from spine_monai.workflows.slice_choice import Item, Predict, look_at_slices
from spine_monai.workflows.tries import MAX_TRIES, Tries, remove_leftovers
from spine_monai.writers import RESULT_FILE, Result, case_content

logger = logging.getLogger(__name__)

FIRST_TIME = "to be done"
FINISHED = "finished before, with the same inputs"


@dataclass(frozen=True)
class Reading:
    """A case after its study was read, or its fate if that is already known.

    Args:
        item: the case.
        seconds: spent so far.
        study: what was read.
        slices: the preprocessed slices.
        report: its fate, where nothing is left to do.
        tries: how often it was begun; 0 where nobody counts.
        is_outdated: whether the results of an earlier run no longer count, where it failed.
    """

    item: Item
    seconds: float
    study: LocatedStudy | None = None
    slices: Sequence[Item] = ()
    report: CaseReport | None = None
    tries: int = 0
    is_outdated: bool = False


class Localizer:
    """Reads a study, finds its landmarks and writes its files.

    ``read`` and ``conclude`` are the halves of ``run``; one thread may read the next study while
    another concludes this one.

    Args:
        predict: from slices to landmarks.
        prepare: from an item with a located study to its preprocessed slices.
        job: what to do with each case.
        tries: counts how often a case was begun; ``None`` where nothing outlives the process.
    """

    def __init__(
        self,
        predict: Predict,
        prepare: Callable[[Item], Any],
        job: Job,
        tries: Tries | None = None,
    ) -> None:
        self.predict, self.prepare, self.job, self.tries = predict, prepare, job, tries

    def run(self, item: Item) -> CaseReport:
        """Do one case; whatever is wrong with it is in the report.

        Args:
            item: ``id`` and ``image`` (a study as ``located`` takes it), perhaps ``slice_index``.

        Raises:
            OSError: the output folder cannot be written.
        """
        return self.conclude(self.read(item))

    def read(self, item: Item) -> Reading:
        """Locate and read one study, unless its results are there; what is wrong is in the report.

        Raises:
            OSError: the mark of the try cannot be written.
        """
        started = time.perf_counter()
        tries = self.tries.begin(item["id"]) if self.tries else 0
        if tries > 1:
            remove_leftovers(self.job.output_dir / item["id"])
        if tries > MAX_TRIES:
            return Reading(item, 0.0, report=_poison(item["id"]), is_outdated=True)
        try:
            return replace(self._read(item, started), tries=tries)
        except Exception as error:
            seconds = time.perf_counter() - started
            report = replace(_failed(item["id"], error, seconds), tries=tries)
            is_outdated = self._has_outdated_results(item)
            return Reading(item, seconds, report=report, is_outdated=is_outdated)

    def conclude(self, reading: Reading) -> CaseReport:
        """Find the landmarks of a study that was read, write its files, and log its fate.

        Of a case that fails, the files of an earlier run are set aside, unless it was refused
        before any work and they are of the same study and weights.

        Raises:
            OSError: the output folder cannot be written.
        """
        report = reading.report or self._conclude(reading)
        _log(report)
        if report.status == "failed":
            was_begun = reading.study is not None
            self._judge_earlier(report.case, is_outdated=was_begun or reading.is_outdated)
        if self.tries:
            self.tries.end(report.case)
        return replace(report, tries=report.tries or reading.tries)

    def interrupt(self) -> None:
        """Forget the cases that were begun and not concluded."""
        if self.tries:
            self.tries.interrupt()

    def _read(self, item: Item, started: float) -> Reading:
        case, image = str(item["id"]), item["image"]
        reason: str | None = FIRST_TIME
        if (self.job.output_dir / case / RESULT_FILE).is_file():
            image = located(image)
            reason, digest = self._why_again(item, image)
            if reason is None:
                report = CaseReport(case, "skipped", FINISHED, digest=digest)
                return Reading(item, 0.0, report=report)
        level = logging.DEBUG if reason == FIRST_TIME else logging.INFO
        logger.log(level, "case %s: %s", case, reason)
        study = _usable(located(image))
        check_source(self.job.formats, study)
        prepared = self.prepare({**item, "image": study})
        slices = prepared if isinstance(prepared, list) else [prepared]
        return Reading(item, time.perf_counter() - started, study, slices)

    def _why_again(
        self, item: Item, study: LocatedStudy | UnusableStudy
    ) -> tuple[str | None, str | None]:
        """Why a case must be done again, ``None`` where its files fit; and its study's digest."""
        job = self.job
        if job.overwrite:
            return "done again, as asked", None
        if isinstance(study, UnusableStudy):
            return "done again: its study cannot be located any more", None
        digest = study.digest
        expected = {"bundle": dict(job.bundle), "options": job.options_of(item)}
        reason = why_not_finished(job.output_dir / str(item["id"]), digest, expected, job.formats)
        return reason and f"done again: {reason}", digest

    def _has_outdated_results(self, item: Item) -> bool:
        """Whether a case that was refused has results of another study or of other weights.

        Other options do not count: of the same study, they may be what was mistyped and refused.
        A study that cannot be compared counts as the same.
        """
        folder, expected = self.job.output_dir / str(item["id"]), {"bundle": dict(self.job.bundle)}
        if not (folder / RESULT_FILE).is_file():
            return False
        return why_not_finished(folder, _known_digest(item), expected, formats=()) is not None

    def _judge_earlier(self, case: str, *, is_outdated: bool) -> None:
        """Set aside the results of an earlier run of a case that failed, or say that they stay."""
        folder = self.job.output_dir / case
        if is_outdated and set_aside(folder):
            logger.warning("case %s: its earlier results are called *.outdated now", case)
        elif (folder / RESULT_FILE).is_file():
            logger.warning("case %s: its earlier results stay: nothing was done anew", case)

    def _conclude(self, reading: Reading) -> CaseReport:
        started, case = time.perf_counter() - reading.seconds, str(reading.item["id"])
        study = reading.study
        if study is None:
            msg = f"the reading of case {case} must hold a study or a report: it holds neither."
            raise ValueError(msg)
        try:
            result = self._infer(reading.slices)
            options = self.job.options_of(reading.item)
            content = case_content(result, study, self.job.bundle, options)
        except Exception as error:
            return _failed(case, error, time.perf_counter() - started)
        try:
            write_case(self.job.output_dir / case, self.job.formats, content, result, study)
        except OSError:  # the disk: no other case can be written either
            raise
        except Exception as error:
            return _failed(case, error, time.perf_counter() - started)
        return CaseReport(
            case,
            "done",
            f"{study.reason}; {result.slice_choice}",
            content["warnings"],
            time.perf_counter() - started,
            result.landmarks,
            content["source"]["sha256"],
        )

    def _infer(self, items: Sequence[Item]) -> Result:
        slices = self.job.slices
        choice = look_at_slices(items, self.predict, slices)
        best = items[choice.best]
        of_image = [*best.get("image_warnings", ()), *grey_value_warnings(best)]
        return Result(
            case=best["id"],
            landmarks=choice.landmarks,
            source=best["image_source"],
            slice=best["slice"],
            image=best["native_image"],
            slice_choice=choice.reason,
            landmark_slices=[items[n]["slice"] for n in choice.of_each] if slices == "all" else (),
            warnings=[*of_image, *choice.warnings],
        )


def build_localizer(recipe: Recipe, tries: Tries | None = None) -> Localizer:
    """Build the warm program of one process.

    Args:
        recipe: how.
        tries: counts how often a case was begun; ``None`` where nothing outlives the process.

    Raises:
        ValueError: the bundle, a format or a value is wrong.
    """
    try:
        parser = recipe.parse()
        job, prepare = recipe.job(parser), parser.get_parsed_content("dataset").transform
        return Localizer(recipe.predict(parser), prepare, job, tries)
    except RuntimeError as error:
        raise root_cause(error) from None


def localizer_from_bundle(
    bundle: str | Path | None,
    output_dir: str | Path,
    *,
    formats: Sequence[str] = DEFAULT_FORMATS,
    backend: str = TORCH,
    model: str | Path | None = None,
    **values: Any,
) -> Localizer:
    """Build the warm program of one process from a bundle's ``inference.yaml``.

    Args:
        bundle: folder of the bundle; see ``find_bundle``.
        output_dir: where the case folders go.
        formats: kinds of files to write.
        backend: ``torch``, or what runs an exported file: ``onnxruntime``, ``openvino``.
        model: the exported file; the bundle's own networks are not loaded then.
        **values: further ids of ``inference.yaml``.

    Raises:
        ValueError: the bundle, a format or a value is wrong.
    """
    file = None if model is None else Path(model)
    recipe = Recipe(find_bundle(bundle), Path(output_dir), tuple(formats), values, backend, file)
    return build_localizer(recipe)


def _usable(study: LocatedStudy | UnusableStudy) -> LocatedStudy:
    if isinstance(study, UnusableStudy):
        raise study.error
    return study


def _known_digest(item: Item) -> str | None:
    try:
        return _usable(located(item["image"])).digest
    except Exception as error:
        logger.debug("case %s: its study cannot be compared", item["id"], exc_info=error)
        return None


def _failed(case: str, error: Exception, seconds: float) -> CaseReport:
    logger.debug("case %s", case, exc_info=error)
    return CaseReport(str(case), "failed", in_one_line(error), duration_s=seconds)


def _poison(case: str) -> CaseReport:
    reason = (
        f"it killed the process that worked on it {MAX_TRIES} times, as by a crash or by using "
    )
    reason += (
        "up the memory; it is not tried again. Look at its files, or give a worker more memory"
    )
    return CaseReport(str(case), "failed", reason, tries=MAX_TRIES, is_poison=True)


def _log(report: CaseReport) -> None:
    if report.status == "failed":
        logger.error("case %s failed: %s", report.case, report.reason)
    elif report.status == "done":
        logger.info("case %s: %s", report.case, report.reason)
    for warning in report.warnings:
        logger.warning("case %s: %s", report.case, warning["message"])
