"""``spine-monai localize``."""

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from spine_monai.cli.codes import DONE, INTERRUPTED, SOME_FAILED
from spine_monai.cli.series import add_series_uid

if TYPE_CHECKING:
    from spine_monai.workflows.report import RunReport


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("localize", help="find the landmarks of studies")
    command.add_argument(
        "studies",
        nargs="+",
        metavar="STUDY",
        help="DICOM folder, zip or file, .nii, .nii.gz, .mha, .nrrd, .png or .jpg, or a datalist",
    )
    command.add_argument("--out", required=True, type=Path, help="folder for the results")
    add_running(command, "json,csv,markups")
    add_series_uid(command)
    command.add_argument(
        "--pixel-spacing", type=float, metavar="MM", help="size of the pixels of a .png or .jpg"
    )
    command.add_argument("--overwrite", action="store_true", help="do finished cases again")
    _add_scale(command)
    command.set_defaults(command=_localize)


def _add_scale(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes, each with its own networks (default: 1, which reads a study ahead)",
    )
    command.add_argument(
        "--shard", metavar="I/N", help="do part I of N, and go on by the manifest in --out"
    )
    command.add_argument(
        "--gather", action="store_true", help="after the last shard: write the table and report"
    )
    command.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="ray: on a Ray cluster"
    )
    command.add_argument(
        "--gpus", type=float, default=0.0, metavar="SHARE", help="of a GPU, for each Ray worker"
    )
    command.add_argument(
        "--backend",
        choices=("torch", "onnxruntime", "openvino"),
        default="torch",
        help="what runs the networks; all but torch need --model",
    )
    command.add_argument("--model", type=Path, metavar="FILE", help="written by `export`")


def add_running(command: argparse.ArgumentParser, formats: str) -> None:
    """Add the options of every command that runs the networks."""
    command.add_argument(
        "--formats",
        default=formats,
        help=f"of json,csv,markups,overlay,report,sr,sc,gsps (default: {formats})",
    )
    command.add_argument("--bundle", type=Path, help="bundle folder (default: the shipped one)")
    command.add_argument(
        "--slice",
        type=int,
        metavar="INDEX",
        help="sagittal slice to use, from 0 towards the patient's right (default: by evidence)",
    )
    command.add_argument(
        "--slices",
        choices=("one", "all"),
        default="one",
        help="all: each landmark from the slice that shows it best, for a spine that bends aside",
    )
    command.add_argument("--device", help="cpu, cuda:0 ... (default: a GPU where there is one)")


def _localize(options: argparse.Namespace) -> int:
    from spine_monai.workflows.localization import gather, localize
    from spine_monai.workflows.manifest import ManifestInUseError

    common = {
        "formats": format_names(options),
        "bundle": options.bundle,
        "backend": options.backend,
        "model": options.model,
        **slice_values(options),
        **_study_values(options),
    }
    if options.gather:
        return tell(gather(options.studies, options.out, **common), options.out)
    try:
        with ended_by_signals():
            report = localize(options.studies, options.out, **common, **_running_values(options))
    except ManifestInUseError as error:
        print(f"spine-monai: {error}", file=sys.stderr)
        return INTERRUPTED
    return tell(report, options.out)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Take what schedulers send before they kill, SIGTERM and SIGUSR1, like Ctrl-C."""

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    before = {s: signal.signal(s, interrupt) for s in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _running_values(options: argparse.Namespace) -> dict[str, Any]:
    names = ("device", "workers", "shard", "engine", "gpus", "overwrite")
    return {name: getattr(options, name) for name in names}


def format_names(options: argparse.Namespace) -> list[str]:
    """Return the formats that the user listed."""
    return [name.strip() for name in options.formats.split(",")]


def slice_values(options: argparse.Namespace) -> dict[str, Any]:
    """Return the ids of ``inference.yaml`` that the options about slices set."""
    one = {} if options.slice is None else {"slice_index": options.slice}
    return one if options.slices == "one" else one | {"slices": options.slices}


def _study_values(options: argparse.Namespace) -> dict[str, Any]:
    values = {"series_uid": options.series_uid, "pixel_spacing_mm": options.pixel_spacing}
    return {name: value for name, value in values.items() if value is not None}


def tell(report: "RunReport", out: Path) -> int:
    """Print what happened to the cases, and return the exit code."""
    counts = report.counts
    statuses = [status for status in ("done", "skipped", "failed") if counts[status]]
    summary = ", ".join(f"{counts[status]} {status}" for status in statuses) or "nothing to do"
    print(f"{counts.total()} cases: {summary}; results in {out}")
    return SOME_FAILED if report.failed else DONE
