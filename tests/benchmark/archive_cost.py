"""What a million studies cost, from the rates that ``make bench-speed`` measured.

    python tests/benchmark/archive_cost.py docs/benchmarks/speed.json [--price 0.05]

prints the table of docs/how-to/archive.md. The price of a core hour is the reader's own.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

STUDIES = 1_000_000
MACHINES = (1, 10, 100)
LINE_BYTES = 800  # of a case in the manifest
SECONDS_AN_HOUR = 3600


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("speed", type=Path, help="speed.json")
    parser.add_argument("--price", type=float, default=0.05, help="of a core hour, in any currency")
    options = parser.parse_args()
    print(cost_table(json.loads(options.speed.read_text()), options.price))


def cost_table(speed: Any, price: float) -> str:
    """Return the cost of a million studies as a Markdown table.

    Args:
        speed: content of ``speed.json``; its rows of growth are found wherever they stand.
        price: of a core hour.

    Raises:
        ValueError: the rows are not there.
    """
    rows = list(_rows(speed))
    pair = [row for row in rows if row.get("what") == "side by side" and row.get("workers") == 2]
    sizes = [row["kib"] for row in rows if "kib" in row]
    if not pair or not sizes:
        msg = "speed.json must hold the rows of growth: `side by side` and `kib`. Run `make "
        msg += "bench-speed PARTS=growth`."
        raise ValueError(msg)
    seconds = pair[0]["seconds_a_study"]
    core_hours = STUDIES * seconds * pair[0]["workers"] / SECONDS_AN_HOUR
    lines = ["| what | a million studies |", "|---|---|"]
    lines.append(f"| seconds a study, two cores, two workers | {seconds:.2f} |")
    lines.append(f"| core hours | {core_hours:,.0f} |")
    for machines in MACHINES:
        hours = core_hours / machines / 16
        lines.append(
            f"| hours on {machines} machine{'s'[: machines - 1]} of 16 cores | {hours:,.1f} |"
        )
    lines.append(f"| cost at {price:g} a core hour | {core_hours * price:,.0f} |")
    lines.append(f"| results (json, markups) | {STUDIES * sizes[0] / 2**20:,.0f} GiB |")
    lines.append(f"| manifests | {STUDIES * LINE_BYTES / 2**30:,.1f} GiB |")
    return "\n".join(lines)


def _rows(content: Any) -> Iterator[Mapping[str, Any]]:
    """All objects below some JSON."""
    if isinstance(content, dict):
        yield content
        content = list(content.values())
    if isinstance(content, list):
        for entry in content:
            yield from _rows(entry)


if __name__ == "__main__":
    main()
