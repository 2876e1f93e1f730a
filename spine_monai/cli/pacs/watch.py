"""``spine-monai pacs watch``."""

import argparse
from typing import Any

from spine_monai.cli.pacs.configuration import add_config
from spine_monai.cli.pacs.serve import ended_by


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "watch",
        help="localize what comes to an Orthanc, without an open port",
        description="Follow the changes of an Orthanc, find the landmarks of the studies that come "
        "to it, and put the results into the same study. SIGTERM and Ctrl-C end it as they end "
        "`pacs serve`.",
    )
    add_config(command)
    command.set_defaults(command=_watch)


def _watch(options: argparse.Namespace) -> int:
    from spine_monai.pacs.config_file import part_of, read_config
    from spine_monai.pacs.node.log import set_up_log
    from spine_monai.pacs.node.watching import watch

    config = read_config(options.config)
    settings = part_of(config, "serve", options.config)
    source = part_of(config, "watch", options.config)
    set_up_log()
    return ended_by(watch(config, settings, source))
