"""Why a study came to nothing, in words that may stand in a log: no UID, path or description."""

import re

from spine_monai.pacs.node.log import without_names

NO_SERIES = re.compile(
    r"must hold one sagittal T2 series: "
    r"(none of \d+ is one|\d+ of \d+ are equally good|\d+ of \d+ are one, of \d+ studies)"
)
NO_LANDMARK = "must have a landmark to be written as DICOM"
LONGEST = 300


def why_ignored(reason: str) -> str:
    """Return why a study has nothing for us; an empty text where it failed for another reason.

    Args:
        reason: of the failed case; it names each series.
    """
    if NO_LANDMARK in reason:
        return "no lumbar landmark was found in it"
    found = NO_SERIES.search(reason)
    return f"no sagittal T2 series to work on: {found.group(1)}" if found else ""


def why_failed(reason: str) -> str:
    """Return why a case failed, without names and of bounded length."""
    return without_names(reason)[:LONGEST]
