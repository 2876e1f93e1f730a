"""``python -m fuzz``: mutate studies, read them, say what came of it; exit code 1 on a fault."""

import argparse
import json
import logging
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fuzz.commands import try_commands
from fuzz.run import batch_command, prepare, run_batches, summary_of
from fuzz.trial import FAULTS, Outcome


def main() -> int:
    """Run, print the summary, and write it."""
    options = _options()
    logging.getLogger("highdicom").setLevel(logging.ERROR)  # it converts a seed, and says how
    numbers = range(options.first, options.first + options.files)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        prepare(Path(folder))
        batches = run_batches(batch_command(Path(folder), options.seed), numbers)
        outcomes = [*_shown(batches, len(numbers))]
        sample = numbers[:: max(1, len(numbers) // options.commands)] if options.commands else []
        commands = [*_shown(try_commands(Path(folder), options.seed, sample), 2 * len(sample))]
    summary = summary_of(outcomes, options.seed) | {"commands": summary_of(commands, options.seed)}
    summary["command"] = f"python -m fuzz --files {options.files} --seed {options.seed}"
    summary["machine"] = f"{platform.machine()}, {os.cpu_count()} processors"
    summary["wall_seconds"] = round(time.monotonic() - started)
    _write(options, summary, [*outcomes, *commands])
    return 1 if summary["faults"] or summary["commands"]["faults"] else 0


def _shown(outcomes: Iterable[Outcome], total: int) -> Iterator[Outcome]:
    """The same, with progress and faults on the screen."""
    for outcome in tqdm(outcomes, total=total, unit=" mutants"):
        if outcome.verdict in FAULTS:
            tqdm.write(outcome.line)
        yield outcome


def _write(options: argparse.Namespace, summary: dict[str, Any], outcomes: list[Outcome]) -> None:
    for key in ("mutants", "outcomes", "most_seconds", "most_megabytes", "wall_seconds"):
        tqdm.write(f"{key}: {summary[key]}")
    tqdm.write(f"by the command line: {summary['commands']['outcomes']}")
    if options.json:
        options.json.write_text(json.dumps(summary, indent=1) + "\n")
    if options.log:
        options.log.write_text("".join(f"{outcome.line}\n" for outcome in outcomes))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--files", type=int, default=5000, help="how many mutants (default: 5000)")
    parser.add_argument("--seed", type=int, default=0, help="of the run (default: 0)")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--commands", type=int, default=40, help="how many by the command line too")
    parser.add_argument("--json", type=Path, help="file for the summary")
    parser.add_argument("--log", type=Path, help="file for every outcome, one a line")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
