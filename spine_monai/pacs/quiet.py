"""Other packages' logs and warnings, kept silent: they quote names, identifiers and UIDs."""

import logging
import warnings

LOGGERS = (
    *("pynetdicom", "pydicom", "highdicom", "dicomweb_client"),
    *("urllib3", "requests", "retrying"),
)


def silence_libraries() -> None:
    """Let the libraries of the PACS door say nothing, whatever the user's logging is set to.

    To log nothing at all is the only level that is safe: pynetdicom shows identifiers at INFO,
    highdicom UIDs, pydicom wrong values, and the web's packages addresses that hold UIDs.
    """
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL + 1)
        logger.propagate = False
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
    for name in ("pydicom", "highdicom", "dicomweb_client", "pynetdicom"):
        warnings.filterwarnings("ignore", module=rf"{name}(\.|$)")
