"""The engine for a Ray cluster: Ray Data hands the cases to actors that hold the networks.

Ray Data limits what is under way, starts lost actors again and gives them their cases again; the
actors write the results. With ``RAY_ADDRESS`` set, that cluster is used; else one is started on
this machine for the call, which listens to this machine alone. Ray must not report home.
"""

import contextlib
import logging
import os
import pickle
import signal
import threading
from collections.abc import Container, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from spine_monai.workflows.in_process import check_read_ahead
from spine_monai.workflows.localizer import build_localizer
from spine_monai.workflows.recipe import Recipe
from spine_monai.workflows.records import collect, package_level, replay, silence_other_logs
from spine_monai.workflows.report import Reports
from spine_monai.workflows.slice_choice import Item
from spine_monai.workflows.tries import Tries
from spine_monai.workflows.worker import Answer, Order

MAX_BLOCK = 16  # cases that go to an actor at a time, and whose reports come back together
BLOCKS_PER_WORKER = 4  # at least, so that all end at about the same time
OBJECT_STORE_BYTES = 256 << 20  # cases and reports are small
ADDRESS_VARIABLE = "RAY_ADDRESS"
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
# Without clusters Ray listens at 127.0.0.1; else at all addresses, whatever it is asked for.
ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


class RayActors:
    """Actors on a Ray cluster; use it in a ``with``.

    Args:
        recipe: how each actor builds its program; its paths must hold on all machines.
        count: number of actors, of one processor each.
        gpus: share of a GPU of each.
        tries: folder of the marks of cases in work.
    """

    def __init__(self, recipe: Recipe, count: int, gpus: float, tries: Path) -> None:
        self.ray = require_ray()
        absolute = replace(
            recipe,
            bundle=recipe.bundle.resolve(),
            output_dir=recipe.output_dir.resolve(),
            model=recipe.model and recipe.model.resolve(),
        )
        self.order = Order(absolute, tries.resolve(), 1, package_level())
        self.count, self.gpus = max(1, check_read_ahead(count)), gpus
        self.is_ours = False

    def __enter__(self) -> "RayActors":
        if not self.ray.is_initialized():
            self.is_ours = True
            with _signals_kept():
                self.ray.init(**self._where(), log_to_driver=False, logging_level=logging.ERROR)
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_ours:
            self.ray.shutdown()

    def run(self, items: Iterable[Item], alone: Container[str] = ()) -> Reports:  # noqa: ARG002
        """Do all items and yield each one's report when its block is done, in any order.

        Args:
            items: the cases.
            alone: unused; each actor does one case at a time.

        Raises:
            ValueError: the bundle, a format or a value is wrong.
            OSError: the output folder cannot be written.
        """
        rows = [{"item": pickle.dumps(dict(item))} for item in items]
        if not rows:
            return
        for row in self._rows(rows):
            answer = pickle.loads(row["answer"])  # noqa: S301 - our own actors wrote it
            if isinstance(answer, Exception):
                raise answer
            replay(answer.records)
            yield answer.report

    def _rows(self, rows: list[dict[str, bytes]]) -> Iterator[dict[str, Any]]:
        from ray.data import ActorPoolStrategy, from_items

        size = max(1, min(MAX_BLOCK, len(rows) // (BLOCKS_PER_WORKER * self.count)))
        dataset = from_items(rows, override_num_blocks=-(-len(rows) // size)).map(
            RayLocalizer,
            fn_constructor_args=(self.order,),
            compute=ActorPoolStrategy(size=self.count, max_tasks_in_flight_per_actor=2),
            num_cpus=1,
            num_gpus=self.gpus,
        )
        yield from dataset.iter_rows()

    def _where(self) -> dict[str, Any]:
        if os.environ.get(ADDRESS_VARIABLE):
            return {}
        return {
            "address": "local",
            "num_cpus": self.count,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }


class RayLocalizer:
    """An actor's program: it is built once, then called with one row after the other.

    Args:
        order: how it is built.
    """

    def __init__(self, order: Order) -> None:
        import torch

        silence_other_logs(order.log_level)
        torch.set_num_threads(order.threads)
        self.records = collect()
        self.error: Exception | None = None
        try:
            self.localizer = build_localizer(order.recipe, Tries(order.tries))
        except Exception as error:  # Ray would start the actor again for ever
            self.error = error
        self.records()  # all actors say the same when they load

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        """Do the case of a row and return its report, or the error that ends the run."""
        return {"answer": pickle.dumps(self.error or self._answer(row))}

    def _answer(self, row: dict[str, bytes]) -> Answer | Exception:
        try:
            report = self.localizer.run(pickle.loads(row["item"]))  # noqa: S301 - our own driver
        except OSError as error:
            return error
        return Answer(replace(report, landmarks=None), self.records())


def require_ray() -> Any:
    """Return Ray, told not to report home.

    Raises:
        ImportError: it is not installed.
    """
    os.environ |= QUIET if os.environ.get(ADDRESS_VARIABLE) else QUIET | ALONE
    try:
        import ray
        import ray.data
    except ImportError as error:
        msg = "the engine ray needs Ray Data: pip install 'spine_monai[ray]'."
        raise ImportError(msg) from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return ray


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself; what it meant before shall hold."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)
