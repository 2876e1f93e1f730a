"""What runs the cases of a call: this process, several on this machine, or a Ray cluster."""

from collections.abc import Container, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from spine_monai.workflows.in_process import InProcess, check_read_ahead
from spine_monai.workflows.processes import Crew
from spine_monai.workflows.recipe import Recipe
from spine_monai.workflows.report import Reports
from spine_monai.workflows.slice_choice import Item
from spine_monai.workflows.tries import TRIES_FOLDER, Tries

LOCAL, RAY = "local", "ray"
ENGINES = (LOCAL, RAY)


class Engine(Protocol):
    """Runs cases."""

    def run(self, items: Iterable[Item], alone: Container[str] = ()) -> Reports:
        """Do all items and yield each one's report when it is there.

        Args:
            items: the cases.
            alone: ids of cases that may end the process that does them.
        """
        ...


@dataclass(frozen=True)
class EngineChoice:
    """Which engine, and how large.

    Args:
        name: ``local`` or ``ray``.
        workers: processes; 1 runs in this one and reads one study ahead, 0 reads none ahead.
        gpus: share of a GPU that each Ray worker gets.
        keeps_tries: whether marks of tries stay in the output folder, for the next run.

    Raises:
        ValueError: there is no such engine, or it cannot be so large.
    """

    name: str = LOCAL
    workers: int = 1
    gpus: float = 0.0
    keeps_tries: bool = False

    def __post_init__(self) -> None:
        check_read_ahead(self.workers)
        if self.name not in ENGINES:
            msg = f"engine must be one of {', '.join(ENGINES)}: got {self.name!r}."
            raise ValueError(msg)
        if self.gpus < 0 or (self.gpus and self.name != RAY):
            msg = "gpus must be 0 or more, and goes with the engine ray: got "
            msg += f"{self.gpus:g} with {self.name}. Name a --device instead."
            raise ValueError(msg)

    def start(self, recipe: Recipe, stack: ExitStack) -> Engine:
        """Start the engine; it ends with the stack."""
        kept = recipe.output_dir / TRIES_FOLDER
        if self.name == RAY:
            from spine_monai.workflows.ray_engine import RayActors

            return stack.enter_context(RayActors(recipe, self.workers, self.gpus, kept))
        if self.workers <= 1:
            ahead = int(recipe.values.get("num_workers", self.workers))
            return InProcess(recipe, ahead, Tries(kept) if self.keeps_tries else None)
        if not self.keeps_tries:
            kept = Path(stack.enter_context(TemporaryDirectory(prefix="spine_monai-")))
        return stack.enter_context(Crew(recipe, self.workers, kept))
