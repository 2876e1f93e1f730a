"""A worker process: builds its ``Localizer`` and does the cases that its owner hands it.

It gets an ``Order`` first, then one item after the other, ``None`` at the end. It answers with
``Ready`` once, then with ``Answer`` for each item, or with ``Broken`` where no case can be done.
"""

import logging
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from spine_monai.workflows.localizer import build_localizer
from spine_monai.workflows.recipe import Recipe
from spine_monai.workflows.records import collect, silence_other_logs
from spine_monai.workflows.report import CaseReport
from spine_monai.workflows.tries import Tries


@dataclass(frozen=True)
class Order:
    """What a worker is told at first.

    Args:
        recipe: how its program is built.
        tries: folder of the marks of cases in work.
        threads: that one operation may use.
        log_level: from which records are sent back.
    """

    recipe: Recipe
    tries: Path
    threads: int
    log_level: int


@dataclass(frozen=True)
class Ready:
    """The networks are loaded."""

    records: Sequence[logging.LogRecord]


@dataclass(frozen=True)
class Answer:
    """A case is finished."""

    report: CaseReport
    records: Sequence[logging.LogRecord]


@dataclass(frozen=True)
class Broken:
    """No case can be done: the bundle is wrong, or the output folder cannot be written."""

    error: Exception


def serve(connection: "Connection[Any, Any]") -> None:
    """Do cases until there are no more, or the owner is gone."""
    order = connection.recv()
    if not isinstance(order, Order):
        msg = f"a worker must be sent an Order first: got {type(order).__name__}."
        raise TypeError(msg)
    silence_other_logs(order.log_level)
    torch.set_num_threads(order.threads)
    try:
        _serve(connection, order)
    except (EOFError, ConnectionError):  # the owner is gone
        return
    except Exception as error:
        connection.send(Broken(error))


def _serve(connection: "Connection[Any, Any]", order: Order) -> None:
    records = collect()
    localizer = build_localizer(order.recipe, Tries(order.tries))
    connection.send(Ready(records()))
    try:
        while (item := connection.recv()) is not None:
            report = localizer.run(item)
            connection.send(Answer(report, records()))
    finally:
        localizer.interrupt()


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's interface
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)  # through every `finally`, so that no half-written file stays


def main() -> None:
    """Serve the owner at the other end of the socket whose number is the first argument."""
    signal.signal(signal.SIGTERM, _end)
    with Connection(int(sys.argv[1])) as connection:
        serve(connection)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends anyway


if __name__ == "__main__":
    main()
