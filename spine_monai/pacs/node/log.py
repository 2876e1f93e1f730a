"""The log of a node: a JSON object a line, with references and counts, and nothing of a patient."""

import json
import logging
import re
import sys
import time
from typing import IO, Any

LOGGER = "spine_monai.pacs"
OTHERS = ("spine_monai.workflows", "spine_monai.readers", "spine_monai.writers")  # they name UIDs
FIELDS = "pacs_fields"
UID = re.compile(r"\b[0-2](?:\.\d+){2,}(?::\d+)?")
PATH = re.compile(r"(?<![\w/])/[^\s:;,()'\"]+")


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback is left out, since it may quote values."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": without_names(record.getMessage()),
        }
        return json.dumps(line | getattr(record, FIELDS, {}))


def set_up_log(stream: IO[str] | None = None) -> None:
    """Log as JSON from now on, and let no other part of the program log what it finds in files.

    Args:
        stream: where the lines go; stderr where not given.
    """
    logger = logging.getLogger(LOGGER)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for name in OTHERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def log(event: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log what happened.

    Args:
        event: in a few fixed words.
        level: of ``logging``.
        **fields: references, counts and names of our own configuration.
    """
    logging.getLogger(f"{LOGGER}.node").log(level, event, extra={FIELDS: fields})


def without_names(text: str) -> str:
    """Return a message without UIDs and paths, either of which may lead to a patient."""
    return UID.sub("<uid>", PATH.sub("<path>", text))
