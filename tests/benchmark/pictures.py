"""The pictures of the accuracy benchmark, drawn from kept predictions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.patheffects import withStroke
from monai.transforms import Compose
from torch.nn import functional as F

from spine_monai.data.predictions import fusion_items
from spine_monai.heatmaps import ij_from_edge_fractions
from spine_monai.joint import JointFusion
from spine_monai.landmarks import HIT_RADIUS_MM, LUMBAR11, LUMBAR13
from spine_monai.viz.figures import new_figure, save_figure
from spine_monai.viz.plots import plot_cumulative_error
from spine_monai.workflows.arms import fit_without
from spine_monai.workflows.bundle import parse_config
from spine_monai.workflows.fitting import decode_item, errors_mm

ROWS = [LUMBAR13.names.index(name) for name in LUMBAR11.names]
HEADLINE = "default: chain"
OUTLINED: dict[str, Any] = {"color": "white", "fontsize": 7, "va": "center"}
OUTLINED["path_effects"] = [withStroke(linewidth=2, foreground="black")]
SHOWN = (
    *("default: chain", "default: product, learned sigma", "default: heatmap"),
    *("default: coordinates", "whole_image: heatmap", "whole_image: chain"),
    *("xception_fc: coordinates", "smaller_coordinates: chain", "scn: chain", "hrnet: chain"),
)


def draw_all(
    figures: Mapping[str, Any], work: Path, curves: Mapping[str, Any], folder: Path
) -> None:
    """Draw every picture of the page into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for network, folds in curves.items():
        draw_losses(folds, network, folder / f"loss_{network}.png")
    draw_sigma(figures["rows"], folder / "sigma.png")
    draw_coverage(figures["confidence"], folder / "coverage.png")
    known = {
        row: np.array(list(figures["cases"][row].values())).ravel()
        for row in SHOWN
        if row in figures["cases"]
    }
    plot_cumulative_error(known, folder / "cumulative.png", "28 subjects, 308 landmarks")
    draw_augmentation(work, folder / "augmentation.png")
    items = load_whole(work)
    order = sorted(items, key=lambda case: _mean_error(figures, case))
    joints = {
        fold: fit_without(
            work / "default", {i["subject"] for i in items.values() if i["fold"] == fold}
        )
        for fold in sorted({item["fold"] for item in items.values()})
    }
    chosen = [order[0], order[len(order) // 2], order[-1]]
    draw_subjects(chosen, items, joints, work, folder / "subjects.png")
    missed = [case for case in order if not _all_hit(figures, case)] or order[-1:]
    draw_subjects(missed, items, joints, work, folder / "missed.png")
    jumps = sorted(items, key=lambda case: -_gain(figures, case))
    draw_product(items[jumps[0]], joints[items[jumps[0]]["fold"]], work, folder / "product.png")


def draw_losses(folds: Mapping[str, Any], network: str, path: Path) -> None:
    """Draw training and validation losses of every fold over the steps."""
    figure = new_figure(8, 4.5)
    axes = figure.add_subplot()
    for index, (fold, scalars) in enumerate(folds.items()):
        steps, losses = np.array(scalars["train_loss"]).T
        width = max(1, len(losses) // 40)
        smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
        axes.plot(steps[width - 1 :], smooth, color=f"C{index}", label=f"training, {fold}")
        epochs, values = np.array(scalars["val_loss"]).T
        scale = steps[-1] / max(epochs)
        axes.plot(epochs * scale, values, "o--", color=f"C{index}", label=f"validation, {fold}")
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.set_title(f"{network} network")
    axes.legend(fontsize=7, ncol=2)
    figure.tight_layout()
    save_figure(figure, path)


def draw_sigma(rows: Mapping[str, Any], path: Path) -> None:
    """Draw the share of hits over the given sigma, beside heatmap, learned sigma and chain."""
    sweep = {
        float(row.split("sigma ")[1].split()[0]): summary["overall"]["sdr"]["8"]
        for row, summary in rows.items()
        if row.startswith("default: product, sigma") and row.endswith(" mm")
    }
    figure = new_figure(7, 4.5)
    axes = figure.add_subplot()
    axes.plot(list(sweep), list(sweep.values()), "o-", label="product, given sigma")
    for index, row in enumerate(("heatmap", "product, learned sigma", "chain")):
        value = rows[f"default: {row}"]["overall"]["sdr"]["8"]
        axes.axhline(value, color=f"C{index + 1}", linestyle="--", label=row)
    axes.set_xscale("log")
    axes.set_xlabel("sigma of the Gaussian about the coordinates (mm)")
    axes.set_ylabel("share of landmarks within 8 mm")
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    save_figure(figure, path)


def draw_coverage(confidence: Mapping[str, Any], path: Path) -> None:
    """Draw wanted against reached coverage, and the misses left over the share kept."""
    figure = new_figure(10, 4.5)
    left, right = figure.subplots(1, 2)
    levels = np.array([float(level) for level in confidence["coverage"]])
    values = list(confidence["coverage"].values())
    shares = np.array([value["share"] for value in values])
    ends = np.array([value["interval"] for value in values])
    left.plot([0.4, 1], [0.4, 1], color="gray", linewidth=1)
    left.errorbar(levels, shares, np.abs(ends.T - shares), fmt="o", capsize=3)
    left.set_xlabel("wanted coverage of the radius")
    left.set_ylabel("reached, 95 % interval over subjects")
    left.grid(alpha=0.3)
    kept = [float(share) for share in confidence["risk"]]
    right.plot(kept, [value["misses"] for value in confidence["risk"].values()], "o-")
    right.set_xlabel("share of landmarks kept, most certain first")
    right.set_ylabel("misses among them")
    right.grid(alpha=0.3)
    figure.tight_layout()
    save_figure(figure, path)


def draw_augmentation(work: Path, path: Path) -> None:
    """Draw one slice as it is, as each network sees it, and augmented for both."""
    figure = new_figure(14, 7)
    grid = figure.subplots(2, 6)
    datalist = str((work / "datalist.json").resolve())
    for axes, network in zip(grid, ("coordinates", "heatmap"), strict=True):
        parser = parse_config(
            work / "default", f"train_{network}.yaml", datalist=datalist, train_folds=[1]
        )
        dataset = parser.get_parsed_content("train::dataset")
        dataset.transform.set_random_state(4)
        steps = parser.get_parsed_content("image_steps")
        _draw_image(axes[0], Compose(steps[:2])(dataset.data[0])["image"], "slice as scanned")
        _draw_image(axes[1], Compose(steps)(dataset.data[0])["image"], "equalized, 1.2 mm")
        for ax in axes[2:]:
            item = dataset[0]
            _draw_image(ax, item["image"], f"augmented ({network})")
            points = item["label"]
            if network == "coordinates":
                points = ij_from_edge_fractions(points, item["image"].shape[-2:])
            else:  # what is out of view has no target
                first, last = item["view_ij"]
                points = points[((points >= first) & (points <= last)).all(-1)]
            _draw_points(ax, np.asarray(points), "#ffcc00")
    figure.tight_layout()
    save_figure(figure, path)


def load_whole(work: Path) -> dict[str, Any]:
    """Return the stored predictions of whole images by case."""
    folder = work / "default" / "predictions"
    items = fusion_items(folder / "heatmap", folder / "coordinates", whole_only=True)
    return {item["id"]: item for item in items}


def draw_subjects(
    cases: Sequence[str],
    items: Mapping[str, Any],
    joints: Mapping[int, JointFusion],
    work: Path,
    path: Path,
) -> None:
    """Draw references (rings) and the headline's points (crosses) of some subjects."""
    figure = new_figure(4 * len(cases), 8)
    for axes, case in zip(np.atleast_1d(figure.subplots(1, len(cases))), cases, strict=True):
        item = items[case]
        points = decode_item(joints[item["fold"]], item).points_ij[0]
        errors = errors_mm(points, item)[ROWS]
        worst = float(np.nanmax(errors))
        title = f"{case}: mean {np.nanmean(errors):.1f}, largest {worst:.1f} mm"
        _draw_image(axes, window_of(item, work), title)
        _draw_points(axes, item["label"].numpy()[ROWS], "#00c2d1", "o")
        _draw_points(axes, points.numpy()[ROWS], "#ffcc00", "+")
        for name, (row, column) in zip(LUMBAR11.names, item["label"].numpy()[ROWS], strict=True):
            axes.text(column + 9, row, name, **OUTLINED)
    figure.tight_layout()
    save_figure(figure, path)


def draw_product(item: Mapping[str, Any], joint: JointFusion, work: Path, path: Path) -> None:
    """Draw the heatmap that erred most, alone, with its Gaussian, and their product."""
    heatmap_ij = item["image"].flatten(1).argmax(1)
    width = item["image"].shape[-1]
    places = torch.stack([heatmap_ij // width, heatmap_ij % width], -1).float()
    errors = errors_mm(places, item)[ROWS]
    landmark = ROWS[int(np.nanargmax(errors))]
    inputs = (item["image"][None], item["predicted_ij"][None], item["spacing_mm"][None])
    with torch.no_grad():
        product = joint.fusion.log_product(*inputs)[0, landmark]
        log_heatmap = F.logsigmoid(item["image"][landmark])
    fused = decode_item(joint, item).points_ij[0]
    figure = new_figure(13, 7)
    axes = figure.subplots(1, 4)
    image = window_of(item, work)
    maps = (None, log_heatmap, product - log_heatmap, product)
    name = LUMBAR13.names[landmark]
    titles = (f"{item['id']}: points of the chain", f"heatmap of {name}", "Gaussian", "product")
    for ax, field, title in zip(axes, maps, titles, strict=True):
        _draw_image(ax, image, title)
        if field is not None:
            shown = (field - field.max()).clamp_min(-8).exp().sqrt().numpy()
            ax.imshow(np.ma.masked_less(shown, 0.05), cmap="autumn", alpha=0.7)
            place = divmod(int(field.argmax()), width)
            _draw_points(ax, np.array([place]), "#00ff66", "x")
        else:
            _draw_points(ax, fused.numpy()[ROWS], "#ffcc00", "+")
        _draw_points(ax, item["label"].numpy()[landmark : landmark + 1], "#00c2d1", "o")
    figure.tight_layout()
    save_figure(figure, path)


def window_of(item: Mapping[str, Any], work: Path) -> Any:
    """Return the window that the heatmap network saw of a stored prediction."""
    parser = parse_config(
        work / "default",
        "train_heatmap.yaml",
        datalist=str((work / "datalist.json").resolve()),
        val_folds=[item["fold"]],
    )
    dataset = parser.get_parsed_content("predict::dataset")
    index = next(i for i, d in enumerate(dataset.data) if d["id"] == item["id"])
    return dataset[index]["image"]


def _draw_image(axes: Any, image: Any, title: str) -> None:
    axes.imshow(np.asarray(image)[0], cmap="gray")
    axes.set_title(title, fontsize=8)
    axes.set_axis_off()


def _draw_points(axes: Any, points_ij: Any, color: str, marker: str = "+") -> None:
    height, width = axes.images[0].get_array().shape[:2]
    inside = points_ij[((points_ij >= 0) & (points_ij < [height, width])).all(-1)]
    face = "none" if marker == "o" else color
    axes.scatter(inside[:, 1], inside[:, 0], s=40, marker=marker, color=color, facecolors=face)


def _mean_error(figures: Mapping[str, Any], case: str) -> float:
    return float(np.mean(figures["cases"][HEADLINE][case]))


def _all_hit(figures: Mapping[str, Any], case: str) -> bool:
    return all(error <= HIT_RADIUS_MM for error in figures["cases"][HEADLINE][case])


def _gain(figures: Mapping[str, Any], case: str) -> float:
    """How many millimetres the product saves over the heatmaps alone, in the mean."""
    rows = figures["cases"]
    product = np.array(rows["default: product, learned sigma"][case])
    heatmap = np.array(rows["default: heatmap"][case])
    return float(((heatmap > HIT_RADIUS_MM) * (heatmap - product)).sum())
