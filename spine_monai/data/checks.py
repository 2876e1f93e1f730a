"""Checks of a datalist's cases, which somebody may have written by hand."""

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TEXT_KEYS = ("subject", "mask", "series_uid")
NUMBER_KEYS = ("fold", "slice_index")
OPTIONAL_KEYS = (*TEXT_KEYS, *NUMBER_KEYS, "points_lps")
LARGEST = sys.float_info.max  # a whole number in a file may be larger, and no float holds it
NAMED = 10  # cases that a message names

Item = Mapping[str, Any]


def check_item(item: Item, file: Path) -> None:
    """Check that a case has what it needs, and that each value is of its kind.

    Args:
        item: as it stands in the file, ``subject`` and ``points_lps`` filled in.
        file: the datalist, for messages.

    Raises:
        ValueError: it is not so.
    """
    for check in (_check_id_and_image, _check_texts, _check_numbers, _check_points):
        check(item, file)


def check_one_fold_a_subject(items: Sequence[Item], file: Path) -> None:
    """Check that no subject's images would be learned and tested on.

    Args:
        items: cases with ``id`` and ``subject``; those without ``fold`` are in none.
        file: what gave the folds, for messages.

    Raises:
        ValueError: cases of one subject are in several folds; the message names them.
    """
    subjects: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        if "fold" in item:
            subjects[item["subject"]].append(item)
    for cases in subjects.values():
        if len({case["fold"] for case in cases}) > 1:
            msg = f"{file} must keep all cases of a subject in one fold: "
            msg += _some([f"{case['id']} (fold {case['fold']})" for case in cases])
            msg += " are of one, so its images would be learned and tested on. Give them one fold."
            raise ValueError(msg)


def check_each_has_a_fold(items: Sequence[Item], file: Path) -> None:
    """Check that either all cases have a fold or none has, so that training forgets no case.

    Raises:
        ValueError: some have none; the message names them.
    """
    without = [item["id"] for item in items if "fold" not in item]
    if 0 < len(without) < len(items):
        msg = f"{file} must give each training case a fold: missing for {_some(without)}. Give "
        msg += "them one, or list them under `testing`."
        raise ValueError(msg)


def is_point(value: Any) -> bool:
    """Whether a value from a file is a point: three finite numbers."""
    is_triple = isinstance(value, list) and len(value) == 3
    return is_triple and all(isinstance(v, int | float) and abs(v) <= LARGEST for v in value)


def _check_id_and_image(item: Item, file: Path) -> None:
    if not isinstance(item.get("id"), str) or not isinstance(item.get("image"), str):
        msg = f"{file} must give each case an id and an image, both text: got {item.get('id')!r}, "
        msg += f"{item.get('image')!r}."
        raise ValueError(msg)


def _check_texts(item: Item, file: Path) -> None:
    """The value stays out of the message: a subject may be a patient's identifier."""
    for key in TEXT_KEYS:
        if key in item and not isinstance(item[key], str):
            msg = f"{file} must give {key} of {item['id']} as text, in quotes: got "
            msg += f"{type(item[key]).__name__}."
            raise ValueError(msg)


def _check_numbers(item: Item, file: Path) -> None:
    for key in NUMBER_KEYS:
        if key in item and type(item[key]) is not int:  # true is an int, too
            msg = f"{file} must give {key} of {item['id']} as a whole number, without quotes: got "
            msg += f"{item[key]!r}."
            raise ValueError(msg)


def _check_points(item: Item, file: Path) -> None:
    points = item["points_lps"]
    if not isinstance(points, dict):
        msg = f"{file} must give points_lps of {item['id']} by name: got {points!r}."
        raise ValueError(msg)
    wrong = [name for name, p in points.items() if p is not None and not is_point(p)]
    if wrong:
        msg = f"{file} must give each point of {item['id']} as three finite numbers or null: "
        msg += f"got others for {', '.join(wrong)}."
        raise ValueError(msg)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
