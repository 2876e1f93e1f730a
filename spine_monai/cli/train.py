"""``spine-monai train``."""

import argparse
import logging
from pathlib import Path
from typing import Any

from spine_monai.cli.codes import DONE
from spine_monai.cli.evaluate import figures, number


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("train", help="all stages in order, resumable, to a bundle")
    command.add_argument("--datalist", required=True, type=Path, help="cases, landmarks and folds")
    command.add_argument("--out", required=True, type=Path, help="becomes a complete bundle")
    command.add_argument("--variant", help="overlay of configs/variants, or a YAML file")
    command.add_argument("--bundle", type=Path, help="whose configuration (default: the shipped)")
    command.add_argument(
        "--exclude", nargs="*", default=[], metavar="SUBJECT", help="never trained or fitted on"
    )
    command.set_defaults(command=_train)


def _train(options: argparse.Namespace) -> int:
    from spine_monai.workflows import train
    from spine_monai.workflows.arms import ARMS

    logging.getLogger("ignite").setLevel(logging.INFO)  # each epoch's loss and error
    metrics = train(
        options.datalist,
        options.out,
        variant=options.variant,
        bundle=options.bundle,
        exclude=options.exclude,
    )
    print(f"complete bundle in {options.out}; cross-validated figures in its metrics.json:")
    for arm in ARMS:
        overall = metrics[arm]["overall"]
        line = "  ".join(f"{name} {number(value)}" for name, value in figures(overall))
        print(f"  {arm:<12} {line}")
    return DONE
