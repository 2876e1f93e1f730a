"""``spine-monai series``: which series a study holds, which is used, and why."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from spine_monai.cli.codes import DONE, SOME_FAILED


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("series", help="which series a study holds, and which is used")
    command.add_argument(
        "study", type=Path, metavar="STUDY", help="DICOM folder, zip or file, or a volume file"
    )
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_series_uid(command)
    command.set_defaults(command=_series)


def add_series_uid(command: argparse.ArgumentParser) -> None:
    """Add the option by which a user overrules the choice."""
    command.add_argument(
        "--series-uid",
        metavar="UID",
        help="use this series, whatever it is weighted by; UID:2 for its second part",
    )


def _series(options: argparse.Namespace) -> int:
    from spine_monai.readers import StudyError
    from spine_monai.readers.description import content_of, content_without_series, table_of
    from spine_monai.readers.location import nothing_to_choose, survey_study

    try:
        if reason := nothing_to_choose(options.study):
            _tell(options, content_without_series(options.study, reason), reason)
            return DONE
        index, choice = survey_study(options.study, options.series_uid)
    except StudyError as error:
        print(f"spine-monai: {error}", file=sys.stderr)
        if options.json:
            _tell(options, content_without_series(options.study, str(error)))
        return SOME_FAILED
    _tell(options, content_of(index, choice), table_of(index, choice))
    return DONE if choice.chosen else SOME_FAILED


def _tell(options: argparse.Namespace, content: dict[str, Any], table: str = "") -> None:
    print(json.dumps(content, indent=1) if options.json else table)
