# ruff: noqa: E501 - the page's own text
"""The page of the accuracy benchmark: tables from accuracy.json, pictures from kept predictions.

    python tests/benchmark/accuracy_page.py --work bench_output

Writes docs/benchmarks/accuracy.md and docs/benchmarks/accuracy/*.png; `make bench-accuracy` calls
it after ``accuracy.py``. Where the curves of a training are not there, its losses (losses.json) and
their picture stay as they are.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accuracy_arms import ARMS, UNTRAINED
from accuracy_tables import (
    difference_table,
    gain_table,
    landmark_table,
    more_table,
    percent,
    table,
)
from accuracy_text import (
    INTRODUCTION,
    LEARNED,
    NO_EVENTS,
    PICTURES,
    PUBLISHED,
    REPEAT,
    SETTLED,
    TABLE_NOTE,
    TRAINED,
)

ROOT = Path(__file__).parents[2]
OTHERS = {  # the default's rows before its coordinates and window grew; packing.py rounds them
    "first": ROOT / "docs" / "benchmarks" / "accuracy_first.json",
    "second, predictions not rounded": ROOT / "docs" / "benchmarks" / "accuracy_unrounded.json",
    "second, as kept": ROOT / "docs" / "benchmarks" / "accuracy_second.json",
}
FIGURES = ROOT / "docs" / "benchmarks" / "accuracy.json"
PAGE = ROOT / "docs" / "benchmarks" / "accuracy.md"
LOSSES = ROOT / "docs" / "benchmarks" / "losses.json"  # the last ones, and whose they are
HEADLINE, AGAIN = "default: chain", "again_looks: chain"
GOALS = {
    "within 8 mm": "307 of 308",
    "within 6 mm": "99 %",
    "within 4 mm": "95 %",
    "MRE": "1.5 mm",
    "level shifts": "0",
    "subjects with all eleven": "27 of 28",
}
FOLDS = 4
PAPER_LOSSES = {
    "coordinates": "1.67e-4 validation, 7.81e-5 training (MSE)",
    "heatmap": "1.64e-4 validation, 1.91e-4 training (BCE)",
}


def main() -> None:
    """Write the page and its pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / "bench_output")
    options = parser.parse_args()
    figures = json.loads(FIGURES.read_text())
    curves = read_curves(options.work / "default" / "runs")
    losses = json.loads(LOSSES.read_text()) | new_losses(options.work)
    LOSSES.write_text(json.dumps(losses, indent=1) + "\n")
    PAGE.write_text(page(figures, losses))
    from pictures import draw_all

    draw_all(figures, options.work, curves, PAGE.parent / "accuracy")


def page(figures: Mapping[str, Any], losses: Mapping[str, Any]) -> str:
    """Return the page's text."""
    rows, headline = in_order(figures["rows"]), figures["rows"][HEADLINE]
    parts = [
        "# Accuracy on real images",
        INTRODUCTION,
        "## Headline",
        headline_text(figures),
        PUBLISHED,
        "### The first configuration, trained twice",
        repeat_text({name: json.loads(file.read_text())["rows"] for name, file in OTHERS.items()}),
        "## All rows",
        TABLE_NOTE,
        arms_text(rows),
        table(rows),
        "### More of the same rows",
        more_table(rows),
        "### What the product and the chain add to the heatmaps, on the same folds",
        gain_table(figures["gains"]),
        "### Other differences on the same folds",
        difference_table(figures["differences"]),
        LEARNED,
        "### Without the flagged subjects",
        flagged_text(headline),
        "### Landmark by landmark (headline)",
        landmark_table(headline),
        "## Losses at the end of training",
        loss_table(losses),
        "## What the networks cost",
        cost_table(),
        "## Confidence",
        confidence_text(figures["confidence"]),
        "### The same of another training (`again_looks`)",
        confidence_text(figures["confidence_again_looks"]),
        "### The same of its networks with one look (`again`)",
        confidence_text(figures["confidence_again"]),
        "### The same of the default's networks with one look (`looks_once`)",
        confidence_text(figures["confidence_looks_once"]),
        "### The same with coordinates that saw images end early (`deep_cuts`)",
        confidence_text(figures["confidence_deep_cuts"]),
        "## Rewritten images",
        robustness_table(),
        "### Heatmaps alone, on other fields of view",
        field_of_view_table(),
        "## What was settled on these folds, and what was not run",
        SETTLED,
        unrun_text(rows),
        "## Pictures",
        *(f"![{title}](accuracy/{name}.png)\n\n{title}." for name, title in PICTURES.items()),
        "## Circumstances",
        f"`{figures['command']}`; {figures['machine']}, {figures['threads']} threads, load "
        f"{figures['load']}, {figures['software']}. Networks are trained with seed 0 but where a row names another.",
        TRAINED,
    ]
    return "\n\n".join(parts) + "\n"


