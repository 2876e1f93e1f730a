"""``spine-monai deidentify``: research export by allow-list, with the landmarks still anchored."""

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from spine_monai.cli.codes import DONE, RESEARCH_NOTE, SOME_FAILED


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "deidentify",
        help="export MR series and their landmarks without names",
        description="Export MR series and their landmarks by an allow-list: what is not on it "
        f"goes. {RESEARCH_NOTE}",
    )
    command.add_argument(
        "studies", nargs="+", type=Path, metavar="STUDY", help="DICOM folder, zip or file"
    )
    command.add_argument("--out", required=True, type=Path, help="folder for the export")
    command.add_argument(
        "--key",
        required=True,
        type=Path,
        metavar="FILE",
        help="secret from which pseudonyms are made; a new one is made where there is no file",
    )
    command.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="results of `localize`, exported with the images",
    )
    choice = command.add_mutually_exclusive_group()
    choice.add_argument(
        "--series-uid", metavar="UID", help="export this series, whatever it is weighted by"
    )
    choice.add_argument(
        "--all-series",
        action="store_true",
        help="export every series of MR images (default: the one that `localize` takes)",
    )
    command.set_defaults(command=_deidentify)


def _deidentify(options: argparse.Namespace) -> int:
    from spine_monai.cli.localize import ended_by_signals
    from spine_monai.deidentify.export import ExportOptions, deidentify

    asked = ExportOptions(options.series_uid, options.all_series, options.results)
    with ended_by_signals():
        entries = deidentify(options.studies, options.out, options.key, asked)
    counts = Counter(entry.status for entry in entries)
    words = [f"{counts[status]} {status}" for status in ("done", "skipped", "refused")]
    summary = ", ".join(word for word in words if not word.startswith("0 "))
    print(f"{len(entries)} series: {summary}; export in {options.out}")
    return DONE if all(entry.is_whole for entry in entries) else SOME_FAILED
