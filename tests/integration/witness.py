"""A handler that writes down which cases a process trains on, for the tests of ``torchrun``."""

import json
import os
from pathlib import Path

from ignite.engine import Engine, Events


class Witness:
    """Append a line for each step: rank, epoch, process id, cases.

    Args:
        path: the file of all processes.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def attach(self, engine: Engine) -> None:
        """Watch every step."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write down one step; lines so short are written whole."""
        line = {"rank": int(os.environ.get("RANK", "0")), "pid": os.getpid()}
        line |= {"epoch": engine.state.epoch, "cases": list(engine.state.batch["id"])}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
