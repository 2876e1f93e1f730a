"""``spine-monai demo``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spine_monai.cli.codes import RESEARCH_NOTE
from spine_monai.cli.localize import add_running, format_names, slice_values, tell

if TYPE_CHECKING:
    from spine_monai.workflows.evaluation import Evaluation

DEMO_DIR = "demo_output"
DEMO_DATALIST = "sample/datalist.json"


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("demo", help="the bundled real study through the bundled weights")
    command.add_argument("--out", type=Path, default=Path(DEMO_DIR), help="folder for the results")
    add_running(command, "json,csv,markups,overlay")
    command.set_defaults(command=_demo)


def _demo(options: argparse.Namespace) -> int:
    from spine_monai.workflows import evaluate, localize
    from spine_monai.workflows.bundle import find_bundle

    bundle = find_bundle(options.bundle)
    datalist = bundle / DEMO_DATALIST
    report = localize(
        [datalist],
        options.out,
        formats=format_names(options),
        bundle=bundle,
        device=options.device,
        **slice_values(options),
    )
    if not report.failed:
        _print_landmarks(evaluate(options.out, datalist), options.out)
    return tell(report, options.out)


def _print_landmarks(evaluation: "Evaluation", out: Path) -> None:
    """Table on the screen: name, LPS mm, confidence, error against the reference."""
    from spine_monai.landmarks import HIT_RADIUS_MM
    from spine_monai.writers.json import RESULT_FILE, read_case

    for result in evaluation.results:
        record = read_case(out / result.case / RESULT_FILE)
        errors = result.in_plane_errors(evaluation.registry)
        print(f"{result.case}: LPS in mm; error in the slice's plane against the reference")
        print(f"  {'landmark':<9}{'x':>9}{'y':>9}{'z':>9}{'confidence':>12}{'error':>9}")
        for entry, error in zip(record["landmarks"], errors, strict=True):
            x, y, z = entry["position_lps_mm"] or [float("nan")] * 3
            line = f"  {entry['name']:<9}{x:>9.1f}{y:>9.1f}{z:>9.1f}"
            print(f"{line}{entry['confidence'] or 0:>11.0%}{error:>9.1f} mm")
        if not record["calibrated"]:
            print("  confidence is not calibrated yet: it ranks, it is no probability")
        hits = int((errors <= HIT_RADIUS_MM).sum())
        print(f"  {hits} of {len(errors)} within {HIT_RADIUS_MM:g} mm. {RESEARCH_NOTE}")