def headline_text(figures: Mapping[str, Any]) -> str:
    """Say the headline's figures beside the goals, and the best of all rows."""
    shares = {row: own["overall"]["sdr"]["8"] for row, own in in_order(figures["rows"]).items()}
    best = [f"`{row}`" for row, share in shares.items() if share == max(shares.values())]
    drawn = [reached(figures, row) for row in (HEADLINE, AGAIN)]
    lines = ["| | reached | another training, `again_looks` | goal |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {first} | {second} | {goal} |"
        for (name, goal), first, second in zip(GOALS.items(), *drawn, strict=True)
    ]
    return (
        f"`{HEADLINE}`: the shipped configuration. Its networks were named in docs/decisions/0022, with the bar that they had to pass to be shown here (304 of 308, at most one level shift), before any of them was trained. Sizes, window, numbers of steps and looks had been chosen with other trainings on these folds (0014, 0015, 0017, 0022), so new subjects may do worse. Beside it another training of the same configuration, the one that the looks were chosen with; with one look of the coordinates it has 294.\n\n"
        + "\n".join(lines)
        + f"\n\nBest of all rows: {', '.join(best)} with {percent(max(shares.values()))} within 8 mm; named as such only. {NO_EVENTS}"
    )


def reached(figures: Mapping[str, Any], row: str) -> list[str]:
    """Return a row's figures in the order of the goals."""
    overall, cases = figures["rows"][row]["overall"], figures["cases"][row].values()
    errors = [error for case in cases for error in case]
    subjects = sum(all(e <= 8 for e in case) for case in cases)
    return [
        f"{sum(error <= 8 for error in errors)} of {len(errors)}",
        percent(overall["sdr"]["6"]),
        percent(overall["sdr"]["4"]),
        f"{overall['mre_mm']:.2f} mm ({overall['mre_3d_mm']:.2f} mm in space)",
        str(overall["level_shifts"]),
        f"{subjects} of {len(cases)}",
    ]


def repeat_text(trainings: Mapping[str, Any]) -> str:
    """Set the default's rows of several trainings side by side."""
    lines = [
        "| row of the default of then (narrower coordinates and window, one look) | training | within 8 mm | MRE mm | level shifts | all eleven |"
    ]
    lines.append("|---|---|---|---|---|---|")
    for row in trainings[next(iter(trainings))]:
        for name, rows in trainings.items():
            overall = rows[row]["overall"]
            lines.append(
                f"| {row} | {name} | {percent(overall['sdr']['8'])} | {overall['mre_mm']:.2f} | "
                f"{overall['level_shifts']} | {percent(overall['all_within_8mm'])} |"
            )
    return "\n".join(lines) + "\n\n" + REPEAT


TITLES = {name: arm.title for name, arm in (ARMS | UNTRAINED).items()}


