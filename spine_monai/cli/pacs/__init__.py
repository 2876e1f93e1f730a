"""``spine-monai pacs``: each of its commands has a module here with ``add_to(commands)``."""

from typing import Any

from spine_monai.cli.codes import RESEARCH_NOTE
from spine_monai.cli.pacs import check, jobs, pull, push, serve, watch

COMMANDS = (check, pull, push, serve, watch, jobs)


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "pacs",
        help="fetch from a PACS, send to it, or be a node of it",
        description="Fetch studies from a PACS, send results to it, or be a node that localizes "
        f"what it is sent. {RESEARCH_NOTE}",
    )
    own = command.add_subparsers(required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.add_to(own)
