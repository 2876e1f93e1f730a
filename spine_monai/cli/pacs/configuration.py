"""The option that all commands of the PACS share."""

import argparse
from pathlib import Path


def add_config(command: argparse.ArgumentParser) -> None:
    """Add the option that names the configuration."""
    command.add_argument("--config", required=True, type=Path, metavar="FILE", help="pacs.yaml")
