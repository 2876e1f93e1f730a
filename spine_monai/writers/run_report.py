"""``report.json`` read back: what one run did, as ``localize`` wrote it."""

import json
from pathlib import Path
from typing import Any

REPORT_FILE = "report.json"
REPORT_FORMAT = "spine_monai.report"
REPORT_FORMAT_VERSION = 1
KEYS = {"software", "bundle", "formats", "started", "duration_s", "cases"}


def read_run_report(path: Path) -> dict[str, Any]:
    """Read a ``report.json``.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is none, or of another version.
    """
    if not path.is_file():
        msg = f"{path} must exist: `spine-monai localize` writes it. Localize studies first."
        raise FileNotFoundError(msg)
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = (content["format"], content["format_version"])
        is_ours = version == (REPORT_FORMAT, REPORT_FORMAT_VERSION) and set(content) >= KEYS
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        msg = f"{path} must be the report of a run of spine_monai: {error!r}. Localize again."
        raise ValueError(msg) from error
    if not is_ours:
        msg = f"{path} must be complete and have format {REPORT_FORMAT} version "
        msg += f"{REPORT_FORMAT_VERSION}: got {version} with {sorted(content)}. Localize again."
        raise ValueError(msg)
    return content
