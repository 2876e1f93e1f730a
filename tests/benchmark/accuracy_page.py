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

from accuracy_arms import ARMS

ROOT = Path(__file__).parents[2]
OTHERS = {  # the default's rows before its coordinates and window grew; packing.py rounds them
    "first": ROOT / "docs" / "benchmarks" / "accuracy_first.json",
    "second, predictions not rounded": ROOT / "docs" / "benchmarks" / "accuracy_unrounded.json",
    "second, as kept": ROOT / "docs" / "benchmarks" / "accuracy_second.json",
}
FIGURES = ROOT / "docs" / "benchmarks" / "accuracy.json"
PAGE = ROOT / "docs" / "benchmarks" / "accuracy.md"
LOSSES = ROOT / "docs" / "benchmarks" / "losses.json"  # the last ones, and whose they are
HEADLINE = "default: chain"
FOLDS = 4
COLUMNS = ("MRE mm", "median mm", *(f"within {t} mm" for t in (2, 4, 6, 8)), "level shifts")
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
    rows, headline = figures["rows"], figures["rows"][HEADLINE]
    best = max(rows, key=lambda row: rows[row]["overall"]["sdr"]["8"])
    parts = [
        "# Accuracy on real images",
        INTRODUCTION,
        "## Headline",
        headline_text(figures, best),
        "### The first configuration, trained twice",
        repeat_text({name: json.loads(file.read_text())["rows"] for name, file in OTHERS.items()}),
        "## All rows",
        "In the plane of the slice; 95 % intervals from a bootstrap over subjects in brackets.",
        arms_text(rows),
        table(rows),
        "### Differences on the same folds",
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


INTRODUCTION = """Sagittal T2 SPACE of 28 subjects of SPIDER (van der Graaf et al. 2024, CC BY 4.0), 308 landmarks,
flagged subjects in; four folds by subject, given with the data. For each fold the networks are trained on the other three,
and everything that is fitted afterwards (sigma, temperature, chain, radii) uses the other folds' out-of-fold predictions only. One
slice, the middle one; no test-time augmentation, no ensemble. A hit is an error of at most 8 mm in the plane of the slice.

Common protocol, affordable on two CPU cores: Adam (AdamW for coordinates) with a one-cycle schedule, 80 epochs of 24 steps
of 4 windows (256 x 128 pixels of 1.2 mm) for heatmaps, 170 epochs of 12 steps of 8 canvases for coordinates. The default's own heatmap networks see
256 x 192 pixels for 240 epochs (docs/decisions/0015), and its coordinate networks train for 510 (0017); `shorter_coordinates`, `shorter`, `narrow_longer` and `narrow_window` take that apart. All slices of a
subject are samples (since 0.3.0 those within 8 mm of the annotated one, for stacks wider than these slabs); every heatmap network at no more than 25 GFLOP at 512 x 512. No row was trained at the paper's full size."""

LEARNED = """What the rows say about the parts: heatmaps that see a window of 307 x 230 mm and learn three times as long name the level by themselves, and so the product adds little to them: by the
Kalman reading of the fusion, the second measurement counts where the first is weak. In the narrow window and with fewer steps it is, and there the product is worth 5 percentage points. Window and steps each give about half of the gain (`shorter`, `narrow_longer`); more steps
also sharpen the peaks, from a median error of 1.2 to 0.8 mm. Coordinates trained three times as long halve their own error, and by the chain give the best row, without a level shift (`shorter_coordinates`: two); by the product of fitted Gaussians they lose, for where they are wrong, in sub-200, they are wrong by a level in the whole column, and
a Gaussian as narrow as they are elsewhere believes them. The product whose sigma is estimated for each image, by how well the image's own heatmaps agree with the coordinates, does not, and is the best of the products. A graphical model over the heatmaps alone does worse than any good product. The paper's squeezed whole image names the levels as well as the wide window
on these images, which all have the same field of view; on other fields of view (below, Rewritten images) its lead over the narrow window stays with more image above, shrinks with empty margins, and turns where the image is narrow, as the
spine then comes at another scale. The window is there for those (docs/decisions/0013).

Other grey values in training: where a quarter of the images are remapped or inverted (`remapped`), two spines go a level astray as wholes; where it is one in ten (`mildly_remapped`), none does more than in `narrow_window`, and most of what
it gains on other contrasts stays (below, Rewritten images; docs/decisions/0019).

HRNet's heatmaps are worse by themselves than the U-Net's of the common protocol, and as good by the chain. Targets that sharpen (`adaptive`) gain nothing in so few steps. Numerical coordinate regression (`dsnt`) is the worst way to read a heatmap here:
the mean of a map that shows two levels lies between them; its maps' peaks do better than their means."""

SETTLED = """Augmentation was set before the first fold was trained, and not changed. The coordinate network was exchanged for a wider one, the window of the heatmap network widened and both trainings made longer
after figures of such networks on these folds had been seen (docs/decisions/0014, 0015, 0017), so their gain may look better here than it is. The chain's rules were changed, too, after looking at held-out results of the first training, so the chain's last landmarks are flattered there:

- Absence costs by how far the missing landmark would lie within the image (after folds 0 and 1: two landmarks of sub-107 in
  view had been called absent), and at least one landmark is always in view (after all folds: all of sub-241 had been called absent). How far is measured to the edge that would hide it,
  and a path may not end within the first quarter of the landmarks or begin within the last (after all folds of the fourth training, docs/decisions/0018).
- The coordinates have two weights, for columns whose last landmark is in view and for cut ones (after folds 0 to 2). With one
  weight, images cut at the sacrum drove it to nothing, and sub-107, whose heatmaps were a level off at seven landmarks in that training, was named a level off
  as a whole; the coordinates knew better.
- Steps scatter by Student's distribution with 20 degrees of freedom (after all folds; 4 and 1000 missed more).
- The radius leaves out the correction for small samples, which asked for nearly the largest score of all, and so for radii longer than a level.

What is missed: in sub-241 the collapsed L1, by 9 mm (the reference puts it at the height of T12-L1); in sub-050 (scoliosis, operated) two
points lie 9 and 14 mm beside the deformed level, with full confidence: both networks agree there. Both are flagged in the data, every method's best row misses something in both, and so 307 of 308 was out of reach of all that was tried.

A warning (`level_in_doubt`) is given where the heatmap of L5-S1 also shows another level by more than 0.08. The threshold was settled on the first training's
predictions, when it warned of four subjects. Now the networks are surer: out of fold it warns of sub-200, whose S1-S2 disc is well formed, and of sub-142; sub-107, whose narrow L5-S1 looks like S1-S2, is named right without it. Of subjects that a network was trained on it is sure, so the shipped weights
warn of none of these."""

TRAINED = """The heatmap networks of `default`, `shorter_coordinates`, `shorter`, `narrow_longer`, `fcn`, `scn`, `hourglass` and `remapped`, two of the folds of `dsnt`, and all coordinate networks, were trained in bfloat16 on an NVIDIA H100 or H200, those of the other two folds of `dsnt`, of `mildly_remapped`, `adaptive` and `hrnet` in bfloat16 on two cores, those of `narrow_window` and `whole_image` in float32 on two cores without bfloat16
instructions. All windows are placed by the coordinates of `shorter_coordinates`, also in the rows of other coordinates, but for the default, whose heatmap networks are those of `shorter_coordinates` in windows that its own coordinates place, and for `remapped`. Predictions are kept in [predictions](predictions), logits to a sixteenth where a peak may be. Chains are decoded by the rule of docs/decisions/0018, but for that of `tta`. `make bench-accuracy DATA=<folder>
PREDICTIONS=docs/benchmarks/predictions` with the arms that lie there as `ARMS` decodes them again, to these figures; curves, `tta`, rewritten images and other fields of view need the
networks, which are not kept. The rewritten images through `localize` are of the first training of the first configuration, and of `remapped` before its predictions were rounded. The shipped heatmap weights were trained with these of the default; the shipped coordinate
weights were trained in bfloat16 on two cores."""

PICTURES = {
    "loss_coordinates": "Losses of the coordinate network, four folds (the paper's figure 7)",
    "loss_heatmap": "Losses of the heatmap network, four folds (the paper's figure 8)",
    "augmentation": "Preprocessing and augmentation (the paper's figure 6)",
    "product": "Heatmaps before and after the product (the paper's figures 8 and 9)",
    "subjects": "The best, the median and the worst subject of the headline (rings: reference, crosses: found)",
    "missed": "Every subject of the headline with a landmark beyond 8 mm",
    "cumulative": "Cumulative error of some rows",
    "sigma": "Given sigma of the product",
    "coverage": "Coverage of the radius, and misses left when the least certain are set aside",
}


def headline_text(figures: Mapping[str, Any], best: str) -> str:
    """Say the headline's figures beside the goals, and the best of all rows."""
    overall = figures["rows"][HEADLINE]["overall"]
    errors = [error for case in figures["cases"][HEADLINE].values() for error in case]
    hits = sum(error <= 8 for error in errors)
    subjects = sum(all(e <= 8 for e in case) for case in figures["cases"][HEADLINE].values())
    other = figures["rows"][best]["overall"]["sdr"]["8"]
    goals = [
        ("within 8 mm", f"{hits} of {len(errors)}", "307 of 308"),
        ("within 6 mm", percent(overall["sdr"]["6"]), "99 %"),
        ("within 4 mm", percent(overall["sdr"]["4"]), "95 %"),
        ("MRE", f"{overall['mre_mm']:.2f} mm", "1.5 mm"),
        ("level shifts", str(overall["level_shifts"]), "0"),
        ("subjects with all eleven", f"{subjects} of 28", "27 of 28"),
    ]
    lines = ["| | reached | goal |", "|---|---|---|"]
    lines += [f"| {name} | {reached} | {goal} |" for name, reached, goal in goals]
    return (
        f"`{HEADLINE}` (named in docs/decisions/0008 before any run; its networks' sizes, window and numbers of steps were chosen later, on these folds, 0014, 0015 and 0017; this very row had been seen, by another name, before it became the default): the shipped configuration.\n\n"
        + "\n".join(lines)
        + f"\n\nBest of all rows: `{best}` with {percent(other)} within 8 mm; named as such only."
    )


def repeat_text(trainings: Mapping[str, Any]) -> str:
    """Set the default's rows of several trainings side by side."""
    lines = [
        "| row, narrower coordinates and window | training | within 8 mm | MRE mm | level shifts | all eleven |"
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


REPEAT = """Until 0.6.0 the coordinate network was narrower (docs/decisions/0014), until 0.7.0 the window too, and the heatmaps had a third of the steps (0015), until 0.8.0 the coordinates (0017). Seed, networks and schedule of the two trainings are the same; the random augmentation is drawn
otherwise, and the arithmetic is another processor's. The second training's heatmap networks, in windows that wider coordinates place, are the arm `narrow_window`. The rounding, which moves a peak by less than a tenth of a pixel, already decides one level of sub-177. So one cross-validation of 28 subjects is one draw: five levels of one spine more or less move the headline by two percent, and differences
between rows that are smaller say nothing."""

TITLES = {name: arm.title for name, arm in ARMS.items()} | {
    "seeds": "the mean of three default pairs' outputs; a row, not the headline",
    "tta": "heatmaps of `narrow_window` averaged over nine turned and scaled windows; a row, not the headline",
}


def arms_text(rows: Mapping[str, Any]) -> str:
    """Say what the rows' first words mean."""
    run = {row.split(":")[0] for row in rows}
    return "\n".join(f"- `{name}`: {title}" for name, title in TITLES.items() if name in run)


def unrun_text(rows: Mapping[str, Any]) -> str:
    """Name the arms that are configured and have no row."""
    run = {row.split(":")[0] for row in rows}
    names = [name for name in TITLES if name not in run]
    if not names:
        return "Every arm that is configured has its rows."
    listed = ", ".join(f"`{name}` ({TITLES[name]})" for name in names)
    return f"Configured and not trained: {listed}; `make bench-accuracy ARMS=... JOBS=...` does it."


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


def difference_table(differences: Mapping[str, Any]) -> str:
    """Return one line for each pair of rows."""
    lines = ["| | share within 8 mm, difference | 95 % interval |", "|---|---|---|"]
    for title, value in differences.items():
        low, high = value["interval"]
        lines.append(f"| {title} | {value['sdr_8']:+.1%} | {low:+.1%} to {high:+.1%} |")
    return "\n".join(lines)


def flagged_text(headline: Mapping[str, Any]) -> str:
    """Say what the headline comes to on the subjects without a flag."""
    plain = headline["without_flagged"]
    return (
        f"{plain['n']} landmarks: {percent(plain['sdr']['8'])} within 8 mm, "
        f"{percent(plain['sdr']['4'])} within 4 mm, MRE {plain['mre_mm']:.2f} mm."
    )


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


def loss_table(losses: Mapping[str, Any]) -> str:
    """Return the last training and validation losses, mean over the folds."""
    lines = ["| network | training | validation | the paper's |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {own['train_loss']:.2e} | {own['val_loss']:.2e} | "
        f"{PAPER_LOSSES[name.split(': ')[1]]} |"
        for name, own in losses.items()
    ]
    note = "Ours are smooth L1 (coordinates) and binary cross-entropy with wider targets (heatmaps): the numbers stand side by side, they do not compare; nor do those of `dsnt`, which is trained by distances. "
    note += "Arms whose curves were not kept are missing, and the pictures below are of earlier trainings; `losses.json`."
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
    note = "Coordinates of 320 x 320 pixels, heatmaps of 256 x 192 for the default and 256 x 128 for the others; inference in float32, "
    note += f"training in {content['training_precision']} without the optimizer; load {content['load']}. `{content['command']}`, `cost.json`."
    return "\n".join(lines) + "\n\n" + note


def robustness_table() -> str:
    """Return the figures that robustness.py measured."""
    content = json.loads((FIGURES.parent / "robustness.json").read_text())
    note = "The same held-out subjects through `localize` itself, with the weights of their fold, as they are and rewritten; a rewritten "
    note += "image is no other scanner. The first configuration has narrower coordinates and a narrower window. "
    return rewritten_table(content) + f"\n\n{note}{commands(content)}, `robustness.json`."


def field_of_view_table() -> str:
    """Return the figures that field_of_view.py measured."""
    content = json.loads((FIGURES.parent / "field_of_view.json").read_text())
    note = "Each arm's heatmap networks on their fold; windows lie where coordinates of the image as it is place them. "
    return rewritten_table(content) + f"\n\n{note}{commands(content)}, `field_of_view.json`."


def rewritten_table(content: Mapping[str, Any]) -> str:
    """Return the rows of the arms, side by side; what one was not measured on is empty."""
    names = list(dict.fromkeys(name for own in content.values() for name in own["rows"]))
    arms = [f"{arm}: within 8 mm | median" for arm in content]
    lines = ["| held-out images | " + " | ".join(arms) + " |", "|---" * (2 * len(arms) + 1) + "|"]
    for name in names:
        cells = [rewritten_cells(own["rows"].get(name)) for own in content.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


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
    doubtful = confidence["level_in_doubt"]
    lines += ["", f"Level in doubt (L5-S1 shows at another level too): {', '.join(doubtful)}."]
    return "\n".join(lines)


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


def percent(share: float) -> str:
    """Return a share as text."""
    return f"{share:.1%}".replace("%", " %")


def with_interval(value: float | None, interval: Sequence[float | None] | None, form: str) -> str:
    """Return a figure with its interval."""
    if value is None:
        return "inf"
    ends = [form.format(v) if v is not None else "inf" for v in interval or ()]
    return form.format(value) + (f" ({' to '.join(ends)})" if ends else "")


if __name__ == "__main__":
    main()
