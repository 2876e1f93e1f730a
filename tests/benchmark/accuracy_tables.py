# ruff: noqa: E501 - headings of tables
"""Tables of the accuracy page: one line for each row, landmark or difference."""

from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = ("MRE mm", "median mm", *(f"within {t} mm" for t in (2, 4, 6, 8)), "level shifts")


def table(rows: Mapping[str, Any]) -> str:
    """Return one line for each row of the benchmark."""
    lines = ["| row | " + " | ".join(COLUMNS) + " | all eleven |"]
    lines.append("|---" * (len(COLUMNS) + 2) + "|")
    for row, summary in rows.items():
        overall, between = summary["overall"], summary["overall"]["intervals"]
        cells = [
            with_interval(overall[k], between.get(k), "{:.2f}") for k in ("mre_mm", "median_mm")
        ]
        cells += [
            with_interval(overall["sdr"][t], between.get(f"sdr_{t}"), "{:.1%}") for t in "2468"
        ]
        cells.append(str(overall["level_shifts"]))
        cells.append(percent(overall["all_within_8mm"]))
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def more_table(rows: Mapping[str, Any]) -> str:
    """Return the other measures of each row."""
    lines = [
        "| row | MRE in space, mm | within 2.5 mm | within 3 mm | identified | level shifts | all eleven | missing | false |"
    ]
    lines.append("|---" * 9 + "|")
    for row, summary in rows.items():
        overall, between = summary["overall"], summary["overall"]["intervals"]
        shares = (
            *((overall["sdr"][t], f"sdr_{t}") for t in ("2.5", "3")),
            *(
                (overall[k], k)
                for k in ("identification_rate", "level_shift_rate", "all_within_8mm")
            ),
        )
        cells = [with_interval(overall["mre_3d_mm"], between.get("mre_3d_mm"), "{:.2f}")]
        cells += [with_interval(value, between.get(key), "{:.1%}") for value, key in shares]
        cells += [str(overall[key]) for key in ("missing", "false_positives")]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    note = "Identified: nearer to its own reference than to any other landmark's, and within 20 mm."
    return "\n".join(lines) + f"\n\n{note}"


def gain_table(gains: Mapping[str, Any]) -> str:
    """Return what two ways of fusion add to each arm's heatmaps."""
    lines = ["| arm | product - heatmaps, within 8 mm | chain - heatmaps |", "|---|---|---|"]
    for name, own in gains.items():
        cells = [
            f"{gain['sdr_8']:+.1%} ({gain['interval'][0]:+.1%} to {gain['interval'][1]:+.1%})"
            for gain in (own["product"], own["chain"])
        ]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def difference_table(differences: Mapping[str, Any]) -> str:
    """Return one line for each pair of rows."""
    lines = ["| | share within 8 mm, difference | 95 % interval |", "|---|---|---|"]
    for title, value in differences.items():
        low, high = value["interval"]
        lines.append(f"| {title} | {value['sdr_8']:+.1%} | {low:+.1%} to {high:+.1%} |")
    return "\n".join(lines)


def landmark_table(headline: Mapping[str, Any]) -> str:
    """Return one line for each landmark."""
    lines = [
        "| landmark | MRE mm | median mm | within 4 mm | within 8 mm |",
        "|---|---|---|---|---|",
    ]
    for name, own in headline["landmarks"].items():
        sdr = own["sdr"]
        lines.append(
            f"| {name} | {own['mre_mm']:.2f} | {own['median_mm']:.2f} | {percent(sdr['4'])} | "
            f"{percent(sdr['8'])} |"
        )
    return "\n".join(lines)


def percent(share: float) -> str:
    """Return a share as text."""
    return f"{share:.1%}".replace("%", " %")


def with_interval(value: float | None, interval: Sequence[float | None] | None, form: str) -> str:
    """Return a figure with its interval."""
    if value is None:
        return "inf"
    ends = [form.format(v) if v is not None else "inf" for v in interval or ()]
    return form.format(value) + (f" ({' to '.join(ends)})" if ends else "")
