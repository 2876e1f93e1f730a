"""pydicom without its warnings and log, which quote raw values: they may name a patient."""

import logging
import warnings

MODULES = r"pydicom(\.|$)"


class _NoRecord(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - logging's interface
        return False


NO_RECORD = _NoRecord("pydicom")


def silence_pydicom() -> None:
    """Silence pydicom in this process from now on; call it before each use.

    It is not undone afterwards: filters of warnings belong to all threads, and one that ends its
    reading must not turn the warnings on for another that has not. Calling it again matters after
    ``warnings.catch_warnings``, which forgets what was set within.
    """
    logging.getLogger("pydicom").addFilter(NO_RECORD)
    first = warnings.filters[0] if warnings.filters else (None,) * 5
    if first[0] != "ignore" or getattr(first[3], "pattern", None) != MODULES:
        warnings.filterwarnings("ignore", module=MODULES)
