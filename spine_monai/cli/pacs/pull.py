"""``spine-monai pacs pull``."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spine_monai.cli.codes import DONE, INTERRUPTED, SOME_FAILED
from spine_monai.cli.localize import ended_by_signals
from spine_monai.cli.pacs.configuration import add_config

if TYPE_CHECKING:
    from spine_monai.pacs.config import PacsConfig
    from spine_monai.pacs.survey import FoundSeries


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("pull", help="fetch studies from a PACS")
    add_config(command)
    command.add_argument(
        "--query",
        required=True,
        metavar="KEYS",
        help="studies to fetch, such as 'StudyDate=20260101-20260131 ModalitiesInStudy=MR'",
    )
    command.add_argument("--out", required=True, type=Path, help="folder for the studies")
    command.add_argument("--now", action="store_true", help="do not wait for pull.hours")
    command.add_argument("--dry-run", action="store_true", help="say what would be fetched")
    command.set_defaults(command=_pull)


def _pull(options: argparse.Namespace) -> int:
    from spine_monai.pacs.config_file import part_of, read_config
    from spine_monai.pacs.pulled import PullInUseError
    from spine_monai.pacs.remote import RemoteAwayError

    config = read_config(options.config)
    part_of(config, "pull", options.config)
    try:
        with ended_by_signals():
            return _dry_run(config, options) if options.dry_run else _fetch(config, options)
    except RemoteAwayError as error:
        print(f"spine-monai: {error}", file=sys.stderr)
        return SOME_FAILED
    except PullInUseError as error:
        print(f"spine-monai: {error}", file=sys.stderr)
        return INTERRUPTED


def _fetch(config: "PacsConfig", options: argparse.Namespace) -> int:
    from spine_monai.pacs.pull import pull

    result = pull(config, options.query, options.out, at_once=options.now)
    print(f"{result.text}; in {options.out}")
    if result.is_away:
        print("the PACS went away: run the same command again to go on", file=sys.stderr)
    return SOME_FAILED if result.failed else DONE


def _dry_run(config: "PacsConfig", options: argparse.Namespace) -> int:
    from spine_monai.pacs.pull import find

    found = find(config, options.query)
    for series in found:
        print(_line(series))
    wanted = sum(not series.reason for series in found)
    print(f"{wanted} of {len(found)} series would be fetched")
    return SOME_FAILED if any(series.is_faulty for series in found) else DONE


def _line(series: "FoundSeries") -> str:
    """A row of the table: numbers and modality alone, as descriptions may name a patient."""
    count = "?" if series.expected is None else series.expected
    fate = f"no: {series.reason}" if series.reason else "yes"
    return f"{series.name}: {series.modality}, {count} objects: {fate}"
