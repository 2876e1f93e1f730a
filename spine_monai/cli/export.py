"""``spine-monai export``."""

import argparse
from pathlib import Path
from typing import Any

from spine_monai.cli.codes import DONE, RESEARCH_NOTE

FORMATS = ("torchscript", "onnx", "openvino")


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "export",
        help="a bundle as one file for other programs",
        description="Write both networks, their fusion and the chain as one file, from image to "
        "points and confidences, and check it against the bundle on a real study.",
    )
    command.add_argument("--format", required=True, choices=FORMATS)
    command.add_argument("--out", required=True, type=Path, metavar="FILE", help="file to write")
    command.add_argument("--bundle", type=Path, help="bundle folder (default: the shipped one)")
    command.add_argument(
        "--study", type=Path, help="what to check on (default: the bundle's demo study)"
    )
    command.set_defaults(command=_export)


def _export(options: argparse.Namespace) -> int:
    from spine_monai.workflows.exporting import export

    agreement = export(options.out, options.format, bundle=options.bundle, study=options.study)
    megabytes = options.out.stat().st_size / 1e6
    print(f"wrote {options.out}: {megabytes:.1f} MB of {options.format}")
    print(
        f"{agreement.slices} slices gave the bundle's landmarks: at most {agreement.largest_mm:.1g}"
        f" mm and {agreement.largest_confidence:.1g} of confidence away"
    )
    print(RESEARCH_NOTE)
    return DONE
