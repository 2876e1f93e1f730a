"""A run: batches of mutants in child processes that are watched, and what came of them."""

import json
import queue
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.dicom_truth import decoded_pixels
from fuzz.seeds import make_seeds
from fuzz.trial import CRASH, FAULTS, HANG, Outcome

BATCH = 200
# By the clock, for a busy machine; how long a mutant may compute, ``trial`` judges.
PATIENCE_SECONDS = 60.0
START_SECONDS = 300.0
Command = Callable[[int, int], Sequence[str]]


def prepare(home: Path) -> None:
    """Write the seeds, and decode their pixels once."""
    make_seeds(home / "seeds")
    np.savez(home / "decoded.npz", **decoded_pixels(home / "seeds"))


def batch_command(home: Path, run_seed: int) -> Command:
    """Return what gives the command of a batch by its first number and the one after its last."""
    head = [sys.executable, "-m", "fuzz.batch", str(home), str(run_seed)]
    return lambda start, stop: [*head, str(start), str(stop)]


def run_batches(
    command: Command, numbers: range, *, patience_seconds: float = PATIENCE_SECONDS
) -> Iterator[Outcome]:
    """Yield the outcome of each mutant; one that ends its process or holds it up costs only itself.

    Args:
        command: of a batch.
        numbers: of the mutants.
        patience_seconds: how long one may take by the clock.
    """
    start = numbers.start
    while start < numbers.stop:
        stop = min(start + BATCH, numbers.stop)
        for outcome in _run_batch(command(start, stop), start, patience_seconds):
            start = outcome.number + 1
            yield outcome


def _run_batch(command: Sequence[str], start: int, patience_seconds: float) -> Iterator[Outcome]:
    """The outcomes of a batch, up to the one that it did not survive."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        lines, complaints = _lines_of(child.stdout), _lines_of(child.stderr)
        number, patience = start, START_SECONDS
        try:
            while line := lines.get(timeout=patience):
                patience = patience_seconds
                if line.strip().isdecimal():
                    number = int(line)
                else:
                    yield _outcome(line)
                    number += 1
        except queue.Empty:
            child.kill()
            yield Outcome(number, "", (), HANG, f"more than {patience:g} s by the clock")
            return
        if child.wait() != 0:
            said = "".join(iter(complaints.get, ""))[-2000:]
            yield Outcome(number, "", (), CRASH, f"exit code {child.returncode}: {said}")


def _lines_of(stream: Any) -> "queue.Queue[str]":
    """The lines of a stream as they come; an empty one at its end."""
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    return lines


def _outcome(line: str) -> Outcome:
    content = json.loads(line)
    return Outcome(**content | {"mutations": tuple(content["mutations"])})


def summary_of(outcomes: Sequence[Outcome], run_seed: int) -> dict[str, Any]:
    """Return counts by verdict, over all and by the study mutated, and every fault in full."""
    by_seed: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in outcomes:
        by_seed[outcome.seed][outcome.verdict] += 1
    return {
        "mutants": len(outcomes),
        "seed": run_seed,
        "outcomes": dict(Counter(outcome.verdict for outcome in outcomes).most_common()),
        "most_seconds": max((outcome.seconds for outcome in outcomes), default=0.0),
        "most_megabytes": max((outcome.megabytes for outcome in outcomes), default=0.0),
        "by_study": {name: dict(counts) for name, counts in sorted(by_seed.items())},
        "faults": [json.loads(o.line) for o in outcomes if o.verdict in FAULTS],
    }
