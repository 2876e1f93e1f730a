"""Localize: studies in, landmarks in files out; one case's failure never ends the others."""

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from monai.data import Dataset
from monai.engines import EnsembleEvaluator

from spine_monai.workflows.archive import gather_cases, progress, run_shard
from spine_monai.workflows.bundle import describe_bundle, find_bundle
from spine_monai.workflows.cases import DATALIST_SUFFIX, Case, StudyOptions, find_cases
from spine_monai.workflows.causes import root_cause
from spine_monai.workflows.devices import device_value
from spine_monai.workflows.engines import LOCAL, RAY, EngineChoice
from spine_monai.workflows.in_process import check_read_ahead, run_here
from spine_monai.workflows.job import Job
from spine_monai.workflows.localizer import Localizer
from spine_monai.workflows.outputs import DEFAULT_FORMATS, check_formats, write_run
from spine_monai.workflows.recipe import TORCH, EvaluatorPredict, Recipe
from spine_monai.workflows.report import Reports, RunReport
from spine_monai.workflows.shards import Shard


def localize(  # noqa: PLR0913 - the one door
    studies: Sequence[str | Path],
    output_dir: str | Path,
    *,
    formats: Sequence[str] = DEFAULT_FORMATS,
    bundle: str | Path | None = None,
    device: str | None = None,
    workers: int = 1,
    shard: str | None = None,
    engine: str = LOCAL,
    gpus: float = 0.0,
    backend: str = TORCH,
    model: str | Path | None = None,
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
        workers: processes, each with networks of its own; 1 runs in this one and reads a study
            ahead, 0 reads none ahead.
        shard: ``I/N``, to do only that part of the cases, and to go on by its manifest.
        engine: ``local``, or ``ray`` for a Ray cluster, which takes datalists.
        gpus: share of a GPU that each Ray worker gets.
        backend: ``torch``; or ``onnxruntime`` or ``openvino``, for an exported ``model``.
        model: file that ``spine-monai export`` wrote.
        **values: further ids of ``inference.yaml``, such as ``overwrite``, ``slice_index``,
            ``slices``, ``series_uid`` and ``pixel_spacing_mm``.

    Returns:
        What happened to each case. Failed cases are in it, not raised; with a shard or the engine
        ray, only failed cases are kept, and the others counted.

    Raises:
        ValueError: the studies, formats, bundle or device are wrong, before any work is done.
        ManifestInUseError: another run does this shard.
        OSError: the output folder cannot be written.
    """
    _check_series(values.get("series_uid"))
    if device:
        values["device"] = device_value(device, is_here=engine == LOCAL)
    recipe = _recipe(output_dir, formats, bundle, backend, model, values)
    part = Shard.parse(shard) if shard else Shard() if engine == RAY else None
    choice = EngineChoice(engine, workers, gpus, keeps_tries=part is not None)
    if engine == RAY:
        _check_datalists(studies)
    with ExitStack() as stack:
        running = choice.start(recipe, stack)  # workers load their networks meanwhile
        job, cases = _plan(recipe, studies)
        if part:
            return run_shard(running, job, cases, part)
        reports = running.run(case.network_item for case in cases)
        return _run(reports, job, [case.id for case in cases])


def gather(
    studies: Sequence[str | Path],
    output_dir: str | Path,
    *,
    formats: Sequence[str] = DEFAULT_FORMATS,
    bundle: str | Path | None = None,
    backend: str = TORCH,
    model: str | Path | None = None,
    **values: Any,
) -> RunReport:
    """Write the files that hold all cases after the last shard: report, table, page.

    Args:
        studies: those of the shards, as all other arguments: see ``localize``.
        output_dir: their results.
        formats: what the shards wrote.
        bundle: with what.
        backend: what ran it.
        model: the file that it ran.
        **values: further ids of ``inference.yaml``.

    Returns:
        What the manifests say of each case; one that no shard has finished has failed.

    Raises:
        ValueError: the studies, formats or bundle are wrong.
        OSError: the output folder cannot be written.
    """
    recipe = _recipe(output_dir, formats, bundle, backend, model, values)
    return gather_cases(*_plan(recipe, studies))


def localize_dataset(
    evaluator: EnsembleEvaluator,
    dataset: Dataset,
    output_dir: str | Path,
    *,
    bundle_root: str | Path,
    formats: Sequence[str] = DEFAULT_FORMATS,
    **options: Any,
) -> RunReport:
    """Run the evaluator over a dataset's cases and write the results: MONAI's door.

    Args:
        evaluator: gives ``landmarks`` for an item.
        dataset: raw items with ``id`` and ``image`` in ``data``, and the preprocessing.
        output_dir: folder for the results.
        bundle_root: the bundle that the evaluator was made from.
        formats: kinds of files to write.
        **options: ``overwrite``, ``num_workers`` (threads that read ahead), ``weights`` (the files
            of both networks and the fusion, if not the bundle's own), and ``result_options``, the
            values that change results.

    Returns:
        What happened to each case.

    Raises:
        ValueError: a format or an option is wrong.
        OSError: the output folder cannot be written.
    """
    num_workers = check_read_ahead(int(options.get("num_workers", 0)))
    job = Job(
        Path(output_dir),
        check_formats(formats),
        describe_bundle(Path(bundle_root), options.get("weights", ())),
        options.get("result_options", {}),
        bool(options.get("overwrite", False)),
    )
    localizer = Localizer(EvaluatorPredict(evaluator), dataset.transform, job)
    reports = run_here(localizer, dataset.data, num_workers)
    return _run(reports, job, [str(item["id"]) for item in dataset.data])


def _run(reports: Reports, job: Job, order: Sequence[str]) -> RunReport:
    """Collect the reports of cases, and write the files that hold all of them."""
    report = RunReport.start(job.bundle, job.formats)
    job.output_dir.mkdir(parents=True, exist_ok=True)
    places = {case: place for place, case in enumerate(order)}
    try:
        with closing(reports):
            for case in progress(reports, len(order)):
                report.cases.append(case)
    finally:
        report.cases.sort(key=lambda case: places[case.case])
        report.write(job.output_dir)
    write_run(job.output_dir, job.formats)
    return report


def _plan(recipe: Recipe, studies: Sequence[str | Path]) -> tuple[Job, list[Case]]:
    """What is to be done, and with which cases."""
    try:
        parser = recipe.parse()
        job = recipe.job(parser)
        options = StudyOptions(**parser.get_parsed_content("study_options"))
        index = parser.get_parsed_content("slice_index")
    except RuntimeError as error:
        raise root_cause(error) from None
    cases = find_cases(studies, options)
    return job, [
        case if case.slice_index is not None else replace(case, slice_index=index) for case in cases
    ]


def _recipe(
    output_dir: str | Path,
    formats: Sequence[str],
    bundle: str | Path | None,
    backend: str,
    model: str | Path | None,
    values: dict[str, Any],
) -> Recipe:
    """Check what can be checked without any work."""
    file = None if model is None else Path(model)
    return Recipe(
        find_bundle(bundle), Path(output_dir), check_formats(formats), values, backend, file
    )


def _check_series(series_uid: Any) -> None:
    """Refuse what MONAI would evaluate, or replace by something else."""
    if str(series_uid or "").startswith(("$", "@", "%")):
        msg = "series_uid must be a SeriesInstanceUID or a series' name: got one that begins with "
        msg += f"{str(series_uid)[0]!r}. `spine-monai series STUDY` lists them."
        raise ValueError(msg)


def _check_datalists(studies: Sequence[str | Path]) -> None:
    others = [str(study) for study in studies if Path(study).suffix != DATALIST_SUFFIX]
    if others:
        msg = f"the engine ray takes datalists: got {', '.join(others[:3])}. List the studies in "
        msg += "one."
        raise ValueError(msg)