def in_order(rows: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rows in the order of their arms, others last."""
    order = {name: number for number, name in enumerate(TITLES)}
    return dict(sorted(rows.items(), key=lambda row: order.get(row[0].split(": ")[0], len(order))))


def arms_text(rows: Mapping[str, Any]) -> str:
    """Say what the rows' first words mean."""
    run = {row.split(":")[0] for row in rows}
    return "\n".join(f"- `{name}`: {title}" for name, title in TITLES.items() if name in run)


def unrun_text(rows: Mapping[str, Any]) -> str:
    """Name the arms that are configured and have no row; some folds may be there."""
    run = {row.split(":")[0] for row in rows}
    names = [name for name in ARMS if name not in run]
    if not names:
        return "Every arm that is configured has its rows."
    listed = ", ".join(f"`{name}` ({TITLES[name]})" for name in names)
    return f"Configured, and not trained on all folds: {listed}; `make bench-accuracy ARMS=... JOBS=...` does it."


def flagged_text(headline: Mapping[str, Any]) -> str:
    """Say what the headline comes to on the subjects without a flag."""
    plain = headline["without_flagged"]
    return (
        f"{plain['n']} landmarks: {percent(plain['sdr']['8'])} within 8 mm, "
        f"{percent(plain['sdr']['4'])} within 4 mm, MRE {plain['mre_mm']:.2f} mm."
    )


def loss_table(losses: Mapping[str, Any]) -> str:
    """Return the last training and validation losses, mean over the folds."""
    lines = ["| network | training | validation | the paper's |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {own['train_loss']:.2e} | {own['val_loss']:.2e} | "
        f"{PAPER_LOSSES[name.split(': ')[1]]} |"
        for name, own in in_order(losses).items()
    ]
    note = "Ours are smooth L1 (coordinates) and binary cross-entropy with wider targets (heatmaps): the numbers stand side by side, they do not compare; nor do those of `dsnt`, which is trained by distances, nor the training loss of `with_masks`, a part of which is the masks'. "
    note += "Arms whose curves were not kept are missing; `losses.json`."
    return "\n".join(lines) + f"\n\n{note}"


def new_losses(work: Path) -> dict[str, dict[str, float]]:
    """Return the last losses of every network whose curves of all folds are there."""
    return {
        f"{arm}: {network}": last_losses(folds)
        for arm in ARMS
        for network, folds in read_curves(work / arm / "runs").items()
        if len(folds) == FOLDS and all(folds.values())
    }


def last_losses(folds: Mapping[str, Any]) -> dict[str, float]:
    """Return the mean over the folds of a network's last losses."""
    return {
        tag: sum(last_mean(fold[tag]) for fold in folds.values()) / len(folds)
        for tag in ("train_loss", "val_loss")
    }


def cost_table() -> str:
    """Return the costs that cost.py measured."""
    content = json.loads((FIGURES.parent / "cost.json").read_text())
    lines = [
        "| network | parameters | GFLOP | at 512 x 512 | inference, one image | peak | training step | peak |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, own in content["networks"].items():
        lines.append(
            f"| {name} | {own['parameters'] / 1e6:.1f} M | {own['gflop']} | "
            f"{own['gflop_at_512'] or '-'} | {own['inference_ms']} ms | "
            f"{own['inference_peak_mb']} MB | {own['training_step_ms']} ms "
            f"({own['training_batch']} images) | {own['training_peak_mb']} MB |"
        )
    note = "`one_look: coordinates` is the default's network, too: in training it costs the same, in inference seven looks take seven times its operations. Coordinates of 320 x 320 pixels, heatmaps of 256 x 192 for the default, 512 x 512 for `paper_512` and 256 x 128 for the others; inference in float32, "
    note += f"training in {content['training_precision']} without the optimizer; load {content['load']}. `{content['command']}`, `cost.json`."
    return "\n".join(lines) + "\n\n" + note


def robustness_table() -> str:
    """Return the figures that robustness.py measured."""
    content = in_order(json.loads((FIGURES.parent / "robustness.json").read_text()))
    note = "The same held-out subjects through `localize` itself, with the weights of their fold, as they are and rewritten; a rewritten "
    note += "image is no other scanner. The first configuration has narrower coordinates and a narrower window; `again` and `again_looks` are another training of the default's configuration, with one look of the coordinates and with seven; `remapped` has one look. "
    return rewritten_table(content) + f"\n\n{note}{commands(content)}, `robustness.json`."


def field_of_view_table() -> str:
    """Return the figures that field_of_view.py measured."""
    content = in_order(json.loads((FIGURES.parent / "field_of_view.json").read_text()))
    note = "Each arm's heatmap networks on their fold; windows lie where coordinates of the image as it is place them. "
    return rewritten_table(content) + f"\n\n{note}{commands(content)}, `field_of_view.json`."


def rewritten_table(content: Mapping[str, Any]) -> str:
    """Return the rows of the arms, side by side; what one was not measured on is empty."""
    names = list(dict.fromkeys(name for own in content.values() for name in own["rows"]))
    arms = [f"{arm}{placing(own)}: within 8 mm | median" for arm, own in content.items()]
    lines = ["| held-out images | " + " | ".join(arms) + " |", "|---" * (2 * len(arms) + 1) + "|"]
    for name in names:
        cells = [rewritten_cells(own["rows"].get(name)) for own in content.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def placing(own: Mapping[str, Any]) -> str:
    """Say whose coordinates placed an arm's windows, where that is known."""
    return f", placed by {own['placed_by']}" if "placed_by" in own else ""


def rewritten_cells(row: Mapping[str, Any] | None) -> str:
    """Return an arm's two cells of a row."""
    if row is None:
        return "- | -"
    low, high = row["intervals"]["sdr_8"]
    return f"{percent(row['sdr']['8'])} ({percent(low)} to {percent(high)}) | {row['median_mm']:.2f} mm"


def commands(content: Mapping[str, Any]) -> str:
    """Name what measured the arms."""
    return ", ".join(dict.fromkeys(f"`{own['command']}`" for own in content.values()))


def confidence_text(confidence: Mapping[str, Any]) -> str:
    """Return the tables of coverage, risk and statuses."""
    lines = ["| wanted coverage | reached | median radius |", "|---|---|---|"]
    for level, value in confidence["coverage"].items():
        low, high = value["interval"]
        lines.append(
            f"| {float(level):.0%} | {value['share']:.1%} ({low:.1%} to {high:.1%}) | "
            f"{value['median_radius_mm']:.1f} mm |"
        )
    lines += ["", "| most certain share kept | landmarks | misses among them |", "|---|---|---|"]
    lines += [
        f"| {float(share):.0%} | {value['kept']} | {value['misses']} |"
        for share, value in confidence["risk"].items()
    ]
    lines += ["", "| images | landmark: status | count |", "|---|---|---|"]
    lines += [
        f"| {images} | {status} | {count} |"
        for images, counts in confidence["statuses"].items()
        for status, count in counts.items()
    ]
    lines += shown_table(confidence["shown"])
    doubtful = confidence["level_in_doubt"]
    lines += ["", f"Level in doubt (L5-S1 shows at another level too): {', '.join(doubtful)}."]
    return "\n".join(lines)


def shown_table(shown: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return the table of landmarks missed by what an image shows."""
    lines = ["", "| image shows | landmarks | missed | missed by the coordinates alone |"]
    lines.append("|---|---|---|---|")
    for names, counts in shown.items():
        lines.append(f"| {names} | {' | '.join(str(count) for count in counts.values())} |")
    return lines


def read_curves(runs: Path) -> dict[str, dict[str, dict[str, list[tuple[int, float]]]]]:
    """Return (step, value) of each scalar, by network and fold."""
    return {
        network.name: {fold.name: _scalars(fold) for fold in sorted(network.glob("fold-*"))}
        for network in sorted(runs.glob("*"))
        if network.name in PAPER_LOSSES and any(network.glob("fold-*/events.*"))
    }


def _scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return each curve; what an interrupted training did again counts as it was done last."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    scalars: dict[str, dict[int, float]] = {}
    for file in sorted(folder.glob("events.*")):
        events = EventAccumulator(str(file), size_guidance={"scalars": 0})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            scalars.setdefault(tag, {}).update({e.step: e.value for e in events.Scalars(tag)})
    return {tag: sorted(curve.items()) for tag, curve in scalars.items()}


def last_mean(curve: Sequence[tuple[int, float]]) -> float:
    """Return the mean of a curve's last twentieth."""
    tail = curve[-max(1, len(curve) // 20) :]
    return sum(value for _, value in tail) / len(tail)


if __name__ == "__main__":
    main()
