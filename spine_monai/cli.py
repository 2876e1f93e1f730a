"""The command line: parse, one call, print. Heavy imports wait until a command runs.

Exit codes, all commands: 0 done; 1 some cases failed, the rest done; 2 usage or configuration;
3 storage; 75 interrupted, run again.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spine_monai import __version__

if TYPE_CHECKING:
    from spine_monai.workflows.evaluation import Evaluation
    from spine_monai.workflows.report import RunReport

DONE, SOME_FAILED, USAGE, STORAGE, INTERRUPTED = 0, 1, 2, 3, 75
RESEARCH_NOTE = "For research only: never for diagnosis, treatment or any other clinical use."
DEMO_DIR = "demo_output"
DEMO_DATALIST = "sample/datalist.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = build_parser().parse_args(arguments)
    _set_up_logging(verbose=options.verbose)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except (ValueError, FileNotFoundError, ImportError) as error:
        return _fail(error, USAGE)
    except OSError as error:
        return _fail(error, STORAGE)
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        return INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="spine-monai",
        description=f"Find the eleven lumbar landmarks on spine MRI. {RESEARCH_NOTE}",
    )
    parser.add_argument("--version", action="version", version=f"spine-monai {__version__}")
    parser.add_argument("--verbose", action="store_true", help="log everything, warnings too")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_localize, _add_demo, _add_evaluate, _add_convert, _add_train):
        add(commands)
    return parser


def _add_localize(commands: Any) -> None:
    command = commands.add_parser("localize", help="find the landmarks of studies")
    command.add_argument(
        "studies",
        nargs="+",
        metavar="STUDY",
        help="DICOM folder or file, .nii, .nii.gz, .mha, .nrrd, or a datalist (.json)",
    )
    command.add_argument("--out", required=True, type=Path, help="folder for the results")
    _add_running(command, "json,csv,markups")
    command.add_argument("--workers", type=int, default=0, help="threads that read ahead")
    command.add_argument("--overwrite", action="store_true", help="do finished cases again")
    command.set_defaults(command=_localize)


def _add_demo(commands: Any) -> None:
    command = commands.add_parser("demo", help="the bundled real study through the bundled weights")
    command.add_argument("--out", type=Path, default=Path(DEMO_DIR), help="folder for the results")
    _add_running(command, "json,csv,markups,overlay")
    command.set_defaults(command=_demo)


def _add_running(command: argparse.ArgumentParser, formats: str) -> None:
    command.add_argument(
        "--formats", default=formats, help=f"of json,csv,markups,overlay (default: {formats})"
    )
    command.add_argument("--bundle", type=Path, help="bundle folder (default: the shipped one)")
    command.add_argument("--device", help="cpu, cuda:0 ... (default: a GPU where there is one)")


def _add_evaluate(commands: Any) -> None:
    command = commands.add_parser("evaluate", help="compare results with references")
    command.add_argument("results", type=Path, metavar="RESULTS", help="folder of `localize`")
    command.add_argument(
        "--reference", required=True, type=Path, help="datalist, or folder of .mrk.json files"
    )
    command.add_argument("--out", required=True, type=Path, help="folder for metrics and plots")
    command.set_defaults(command=_evaluate)


def _add_convert(commands: Any) -> None:
    command = commands.add_parser("convert", help="annotations to a datalist")
    kinds = command.add_subparsers(required=True, metavar="KIND")
    markups = kinds.add_parser("markups", help="3D Slicer .mrk.json, one case folder each")
    markups.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="case folders")
    markups.add_argument("--out", required=True, type=Path, help="datalist to write (.json)")
    markups.add_argument("--folds", type=Path, help="CSV with the columns case and fold")
    markups.add_argument("--landmark-set", default="lumbar11", help="name or YAML file")
    markups.set_defaults(command=_convert_markups)


def _add_train(commands: Any) -> None:
    command = commands.add_parser("train", help="all stages in order, resumable, to a bundle")
    command.add_argument("--datalist", required=True, type=Path, help="cases, landmarks and folds")
    command.add_argument("--out", required=True, type=Path, help="becomes a complete bundle")
    command.add_argument("--variant", help="overlay of configs/variants, or a YAML file")
    command.add_argument("--bundle", type=Path, help="whose configuration (default: the shipped)")
    command.add_argument(
        "--exclude", nargs="*", default=[], metavar="SUBJECT", help="never trained or fitted on"
    )
    command.set_defaults(command=_train)


def _localize(options: argparse.Namespace) -> int:
    from spine_monai.workflows import localize

    report = localize(
        options.studies,
        options.out,
        formats=options.formats.split(","),
        bundle=options.bundle,
        device=options.device,
        num_workers=options.workers,
        overwrite=options.overwrite,
    )
    return _tell(report, options.out)


def _demo(options: argparse.Namespace) -> int:
    from spine_monai.workflows import evaluate, localize
    from spine_monai.workflows.bundle import find_bundle

    bundle = find_bundle(options.bundle)
    datalist = bundle / DEMO_DATALIST
    report = localize(
        [datalist],
        options.out,
        formats=options.formats.split(","),
        bundle=bundle,
        device=options.device,
    )
    if not report.failed:
        _print_landmarks(evaluate(options.out, datalist), options.out)
    return _tell(report, options.out)


def _evaluate(options: argparse.Namespace) -> int:
    from spine_monai.workflows import evaluate

    evaluation = evaluate(options.results, options.reference, options.out)
    overall = evaluation.metrics["overall"]
    count = evaluation.metrics["cases"]
    print(f"{count} cases, {overall['n']} landmarks, {overall['missing']} missed")
    for name, value in _figures(overall):
        interval = overall["intervals"].get(name)
        print(f"  {name:<22} {_number(value):>8}   95 %: {' to '.join(map(_number, interval))}")
    for kind, names in (
        ("no reference", evaluation.without_reference),
        ("no result", evaluation.without_result),
    ):
        if names:
            print(f"{kind} for: {', '.join(names)}", file=sys.stderr)
    return SOME_FAILED if evaluation.without_reference or evaluation.without_result else DONE


def _convert_markups(options: argparse.Namespace) -> int:
    from spine_monai.data import assign_folds, datalist_from_markups, write_datalist
    from spine_monai.landmarks import load_registry

    registry = load_registry(options.landmark_set)
    items = datalist_from_markups(options.folders, registry, options.folds)
    if options.folds is None:
        items = assign_folds(items)
    write_datalist(items, options.out, registry.name)
    print(f"{len(items)} cases in {options.out}")
    return DONE


def _train(options: argparse.Namespace) -> int:
    from spine_monai.workflows import train
    from spine_monai.workflows.arms import ARMS

    logging.getLogger("ignite").setLevel(logging.INFO)  # each epoch's loss and error
    metrics = train(
        options.datalist,
        options.out,
        variant=options.variant,
        bundle=options.bundle,
        exclude=options.exclude,
    )
    print(f"complete bundle in {options.out}; cross-validated figures in its metrics.json:")
    for arm in ARMS:
        overall = metrics[arm]["overall"]
        figures = "  ".join(f"{name} {_number(value)}" for name, value in _figures(overall))
        print(f"  {arm:<12} {figures}")
    return DONE


def _figures(overall: dict[str, Any]) -> list[tuple[str, float | None]]:
    names = ("mre_mm", "median_mm", "level_shift_rate", "identification_rate", "all_within_8mm")
    rates = [(f"sdr_{threshold}", value) for threshold, value in overall["sdr"].items()]
    return [(name, overall[name]) for name in names] + rates


def _number(value: float | None) -> str:
    return "inf" if value is None else f"{value:.3f}"


def _print_landmarks(evaluation: "Evaluation", out: Path) -> None:
    """Table on the screen: name, LPS mm, confidence, error against the reference."""
    from spine_monai.landmarks import HIT_RADIUS_MM
    from spine_monai.writers.json import RESULT_FILE, read_case

    for result in evaluation.results:
        record = read_case(out / result.case / RESULT_FILE)
        errors = result.in_plane_errors(evaluation.registry)
        print(f"{result.case}: LPS in mm; error in the slice's plane against the reference")
        print(f"  {'landmark':<9}{'x':>9}{'y':>9}{'z':>9}{'confidence':>12}{'error':>9}")
        for entry, error in zip(record["landmarks"], errors, strict=True):
            x, y, z = entry["position_lps_mm"] or [float("nan")] * 3
            line = f"  {entry['name']:<9}{x:>9.1f}{y:>9.1f}{z:>9.1f}"
            print(f"{line}{entry['confidence'] or 0:>11.0%}{error:>9.1f} mm")
        if not record["calibrated"]:
            print("  confidence is not calibrated yet: it ranks, it is no probability")
        hits = int((errors <= HIT_RADIUS_MM).sum())
        print(f"  {hits} of {len(errors)} within {HIT_RADIUS_MM:g} mm. {RESEARCH_NOTE}")


def _tell(report: "RunReport", out: Path) -> int:
    counts = {s: sum(c.status == s for c in report.cases) for s in ("done", "skipped", "failed")}
    summary = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    print(f"{len(report.cases)} cases: {summary}; results in {out}")
    return SOME_FAILED if report.failed else DONE


def _fail(error: BaseException, code: int) -> int:
    logging.getLogger(__name__).debug("failed", exc_info=error)
    print(f"spine-monai: {error}", file=sys.stderr)
    return code


def _set_up_logging(*, verbose: bool) -> None:
    """Our own log on stderr; other packages only when asked, as they may quote patient data."""
    logging.basicConfig(format="%(message)s", level=logging.INFO if verbose else logging.ERROR)
    logging.getLogger("spine_monai").setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.captureWarnings(capture=True)
    logging.getLogger("py.warnings").setLevel(logging.WARNING if verbose else logging.CRITICAL)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)


if __name__ == "__main__":
    sys.exit(main())
