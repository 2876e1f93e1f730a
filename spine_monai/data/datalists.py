"""Datalists: which images there are, their landmarks, and the fold of each subject.

The file's format is ``spine_monai.datalist``, version 1. Image paths in a file are relative to it;
items in memory have absolute paths.
"""

import json
import math
import os
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spine_monai.data.checks import (
    OPTIONAL_KEYS,
    check_each_has_a_fold,
    check_item,
    check_one_fold_a_subject,
)
from spine_monai.files import place_of, write_text
from spine_monai.geometry import spacing_mm
from spine_monai.landmarks import LandmarkRegistry, load_registry

FORMAT = "spine_monai.datalist"
FORMAT_VERSION = 1
PATH_KEYS = ("image", "mask")
NUM_FOLDS = 4
SLICES = ("middle", "annotated", "near", "all")
NEAR_MM = 8.0  # a body is some 50 mm wide: so near the annotated slice, all look like it

Item = dict[str, Any]


def read_datalist(path: str | Path) -> list[Item]:
    """Read all items of a datalist, their paths made absolute.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a datalist, is empty, names one id twice, or puts a subject
            into two folds.
    """
    return [item for items in _read_sections(Path(path)).values() for item in items]


def read_training_cases(path: str | Path) -> list[Item]:
    """Read the items of a datalist that may be trained on: all but those under ``testing``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: see ``read_datalist``, or some cases have a fold and others none.
    """
    items = _read_sections(Path(path))["training"]
    check_each_has_a_fold(items, Path(path))
    return items


def write_datalist(
    items: Sequence[Item], path: Path, landmark_set: str, *, section: str = "training"
) -> None:
    """Write a datalist, whole or not at all; paths become relative to the file."""
    folder = place_of(path).parent
    relative = [item | _relative(item, folder) for item in items]
    content = {"format": FORMAT, "format_version": FORMAT_VERSION, "landmark_set": landmark_set}
    write_text(path, json.dumps(content | {section: relative}, indent=1) + "\n")


def load_datalist(
    path: str | Path,
    *,
    folds: Sequence[int] | None = None,
    exclude: Sequence[str] = (),
    slices: str = "middle",
    landmark_set: str = "lumbar11",
    views: Sequence[Sequence[str | None]] = (),
) -> list[Item]:
    """Read the items of some folds, ready for the networks' datasets.

    Args:
        path: datalist file.
        folds: folds to keep; ``None`` keeps all.
        exclude: subjects to leave out.
        slices: ``middle`` gives one item for each case; ``annotated`` too, on the case's
            ``slice_index`` where it has one; ``near`` gives one for each sagittal slice within 8 mm
            of that one, ``all`` one for each sagittal slice.
        landmark_set: registry whose landmarks make ``points_lps``, (N, 3) in mm, NaN where absent.
        views: gives each item once for each view instead: names of the first and the last landmark
            that stay in view, ``None`` where nothing is cut; see ``CutViewd``. A view is left out
            where a landmark beside its cut has no point.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no datalist, folds are asked for and some training cases have none,
            no item is left, a view names no landmark, or ``near`` meets a ``slice_index`` beyond
            its image.
    """
    left_out = {str(subject) for subject in exclude}
    items = [
        item
        for item in (read_datalist(path) if folds is None else read_training_cases(path))
        if (folds is None or item.get("fold") in folds) and item["subject"] not in left_out
    ]
    if not items:
        without = f" without the {len(left_out)} excluded subjects" if left_out else ""
        msg = f"{path} must have cases in folds {folds}: got none{without}."
        raise ValueError(msg)
    registry = load_registry(landmark_set)
    wanted = training_items(items, registry, slices=slices)
    indices = [_view_indices(view, registry) for view in views]
    seen = [item | {"view": v} for item in wanted for v in indices if _can_be_cut(item, v)]
    return seen if views else wanted


def check_views(views: Sequence[Sequence[str | None]], landmark_set: str) -> None:
    """Check, before anything is trained, that views name landmarks of the set.

    Raises:
        ValueError: a view names no landmark.
    """
    registry = load_registry(landmark_set)
    for view in views:
        _view_indices(view, registry)


def _can_be_cut(item: Item, view: tuple[int | None, ...]) -> bool:
    first, last = view
    points = item["points_lps"]
    beside = [first - 1, first] if first else []
    if last is not None and last + 1 < len(points):
        beside += [last, last + 1]
    return bool(torch.isfinite(points[beside]).all())


def _view_indices(view: Sequence[str | None], registry: LandmarkRegistry) -> tuple[int | None, ...]:
    unknown = [name for name in view if name is not None and name not in registry.names]
    if unknown:
        msg = f"views must name landmarks of {registry.name}: got {', '.join(unknown)}. Set views "
        msg += "to pairs of its names, or to [[null, null]] for whole images alone."
        raise ValueError(msg)
    return tuple(None if name is None else registry.names.index(name) for name in view)


