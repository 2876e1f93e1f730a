"""``spine-monai pacs push``."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spine_monai.cli.codes import DONE, SOME_FAILED, USAGE
from spine_monai.cli.localize import ended_by_signals
from spine_monai.cli.pacs.configuration import add_config

if TYPE_CHECKING:
    from spine_monai.pacs.push import PushResult


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("push", help="send results to a PACS")
    add_config(command)
    command.add_argument(
        "results", type=Path, metavar="RESULTS", help="folder that `localize` wrote"
    )
    command.add_argument("--again", action="store_true", help="send what is there already too")
    command.set_defaults(command=_push)


def _push(options: argparse.Namespace) -> int:
    from spine_monai.pacs.config_file import part_of, read_config
    from spine_monai.pacs.push import push

    config = read_config(options.config)
    part_of(config, "push", options.config)
    with ended_by_signals():
        result = push(config, options.results, again=options.again)
    return _tell(result)


def _tell(result: "PushResult") -> int:
    """Print a line for each file that is not there, and return the exit code."""
    from spine_monai.pacs.remote import RemoteRefusalError

    cases = {case: number for number, case in enumerate(_cases(result), start=1)}
    for one in result.files:
        place = f"case {cases[str(Path(one.file).parent)]}, {Path(one.file).name}"
        print(f"{place}: {one.status}" + (f", {one.reason}" if one.reason else ""))
    there = len(result.files) - result.failed
    print(f"{there} of {len(result.files)} objects are there; {result.sent} sent now")
    if result.error is not None:
        print(f"spine-monai: {result.error}", file=sys.stderr)
    if isinstance(result.error, RemoteRefusalError):
        return USAGE
    return SOME_FAILED if result.failed else DONE


def _cases(result: "PushResult") -> list[str]:
    """Folders of the cases, in order, once each; they are numbered: their names are UIDs."""
    return list(dict.fromkeys(str(Path(one.file).parent) for one in result.files))
