"""``spine-monai pacs check``."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from spine_monai.cli.codes import DONE, SOME_FAILED, USAGE
from spine_monai.cli.pacs.configuration import add_config

if TYPE_CHECKING:
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
    return SOME_FAILED if sum(not _answers(config, name) for name in config.remotes) else DONE


def _answers(config: "PacsConfig", name: str) -> bool:
    from spine_monai.pacs.checks import ask
    from spine_monai.pacs.remote import RemoteAwayError, RemoteRefusalError

    try:
        print(f"{name}: {ask(config, name)}")
    except (RemoteAwayError, RemoteRefusalError) as error:
        print(f"{name}: {error}")
        return False
    return True