def training_items(
    items: Iterable[Item], registry: LandmarkRegistry, *, slices: str = "middle"
) -> list[Item]:
    """Turn datalist items into network items with ``points_lps`` as a tensor.

    Args:
        items: items as read from a datalist.
        registry: names and order of the N landmarks.
        slices: ``middle``, ``annotated``, ``near`` or ``all``, as for ``load_datalist``.

    Raises:
        ValueError: ``slices`` is none of them, or ``near`` meets a ``slice_index`` beyond its
            image.
    """
    if slices not in SLICES:
        msg = f"slices must be one of {', '.join(SLICES)}: got {slices!r}."
        raise ValueError(msg)
    wanted = []
    for item in items:
        study = _study(item)
        common = {"id": item["id"], "subject": item["subject"], "image": study}
        common["points_lps"] = points_tensor(item["points_lps"], registry)
        indices = _slice_indices(item, study, slices)
        wanted += [common if i is None else common | {"slice_index": i} for i in indices]
    return wanted


def points_tensor(points: dict[str, Sequence[float] | None], registry: LandmarkRegistry) -> Tensor:
    """Return (N, 3) points in the registry's order, float64; NaN where absent."""
    absent = [np.nan] * 3
    rows = [points.get(name) or absent for name in registry.names]
    return torch.tensor(rows, dtype=torch.float64)


def assign_folds(items: Sequence[Item], *, seed: int = 0) -> list[Item]:
    """Give each subject one of four folds, from a seed; all items of a subject share it."""
    subjects = sorted({item["subject"] for item in items})
    random.Random(seed).shuffle(subjects)  # noqa: S311 - not for secrets
    folds = {subject: index % NUM_FOLDS for index, subject in enumerate(subjects)}
    return [item | {"fold": folds[item["subject"]]} for item in items]


def _read_sections(file: Path) -> dict[str, list[Item]]:
    if not file.is_file():
        msg = f"datalist must be a file: {file} is none. Make one with `spine-monai convert`."
        raise FileNotFoundError(msg)
    sections = _parse_sections(file)
    items = [item for section in sections.values() for item in section]
    for item in items:
        check_item(item, file)
    ids = [item["id"] for item in items]
    if not items or len(set(ids)) < len(ids):
        msg = f"{file} must list at least one case, each id once: got {len(ids)} ids, "
        msg += f"{len(set(ids))} of them different."
        raise ValueError(msg)
    check_one_fold_a_subject(items, file)
    return {
        name: [item | _absolute(item, file.parent) for item in section]
        for name, section in sections.items()
    }


def _parse_sections(file: Path) -> dict[str, list[Item]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["format"] != FORMAT or content["format_version"] != FORMAT_VERSION:
            msg = f"{file} must have format {FORMAT} version {FORMAT_VERSION}: got "
            msg += f"{content['format']} {content['format_version']}."
            raise ValueError(msg)
        return {
            "training": [_complete(item) for item in content.get("training", [])],
            "testing": [_complete(_for_testing(item)) for item in content.get("testing", [])],
        }
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        msg = f"{file} must be a datalist in JSON with format, id and image keys: {error!r}."
        raise ValueError(msg) from error


def _complete(item: Item) -> Item:
    """The item with the defaults of what it does not give; null gives nothing."""
    given = {k: v for k, v in item.items() if v is not None or k not in OPTIONAL_KEYS}
    return {"subject": item["id"], "points_lps": {}} | given


def _for_testing(item: Item) -> Item:
    """The item without a fold: what has none is never trained on."""
    return {key: value for key, value in item.items() if key != "fold"}


def _absolute(item: Item, folder: Path) -> Item:
    return {k: str(place_of(folder / item[k])) for k in PATH_KEYS if k in item}


def _relative(item: Item, folder: Path) -> Item:
    return {k: os.path.relpath(item[k], folder) for k in PATH_KEYS if k in item}


def _study(item: Item) -> Any:
    """What the loader reads: the image, and of DICOM the series that the item names."""
    if "series_uid" not in item:
        return item["image"]
    from spine_monai.readers import locate_study

    return locate_study(item["image"], item["series_uid"])


def _slice_indices(item: Item, study: Any, slices: str) -> Sequence[int | None]:
    """The slices of a case that become items; ``None`` is the middle one."""
    if slices in ("middle", "annotated"):
        return [item.get("slice_index") if slices == "annotated" else None]
    from spine_monai.readers import read_study
    from spine_monai.transforms.slices import upright

    volume = upright(read_study(study).image)
    count = int(volume.shape[-1])
    if slices == "all":
        return range(count)
    annotated, step_mm = _annotated_slice(item, count), float(spacing_mm(volume.affine)[2])
    reach = math.floor(NEAR_MM / step_mm + 0.01)  # a spacing of 4 mm may be read as 4.000001
    return [index for index in range(count) if abs(index - annotated) <= reach]


def _annotated_slice(item: Item, count: int) -> int:
    index: int = item.get("slice_index", count // 2)
    if not 0 <= index < count:
        msg = f"slice_index of {item['id']} must be one of the {count} slices of {item['image']}, "
        msg += f"from 0 to {count - 1}: got {index}. Correct it in the datalist."
        raise ValueError(msg)
    return index
