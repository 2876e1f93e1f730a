"""``spine-monai pacs serve``."""

import argparse
import signal
from typing import Any

from spine_monai.cli.codes import DONE
from spine_monai.cli.pacs.configuration import add_config


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "serve",
        help="be a DICOM node that localizes what it receives",
        description="Receive studies, find their landmarks, and send the results into the same "
        "study. SIGTERM ends it (exit 0), Ctrl-C too (exit 75); what was begun is gone on with "
        "at the next start.",
    )
    add_config(command)
    command.set_defaults(command=_serve)


def _serve(options: argparse.Namespace) -> int:
    from spine_monai.pacs.config_file import part_of, read_config
    from spine_monai.pacs.node.log import set_up_log
    from spine_monai.pacs.node.serving import serve

    config = read_config(options.config)
    settings = part_of(config, "serve", options.config)
    set_up_log()
    return ended_by(serve(config, settings))


def ended_by(number: int) -> int:
    """Return the exit code after a signal.

    Raises:
        KeyboardInterrupt: it was Ctrl-C.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    return DONE
