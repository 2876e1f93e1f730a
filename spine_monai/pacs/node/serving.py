"""The node: what comes in is stored, localized when it is quiet, and its results are sent back.

One process with a few threads and its workers. All that must survive is in the folder: objects,
results and the ledger. Whatever ends the process, the next one goes on from there.
"""

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from spine_monai.files import combined_sha256
from spine_monai.pacs.config import PacsConfig, Serve
from spine_monai.pacs.node.audit import Audit
from spine_monai.pacs.node.database import Database
from spine_monai.pacs.node.folder import FolderLock
from spine_monai.pacs.node.intake import Intake
from spine_monai.pacs.node.isolation import can_leave_network
from spine_monai.pacs.node.jobs import DRAIN
from spine_monai.pacs.node.ledger import Ledger
from spine_monai.pacs.node.log import log
from spine_monai.pacs.node.outbox import Outbox
from spine_monai.pacs.node.references import References
from spine_monai.pacs.node.sending import HURRY, Sender
from spine_monai.pacs.node.settling import Faults, Settling
from spine_monai.pacs.node.signals import Signals
from spine_monai.pacs.node.store import Store
from spine_monai.pacs.node.threads import Threads
from spine_monai.pacs.node.working import Bench, Hand
from spine_monai.pacs.quiet import silence_libraries
from spine_monai.pacs.remote import Destination, open_remote
from spine_monai.workflows.bundle import describe_bundle, find_bundle
from spine_monai.workflows.devices import device_value
from spine_monai.workflows.outputs import check_formats
from spine_monai.workflows.processes import processors
from spine_monai.workflows.recipe import Recipe
from spine_monai.workflows.worker import Order

POLL_S = 0.25
NOTHING = logging.CRITICAL + 1
NOT_ISOLATED = (
    "serve.isolate_workers is required, so a worker must be able to leave the network: the system "
    "lets none. Allow network name spaces (sysctl user.max_user_namespaces and "
    "user.max_net_namespaces above 0; no RestrictNamespaces= in the unit; in a container a seccomp "
    "profile with unshare), or set it to auto, which goes on with a warning."
)


class Source(Protocol):
    """Where objects come from."""

    def start(self, threads: Threads) -> None:
        """Let them come from now on."""

    def stop(self) -> None:
        """Let no more come."""


@dataclass(frozen=True)
class Plan:
    """What makes one node unlike another.

    Args:
        settings: of the node.
        make_source: gives where objects come from; none come where it is ``None``.
        destination: name of who gets the results; they stay here where it is none.
        open_destination: gives the remote of that name.
    """

    settings: Serve
    make_source: Callable[[Intake, Ledger, Callable[[str], None]], Source] | None
    destination: str | None
    open_destination: Callable[[str], Destination]

    def check(self) -> None:
        """Refuse what cannot work before anything is done.

        Raises:
            ValueError: a secret or certificate is missing, or a value is wrong.
            ImportError: what a format or the remote needs is not installed.
            OSError: workers must be without the network, and cannot be.
        """
        check_formats(self.settings.formats)
        if self.destination is not None:
            self.open_destination(self.destination)
        if self.settings.isolate_workers != "no" and not can_leave_network():
            if self.settings.isolate_workers == "required":
                raise ValueError(NOT_ISOLATED)
            log("workers keep the network: the system does not let them leave", logging.WARNING)


def serve(config: PacsConfig, settings: Serve) -> int:
    """Be a DICOM node until a signal comes; return the signal's number.

    Args:
        config: the whole file.
        settings: its part ``serve``.

    Raises:
        FolderInUseError: another process serves the folder.
        ValueError: something in the configuration or bundle is wrong.
        OSError: the port is taken, or the folder cannot be written.
    """
    from spine_monai.pacs.node.receiver import Receiver

    def receiver(intake: Intake, _: Ledger, note: Callable[[str], None]) -> Source:
        return Receiver(config.node, intake, note)

    plan = Plan(settings, receiver, settings.send_to, lambda name: open_remote(config, name))
    return run_node(plan)


