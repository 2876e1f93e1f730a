"""``spine-monai evaluate``, and how the figures of a measurement are printed."""

import argparse
import sys
from pathlib import Path
from typing import Any

from spine_monai.cli.codes import DONE, SOME_FAILED


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("evaluate", help="compare results with references")
    command.add_argument("results", type=Path, metavar="RESULTS", help="folder of `localize`")
    command.add_argument(
        "--reference", required=True, type=Path, help="datalist, or folder of .mrk.json files"
    )
    command.add_argument("--out", required=True, type=Path, help="folder for metrics and plots")
    command.set_defaults(command=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from spine_monai.workflows import evaluate

    evaluation = evaluate(options.results, options.reference, options.out)
    overall = evaluation.metrics["overall"]
    count = evaluation.metrics["cases"]
    print(f"{count} cases, {overall['n']} landmarks, {overall['missing']} missed")
    for name, value in figures(overall):
        interval = overall["intervals"].get(name)
        print(f"  {name:<22} {number(value):>8}   95 %: {' to '.join(map(number, interval))}")
    for kind, names in (
        ("no reference", evaluation.without_reference),
        ("no result", evaluation.without_result),
    ):
        if names:
            print(f"{kind} for: {', '.join(names)}", file=sys.stderr)
    return SOME_FAILED if evaluation.without_reference or evaluation.without_result else DONE


def figures(overall: dict[str, Any]) -> list[tuple[str, float | None]]:
    """Return name and value of the figures that are printed."""
    names = ("mre_mm", "median_mm", "level_shift_rate", "identification_rate", "all_within_8mm")
    rates = [(f"sdr_{threshold}", value) for threshold, value in overall["sdr"].items()]
    return [(name, overall[name]) for name in names] + rates


def number(value: float | None) -> str:
    """Return a figure as text."""
    return "inf" if value is None else f"{value:.3f}"
