"""``spine-monai localize``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spine_monai.cli.codes import DONE, SOME_FAILED
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
    command.add_argument("--workers", type=int, default=0, help="threads that read ahead")
    command.add_argument("--overwrite", action="store_true", help="do finished cases again")
    command.set_defaults(command=_localize)


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
    from spine_monai.workflows import localize

    report = localize(
        options.studies,
        options.out,
        formats=format_names(options),
        bundle=options.bundle,
        device=options.device,
        num_workers=options.workers,
        overwrite=options.overwrite,
        **slice_values(options),
        **_study_values(options),
    )
    return tell(report, options.out)


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
    counts = {s: sum(c.status == s for c in report.cases) for s in ("done", "skipped", "failed")}
    summary = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    print(f"{len(report.cases)} cases: {summary}; results in {out}")
    return SOME_FAILED if report.failed else DONE
