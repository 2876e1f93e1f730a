"""``spine-monai pacs check``."""

import argparse
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from spine_monai.cli.codes import DONE, SOME_FAILED, USAGE
from spine_monai.cli.pacs.configuration import add_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from spine_monai.pacs.config import PacsConfig


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("check", help="check the configuration, and who answers")
    add_config(command)
    command.add_argument("--offline", action="store_true", help="call nobody")
    command.set_defaults(command=_check)


def _check(options: argparse.Namespace) -> int:
    from spine_monai.pacs.checks import faults_of
    from spine_monai.pacs.config_file import read_config

    config = read_config(options.config)
    faults = list(faults_of(config))
    for fault in faults:
        print(f"spine-monai: {fault}", file=sys.stderr)
    if faults:
        return USAGE
    print(f"{options.config} is valid")
    if options.offline:
        return DONE
    answers = [_answers(name, question) for name, question in _questions(config)]
    return DONE if all(answers) else SOME_FAILED


def _questions(config: "PacsConfig") -> "Iterator[tuple[str, Callable[[], str]]]":
    """Yield whom the configuration names, and what asks it."""
    from spine_monai.pacs.checks import ask, ask_watched

    for name in config.remotes:
        yield name, partial(ask, config, name)
    if config.watch is not None:
        yield "watch", partial(ask_watched, config, config.watch)


def _answers(name: str, question: "Callable[[], str]") -> bool:
    from spine_monai.pacs.remote import RemoteAwayError, RemoteRefusalError

    try:
        print(f"{name}: {question()}")
    except (RemoteAwayError, RemoteRefusalError) as error:
        print(f"{name}: {error}")
        return False
    return True
