"""The page of the speed figures: one section a part, goals first."""

from collections.abc import Mapping, Sequence
from typing import Any

INTRODUCTION = """\
# Speed

Written by `make bench-speed` from [speed.json](speed.json), which it writes first. Every part runs
in a process of its own on two threads; what is compared takes turns in one process, and figures are
medians. Ratios travel between machines, milliseconds do not. Accuracy must not pay for speed: see
*Precision*. Parts whose last line names spine_monai 0.10.4 or older have one look of the
coordinates instead of seven; 0.6.0 or older also the narrower window of then; 0.5.0 or older also
the narrower coordinate network.
"""


def page(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page's text."""
    sections = [_section(part) for part in parts.values()]
    return "\n".join([INTRODUCTION, _summary(parts), *sections])


def _summary(parts: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        {
            "part": part["title"],
            "goal": goal["what"],
            "asked": f"{goal['asked']} {goal['unit']}".strip(),
            "reached": f"{goal['reached']:g} {goal['unit']}".strip(),
            "": "met" if goal["is_met"] else "**missed**",
        }
        for part in parts.values()
        for goal in part.get("goals", [])
    ]
    return "## Goals\n\n" + _table(rows) + "\n"


def _section(part: Mapping[str, Any]) -> str:
    notes = "".join(f"\n- {note}" for note in part.get("notes", []))
    return f"## {part['title']}\n\n{_table(part['rows'])}\n{notes}\n\n{_circumstances(part)}\n"


def _circumstances(part: Mapping[str, Any]) -> str:
    processor, software = part["processor"], part["software"]
    versions = ", ".join(f"{name} {version}" for name, version in software.items())
    return (
        f"`{part['command']}`; {part['machine']}, {processor['vector_instructions']}, "
        f"bfloat16 instructions: {'yes' if processor['has_bfloat16'] else 'no'}, "
        f"GPU: {processor['gpu'] or 'none'}; {part['threads']} threads; "
        f"load {', '.join(map(str, part['load']))}; {versions}."
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, ["---"] * len(columns)]
    lines += [[_cell(row.get(name)) for name in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")
