"""The figures of the GPU part as they come in, one guarded group after the other."""

import contextlib
import gc
import json
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from speed.forward import PAPER_IMAGE
from speed.timing import side_by_side

BATCHES = (1, 8, 32)
SIZE, LANDMARKS = PAPER_IMAGE, 11
PRECISION = "bfloat16"
PART_S, GROUP_S = 240.0, 60.0  # no group goes on longer, nor begins after the part's time
SHORT = 300  # characters of an error that a note repeats


@dataclass
class Report:
    """The figures so far, and what later ones are held against.

    Args:
        device: that is measured.
        flop_ms: the measured matrix rate, in operations a millisecond; 0 until it is known.
        forward_ms: by batch, of both networks.
    """

    device: str
    flop_ms: float = 0.0
    forward_ms: dict[int, float] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    goals: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def add(self, what: str, **figures: Any) -> dict[str, Any]:
        """Keep a row and print it, in case that the process does not live to return it."""
        row = {"what": what} | figures
        self.rows.append(row)
        print(" ", json.dumps(row), flush=True)
        return row

    def pace(self, images: int, ms: float, flops: int) -> dict[str, Any]:
        """Return the figures of a call that works on so many images."""
        figures: dict[str, Any] = {"ms": round(ms, 3), "images_a_second": round(1000 * images / ms)}
        figures["gflop"] = round(flops / 1e9, 1)
        if self.flop_ms:
            figures["share_of_matrix_rate"] = round(flops / ms / self.flop_ms, 4)
        return figures


def guarded(report: Report, name: str, group: Callable[[Report], None]) -> None:
    """Measure a group; what it raises becomes a note."""
    started = time.perf_counter()
    print(f"{name} ...", flush=True)
    try:
        with time_limit(min(GROUP_S, PART_S - (started - report.started))):
            group(report)
    except Exception as error:  # whatever it is, the other groups do not depend on it
        traceback.print_exc()
        reason = " ".join(str(error).split())[:SHORT]
        report.notes.append(f"{name}: not measured to the end: {type(error).__name__}: {reason}")
    free_memory()
    print(f"{name}: {time.perf_counter() - started:.1f} s", flush=True)


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise a TimeoutError in what takes longer; only the main thread can be told so."""

    def stop(*_: Any) -> None:
        msg = f"it took longer than {seconds:.0f} s"
        raise TimeoutError(msg)

    if seconds <= 0:
        msg = "no time was left"
        raise TimeoutError(msg)
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def free_memory() -> None:
    """Give back what the last group held; after an error of the device even that may fail."""
    gc.collect()
    try:
        if "torch._dynamo" in sys.modules:
            torch._dynamo.reset()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
    except RuntimeError as error:
        print(error, file=sys.stderr)


def ms_of(call: Callable[[], object], *, repeats: int = 9, warm_ups: int = 3) -> float:
    """Return the median time of a call in ms, until the device has finished."""
    return side_by_side({"it": call}, repeats=repeats, warm_ups=warm_ups)["it"]


def seconds_of(call: Callable[[], object]) -> float:
    """Return how long the first call takes, which compiles."""
    return round(ms_of(call, repeats=1, warm_ups=0) / 1000, 1)
