"""Write the reference pages that are made from the code: commands, landmarks, Python interface.

python tests/tools/make_reference.py docs/reference        (or: make docs)
"""

import argparse
import inspect
import os
import sys
from pathlib import Path
from typing import Any

import spine_monai
from spine_monai.cli import build_parser
from spine_monai.files import sha256_of_file
from spine_monai.landmarks import LUMBAR11

NOTE = "<!-- Made by `make docs`; do not edit. -->\n\n"


def commands() -> str:
    """Every command with its help text."""
    os.environ["COLUMNS"] = "96"
    parser = build_parser()
    pages = [f"# Commands\n\n```text\n{parser.format_help()}```\n"]
    pages += [_command(name, child) for name, child in _children(parser)]
    exits = "0 done; 1 some cases failed, the rest done; 2 usage or configuration; 3 storage; "
    return "\n".join(pages) + f"\n## Exit codes\n\n{exits}75 interrupted, run again.\n"


def landmarks() -> str:
    """The table of the built-in landmark set."""
    rows = [
        f"| {index} | {mark.name} | {mark.kind} | {mark.snomed_code} |"
        for index, mark in enumerate(LUMBAR11.landmarks)
    ]
    head = "| channel | name | kind | SNOMED CT |\n|---|---|---|---|\n"
    intro = (
        "The set `lumbar11`, head to foot, in the order of every array and channel. Another set "
    )
    intro += "is a YAML file with `name` and `landmarks` (`name`, `kind`, `snomed_code` each).\n\n"
    return f"# Landmarks\n\n{intro}{head}" + "\n".join(rows) + "\n"


def interface() -> str:
    """The public names with their docstrings."""
    parts = ["# Python interface\n\nEverything public is importable from `spine_monai` itself.\n"]
    for name in spine_monai.__all__:
        thing = getattr(spine_monai, name)
        if not callable(thing):
            parts.append(f"## {name}\n\n`{type(thing).__name__}`: see landmarks.md.\n")
            continue
        text = f"{name}{_signature(thing)}\n\n{inspect.getdoc(thing)}"
        parts.append(f"## {name}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


MODEL_CARD_ROWS = (
    *("default: coordinates", "default: heatmap"),
    *("default: product, learned sigma", "default: chain"),
)


def figures_table(rows: dict[str, Any]) -> str:
    """Some rows of `accuracy.json` with 95 % intervals, as the model card shows them."""
    columns = {"MRE mm": "mre_mm", "median mm": "median_mm", "within 2 mm": "sdr_2"}
    columns |= {"4 mm": "sdr_4", "6 mm": "sdr_6", "8 mm": "sdr_8"}
    columns |= {"level shifts": "level_shift_rate", "all eleven within 8 mm": "all_within_8mm"}
    head = f"| row | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}\n"
    lines = [
        f"| {arm} | {' | '.join(_cell(rows[arm]['overall'], key) for key in columns.values())} |"
        for arm in MODEL_CARD_ROWS
    ]
    return head + "\n".join(lines)


def digests_table(models: Path) -> str:
    """The SHA-256 of each weights file."""
    files = [models / name for name in ("model.pt", "model_coordinates.pt", "fusion.pt")]
    lines = [f"| `{file.name}` | `{sha256_of_file(file)}` |" for file in files]
    return "\n".join(["| file | SHA-256 |", "|---|---|", *lines])


def _cell(overall: dict[str, Any], key: str) -> str:
    value = overall["sdr"][key[4:]] if key.startswith("sdr_") else overall[key]
    low, high = overall["intervals"][key]
    is_length = key.endswith("_mm")
    show = (lambda v: f"{v:.2f}") if is_length else (lambda v: f"{100 * v:.1f} %")
    return f"{show(value)} ({show(low)} to {show(high)})"


PAGES = {"commands.md": commands, "landmarks.md": landmarks, "python.md": interface}


def write(folder: Path) -> None:
    """Write all pages."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(NOTE + page(), encoding="utf-8")


def _signature(thing: Any) -> str:
    """Names and defaults; the docstring says what each is."""
    if isinstance(thing, type) and issubclass(thing, Exception):
        return ""
    signature = inspect.signature(thing)
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))


def _children(parser: argparse.ArgumentParser) -> list[tuple[str, argparse.ArgumentParser]]:
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return [item for group in groups for item in group.choices.items()]


def _command(name: str, parser: argparse.ArgumentParser) -> str:
    inner = "".join(_command(f"{name} {child}", sub) for child, sub in _children(parser))
    return f"## {name}\n\n```text\n{parser.format_help()}```\n\n{inner}"


if __name__ == "__main__":
    write(Path(sys.argv[1]))
