"""``spine-monai convert``: annotations to a datalist."""

import argparse
from pathlib import Path
from typing import Any

from spine_monai.cli.codes import DONE


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("convert", help="annotations to a datalist")
    kinds = command.add_subparsers(required=True, metavar="KIND")
    markups = kinds.add_parser("markups", help="3D Slicer .mrk.json, one case folder each")
    markups.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="case folders")
    markups.add_argument("--out", required=True, type=Path, help="datalist to write (.json)")
    markups.add_argument("--folds", type=Path, help="CSV with the columns case and fold")
    markups.add_argument("--landmark-set", default="lumbar11", help="name or YAML file")
    markups.set_defaults(command=_convert_markups)


def _convert_markups(options: argparse.Namespace) -> int:
    from spine_monai.data import assign_folds, datalist_from_markups, write_datalist
    from spine_monai.landmarks import load_registry

    registry = load_registry(options.landmark_set)
    items = datalist_from_markups(options.folders, registry, options.folds)
    if options.folds is None:
        items = assign_folds(items)
    write_datalist(items, options.out, registry.name)
    print(f"{len(items)} cases in {options.out}")
    return DONE
