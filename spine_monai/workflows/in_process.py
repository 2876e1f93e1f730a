"""The engine without other processes: threads read the next studies while one is concluded."""

from collections import deque
from collections.abc import Container, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from spine_monai.workflows.localizer import Localizer, Reading, build_localizer
from spine_monai.workflows.recipe import Recipe
from spine_monai.workflows.report import Reports
from spine_monai.workflows.slice_choice import Item
from spine_monai.workflows.tries import Tries


def check_read_ahead(num_workers: int) -> int:
    """Return the number if it is one of threads that read ahead.

    Raises:
        ValueError: it is negative.
    """
    if num_workers < 0:
        msg = f"num_workers must be 0 or more: got {num_workers}."
        raise ValueError(msg)
    return num_workers


class InProcess:
    """Does cases in this process.

    Args:
        recipe: how the program is built, when the first case comes.
        num_workers: threads that read ahead, and how far.
        tries: counts how often a case was begun; ``None`` where nothing outlives the process.
    """

    def __init__(self, recipe: Recipe, num_workers: int, tries: Tries | None = None) -> None:
        self.recipe, self.tries = recipe, tries
        self.num_workers = check_read_ahead(num_workers)

    def run(self, items: Iterable[Item], alone: Container[str] = ()) -> Reports:
        """Do all items and yield each one's report, in their order; see ``run_here``.

        Raises:
            ValueError: the bundle, a format or a value is wrong.
            OSError: the output folder cannot be written.
        """
        return run_here(build_localizer(self.recipe, self.tries), items, self.num_workers, alone)


def run_here(
    localizer: Localizer, items: Iterable[Item], num_workers: int, alone: Container[str] = ()
) -> Reports:
    """Do all items in this process and yield each one's report, in their order.

    Args:
        localizer: does them.
        items: the cases.
        num_workers: threads that read ahead, and how far.
        alone: ids of cases that are read when nothing else is in work, for they may end the
            process, and the others should not be blamed.

    Raises:
        OSError: the output folder cannot be written.
    """
    begun: deque[Future[Reading]] = deque()
    try:
        with ThreadPoolExecutor(max(1, num_workers)) as pool:
            for item in items:
                ahead = 0 if item["id"] in alone else num_workers
                while len(begun) > ahead:
                    yield localizer.conclude(begun.popleft().result())
                begun.append(pool.submit(localizer.read, item))
            while begun:
                yield localizer.conclude(begun.popleft().result())
    finally:
        localizer.interrupt()
