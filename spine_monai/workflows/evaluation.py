"""Evaluate: results against references, as figures with intervals, tables and plots."""

import csv
import io
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spine_monai.data import read_datalist, read_markups
from spine_monai.data.markups import MARKUPS_SUFFIX
from spine_monai.files import write_text, write_whole
from spine_monai.landmarks import REGISTRIES, Landmark, LandmarkRegistry
from spine_monai.metrics import CaseResult, summarize
from spine_monai.writers.json import RESULT_FILE, points_lps_of, read_case

logger = logging.getLogger(__name__)

Points = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Evaluation:
    """Figures of an evaluation, the cases they rest on, and the ids that had no counterpart."""

    metrics: dict[str, Any]
    results: list[CaseResult]
    registry: LandmarkRegistry
    without_reference: list[str]
    without_result: list[str]


def evaluate(
    results_dir: str | Path, reference: str | Path, output_dir: str | Path | None = None
) -> Evaluation:
    """Compare the results of ``localize`` with references.

    Args:
        results_dir: folder with one folder a case.
        reference: a datalist, or a folder of ``<case id>.mrk.json`` or
            ``<case id>/landmarks.mrk.json``.
        output_dir: where ``metrics.json``, ``errors.csv`` and the plots go; ``None`` writes none.

    Raises:
        ValueError: there are no results, no references, two results of one case, or none that
            belong together.
        OSError: the output folder cannot be written.
    """
    records = _read_results(Path(results_dir))
    references = _read_references(Path(reference))
    registry = _registry_of(next(iter(records.values())))
    common = sorted(records.keys() & references.keys())
    if not common:
        msg = f"{results_dir} and {reference} must have cases in common: got {sorted(records)} and "
        msg += f"{sorted(references)}."
        raise ValueError(msg)
    results = [_case_result(records[case], references[case], registry) for case in common]
    metrics = summarize(results, registry)
    if not metrics["overall"]["n"]:
        msg = f"{reference} must have points of {registry.name} in its cases: got none that the "
        msg += "results look for."
        raise ValueError(msg)
    evaluation = Evaluation(
        metrics,
        results,
        registry,
        sorted(records.keys() - references.keys()),
        sorted(references.keys() - records.keys()),
    )
    if output_dir is not None:
        write_evaluation(evaluation, Path(output_dir))
    return evaluation


def _registry_of(record: Mapping[str, Any]) -> LandmarkRegistry:
    """The landmark set of a result; one of the user's own is known by its landmarks alone."""
    name = record["landmark_set"]
    if name in REGISTRIES:
        return REGISTRIES[name]
    return LandmarkRegistry(
        name, tuple(Landmark(p["name"], p["kind"]) for p in record["landmarks"])
    )


def write_evaluation(evaluation: Evaluation, output_dir: Path) -> None:
    """Write ``metrics.json``, ``errors.csv``, ``errors.png`` and ``cumulative_error.png``."""
    content = evaluation.metrics | {
        "without_reference": evaluation.without_reference,
        "without_result": evaluation.without_result,
    }
    write_text(output_dir / "metrics.json", json.dumps(content, indent=1) + "\n")
    write_text(output_dir / "errors.csv", _errors_text(evaluation))
    _write_plots(evaluation, output_dir)


def _write_plots(evaluation: Evaluation, output_dir: Path) -> None:
    from spine_monai.viz import plot_cumulative_error, plot_landmark_errors

    names = evaluation.registry.names
    errors = np.stack([r.in_plane_errors(evaluation.registry) for r in evaluation.results])
    title = f"{len(errors)} cases, {int((~np.isnan(errors)).sum())} landmarks"
    kinds = np.array(evaluation.registry.kinds)
    curves = {"all": errors.ravel()}
    plurals = {"disc": "discs", "vertebra": "vertebrae"}
    curves |= {name: errors[:, kinds == kind].ravel() for kind, name in plurals.items()}
    write_whole(
        output_dir / "errors.png", lambda path: plot_landmark_errors(errors, names, path, title)
    )
    write_whole(
        output_dir / "cumulative_error.png", lambda path: plot_cumulative_error(curves, path, title)
    )


def _read_results(folder: Path) -> dict[str, dict[str, Any]]:
    files = sorted(folder.glob(f"*/{RESULT_FILE}"))
    if not files:
        msg = (
            f"results must be a folder of `spine-monai localize`: {folder} has no */{RESULT_FILE}."
        )
        raise ValueError(msg)
    records: dict[str, dict[str, Any]] = {}
    places: dict[str, Path] = {}
    for file in files:
        record = read_case(file)
        case = record["case"]
        if case in records:
            msg = f"results must have one folder for each case: {places[case]} and {file.parent} "
            msg += f"are both of the case {case}. Move one of them away."
            raise ValueError(msg)
        records[case], places[case] = record, file.parent
    return records


def _read_references(path: Path) -> dict[str, tuple[str, Points]]:
    """Subject and points of each case."""
    if path.is_file():
        return {
            item["id"]: (item["subject"], _as_arrays(item["points_lps"]))
            for item in read_datalist(path)
        }
    files = {file.name[: -len(MARKUPS_SUFFIX)]: file for file in path.glob(f"*{MARKUPS_SUFFIX}")}
    files |= {file.parent.name: file for file in path.glob(f"*/landmarks{MARKUPS_SUFFIX}")}
    if not files:
        msg = f"reference must be a datalist or a folder of *{MARKUPS_SUFFIX}: {path} is neither."
        raise ValueError(msg)
    return {case: (case, _as_arrays(read_markups(file))) for case, file in files.items()}


def _as_arrays(points: Mapping[str, Any]) -> Points:
    return {k: np.asarray(p, dtype=np.float64) for k, p in points.items() if p is not None}


def _case_result(
    record: Mapping[str, Any], reference: tuple[str, Points], registry: LandmarkRegistry
) -> CaseResult:
    subject, points = reference
    return CaseResult(
        case=record["case"],
        subject=subject,
        predicted_lps=points_lps_of(record, registry.names),
        reference_lps=points,
        lps_from_column_row=np.array(record["slice"]["lps_from_column_row"]),
    )


def _errors_text(evaluation: Evaluation) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["case", "subject", "landmark", "error_mm", "error_3d_mm", "level_shift"])
    for result in evaluation.results:
        rows = zip(
            evaluation.registry.names,
            result.in_plane_errors(evaluation.registry),
            result.errors(evaluation.registry),
            result.level_shifts(evaluation.registry),
            strict=True,
        )
        for name, *values in rows:
            cells = ["" if np.isnan(value) else f"{value:.3f}" for value in values[:2]]
            shift = "" if np.isnan(values[2]) else int(values[2])
            writer.writerow([result.case, result.subject, name, *cells, shift])
    return stream.getvalue()
