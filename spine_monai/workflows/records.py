"""Log records of another process, brought to this one's log."""

import logging
from collections.abc import Callable, Iterable
from logging.handlers import QueueHandler
from queue import SimpleQueue

PACKAGE = "spine_monai"


class _Collector(QueueHandler):
    """Keeps records, their texts made, so that they can be sent."""

    def __init__(self) -> None:
        self.records: SimpleQueue[logging.LogRecord] = SimpleQueue()
        super().__init__(self.records)

    def take(self) -> list[logging.LogRecord]:
        return [self.records.get_nowait() for _ in range(self.records.qsize())]


def package_level() -> int:
    """Return the level from which the package's log is wanted."""
    return logging.getLogger(PACKAGE).getEffectiveLevel()


def silence_other_logs(level: int) -> None:
    """Let a process log nothing but the package's records: those of others may quote patient data.

    Args:
        level: from which the package's own are kept.
    """
    logging.getLogger().addHandler(logging.NullHandler())
    logging.captureWarnings(capture=True)
    own = logging.getLogger(PACKAGE)
    own.setLevel(level)
    own.propagate = False


def collect() -> Callable[[], list[logging.LogRecord]]:
    """Keep the package's records from now on; the function returned gives those since last time."""
    collector = _Collector()
    logging.getLogger(PACKAGE).addHandler(collector)
    return collector.take


def replay(records: Iterable[logging.LogRecord]) -> None:
    """Log records that another process collected, where this one's log goes."""
    for record in records:
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)