def run_node(plan: Plan, *, drain: bool = False) -> int:
    """Run a node until a signal comes or it is asked to drain; return the signal's number or 0.

    Args:
        plan: what it does.
        drain: end as soon as nothing is left that can be done now.

    Raises:
        FolderInUseError: another process serves the folder.
        ValueError: something in the configuration or bundle is wrong.
        OSError: the port is taken, or the folder cannot be written.
    """
    silence_libraries()
    with ExitStack() as stack:
        signals = stack.enter_context(Signals())
        stack.enter_context(FolderLock(plan.settings.folder))
        plan.check()
        database = stack.enter_context(Database(plan.settings.folder))
        node = NodeService(plan, database)
        node.run(signals, drain=drain)
        return signals.number


class NodeService:
    """The parts of a node, put together.

    Args:
        plan: what it does.
        database: of the folder, open.
    """

    def __init__(self, plan: Plan, database: Database) -> None:
        settings = plan.settings
        self.plan, self.settings = plan, settings
        order, model = _order(settings)
        self.store = Store(settings.folder)
        self.ledger, self.outbox = Ledger(database), Outbox(database)
        self.store.open()
        self.audit = Audit(settings.folder, model)
        self.faults = Faults(self.ledger)
        references = References.of(settings.folder)
        self.intake = Intake(self.store, self.ledger, references, settings)
        self.bench = Bench(
            order,
            settings,
            self.store,
            self.ledger,
            self.outbox,
            self.audit,
            destination=plan.destination,
        )
        self.sender = Sender(self.outbox, settings, plan.open_destination, self.audit)
        self._hurried = self.ledger.setting(HURRY)

    def run(self, signals: Signals, *, drain: bool) -> None:
        """Work until told to stop."""
        self.ledger.set(DRAIN, "")
        threads = Threads(self.settings.retry_s)
        source = self._begin()
        try:
            self._start(threads)
            if source is not None:
                source.start(threads)
            while not signals.number and not drain and not self.ledger.setting(DRAIN):
                threads.check()
                signals.wait(POLL_S)
            if source is not None:
                source.stop()
            if not signals.number:
                self._drain(threads, signals)
        finally:
            if source is not None:
                source.stop()
            threads.end()
            log("stopped")
        threads.check()

    def _begin(self) -> Source | None:
        """Go on from where the last process ended."""
        again = self.ledger.recover(time.time())
        self.intake.count_all()
        log("started", put_back=again, **self.ledger.counts())
        if self.plan.make_source is None:
            return None
        return self.plan.make_source(self.intake, self.ledger, self.faults.note)

    def _start(self, threads: Threads) -> None:
        settling = Settling(self.intake, self.ledger, self.settings, self.audit, self.faults)
        threads.start("settling", settling.run)
        threads.start("sender", lambda stop: self.sender.run(stop, self._is_hurried))
        for number in range(self.settings.workers):
            threads.start(f"worker {number + 1}", Hand(self.bench).run)

    def _drain(self, threads: Threads, signals: Signals) -> None:
        """Wait until nothing is left that can be done: a remote that is away can do nothing."""
        log("draining")
        self.intake.tell()
        self.ledger.set(HURRY, str(time.time()))
        began = self.sender.rounds
        while not signals.number and not self._is_drained(began):
            threads.check()
            signals.wait(POLL_S)

    def _is_drained(self, began: int) -> bool:
        counts = self.ledger.counts()
        if counts.get("waiting") or counts.get("working"):
            return False
        waits = self.outbox.counts().get("waiting", 0)
        return not waits or (self.sender.rounds > began + 1 and bool(self.sender.pauses))

    def _is_hurried(self) -> bool:
        hurry = self.ledger.setting(HURRY)
        is_news, self._hurried = hurry != self._hurried, hurry
        return is_news


def _order(settings: Serve) -> tuple[Order, str]:
    """What workers are told at first, and the digest of the weights.

    Raises:
        ValueError: the bundle or the device is wrong.
    """
    bundle = find_bundle(settings.bundle)
    digests = describe_bundle(bundle)["weights_sha256"].values()
    values = {"device": device_value(settings.device)} if settings.device else {}
    recipe = Recipe(bundle, settings.folder / "results", tuple(settings.formats), values)
    threads = max(1, processors() // settings.workers)
    order = Order(recipe, settings.folder / "results" / ".tries", threads, NOTHING)
    return order, combined_sha256(digests)
