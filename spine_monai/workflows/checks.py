"""What must hold before a bundle's workflow starts; a failure is an error, never a success."""

import json
from collections.abc import Collection, Mapping, Sequence, Sized
from itertools import pairwise
from pathlib import Path
from typing import Any

from spine_monai.files import write_text
from spine_monai.landmarks import LandmarkRegistry

TRAINED_PARTS = ("runs/**/*.pt", "predictions/**/*.npz", "models/*.pt")  # in a training's folder


def check_bundle_root(bundle_root: str | Path) -> Path:
    """Return the bundle's folder if it is one.

    Raises:
        ValueError: it has no ``configs/metadata.json``.
    """
    root = Path(bundle_root)
    if not (root / "configs" / "metadata.json").is_file():
        msg = (
            f"bundle_root must hold configs/metadata.json: {root.resolve()} does not. Run from the "
        )
        msg += "bundle's folder, or add --bundle_root <bundle>."
        raise ValueError(msg)
    return root


def check_not_empty(dataset: Sized, name: str) -> None:
    """Refuse an empty dataset, over which MONAI would run with success.

    Raises:
        ValueError: the dataset has no item.
    """
    if len(dataset) == 0:
        msg = f"{name} must hold at least one case: got none. Check the paths and the folds."
        raise ValueError(msg)


def check_path(name: str, path: Path) -> None:
    """Refuse a path with the character that separates ids in MONAI's configuration files.

    Raises:
        ValueError: there is one.
    """
    if "#" in str(path.absolute()):
        msg = f"{name} must be a path without '#', which MONAI's configuration files take for "
        msg += f"something else: got {path}. Give another folder."
        raise ValueError(msg)


def check_ids(source: str | Path, ids: Collection[str], known: Collection[str]) -> None:
    """Refuse ids that no workflow file has, and MONAI would take in silence.

    Raises:
        ValueError: there are such ids.
    """
    unknown = sorted(set(ids) - set(known))
    if unknown:
        msg = f"{source} must hold ids of the workflow files: no file has {unknown}."
        raise ValueError(msg)


def check_neighbours(
    items: Sequence[Mapping[str, Any]],
    left_out: Mapping[str, Collection[str]],
    registry: LandmarkRegistry,
) -> None:
    """Refuse points of which the chain cannot learn a step, before hours of training.

    Args:
        items: cases with subjects and points.
        left_out: subjects, for each fit, by words for them; subjects are not named, for they may
            be patients' identifiers.
        registry: landmarks that are trained.

    Raises:
        ValueError: no other case has two neighbouring landmarks.
    """
    for words, subjects in left_out.items():
        others = (item for item in items if item["subject"] not in subjects)
        if not any(_has_step(item["points_lps"], registry.names) for item in others):
            msg = f"cases must have two neighbouring landmarks of {registry.name}: {words} none "
            msg += "has. Name a landmark_set of the landmarks that are "
            raise ValueError(msg + "annotated.")


def _has_step(points: Mapping[str, Any], names: Sequence[str]) -> bool:
    known = [points.get(name) is not None for name in names]
    return any(first and second for first, second in pairwise(known))


def check_landmarks(
    registry: LandmarkRegistry, reported: LandmarkRegistry, num_landmarks: int
) -> None:
    """Refuse sets of landmarks that do not go together, before hours of training.

    Args:
        registry: landmarks that are trained.
        reported: those of them that are reported.
        num_landmarks: channels of the networks.

    Raises:
        ValueError: some that are reported are not trained, or there are other channels.
    """
    unknown = [name for name in reported.names if name not in registry.names]
    if unknown:
        msg = f"reported_set must name landmarks of {registry.name} alone: got {reported.name}, of "
        msg += f"which {', '.join(unknown)} are not in it. Set reported_set, too: to the file of "
        raise ValueError(msg + "landmark_set, or to another set of landmarks that it names.")
    if num_landmarks != len(registry):
        msg = f"num_landmarks must be {len(registry)}, the landmarks of {registry.name}: got "
        raise ValueError(msg + f"{num_landmarks}. Set num_landmarks, too.")


def check_reported(items: Sequence[Mapping[str, Any]], reported: LandmarkRegistry) -> None:
    """Refuse cases on which nothing that is reported could be measured.

    Raises:
        ValueError: no case has a point of the reported landmarks.
    """
    points = [item["points_lps"] for item in items]
    if not any(own.get(name) is not None for own in points for name in reported.names):
        msg = f"cases must have points of {reported.name}, which is reported: got none. Name a "
        raise ValueError(msg + "reported_set of landmarks that are annotated.")


def check_images(items: Sequence[Mapping[str, Any]], datalist: Path) -> None:
    """Refuse a datalist some image of which is not there, before hours of training.

    Raises:
        FileNotFoundError: the first one is named.
    """
    for item in items:
        if not Path(item["image"]).exists():
            msg = f"image of case {item['id']} must be a file or a folder: {item['image']} is not "
            msg += f"there. Paths in {datalist} are relative to where it lies."
            raise FileNotFoundError(msg)


def check_folds(folds: Sequence[int]) -> None:
    """Refuse fewer than two folds, of which none could be held out.

    Raises:
        ValueError: there are fewer.
    """
    if len(folds) < 2:
        msg = f"datalist must have at least two folds, to hold one out: got {list(folds)}. Give "
        msg += "--folds to `spine-monai convert`."
        raise ValueError(msg)


def check_same_training(file: Path, recipe: Mapping[str, Any]) -> None:
    """Write what a training is of; where parts of one are finished, it must be the same.

    Finished parts are not done again, so those of another training would pass for this one's.

    Args:
        file: in the training's folder.
        recipe: what it is of, in values that JSON has.

    Raises:
        ValueError: it is something else.
    """
    own = json.loads(json.dumps(recipe, default=str))
    before = own
    if file.is_file() and _has_trained_parts(file.parent):
        before = json.loads(file.read_text(encoding="utf-8"))
    for name, value in own.items():
        if before.get(name, value) != value:  # a file of an earlier version has not all names
            msg = f"{name} must be that of the training in {file.parent}: "
            msg += f"{difference(name, before[name], value)}. Give what was given then, or another "
            msg += "folder."
            raise ValueError(msg)
    write_text(file, json.dumps(own, indent=1) + "\n")


def difference(name: str, expected: Any, got: Any) -> str:
    """Say what was expected and what came; subjects are counted, for they may be identifiers."""
    if name == "exclude":
        return f"expected {len(expected or [])} subjects, got other {len(got or [])}"
    return f"expected {expected}, got {got}"


def _has_trained_parts(folder: Path) -> bool:
    return any(path for pattern in TRAINED_PARTS for path in folder.glob(pattern))


def is_lower(current: float, previous_best: float) -> bool:
    """Say that a lower validation error is better, as MONAI engines ask for it.

    Args:
        current: metric of this epoch, in mm.
        previous_best: best so far; -1 before the first.
    """
    return previous_best < 0 or current < previous_best


def check_all_done(report: Any) -> Any:
    """Return the report of a localization if no case failed; MONAI's command then ends with 0.

    Raises:
        RuntimeError: cases failed; the others are done.
    """
    if report.failed:
        names = "; ".join(f"{case.case}: {case.reason}" for case in report.failed)
        count = f"{len(report.failed)} of {len(report.cases)} cases failed"
        msg = f"{count}, the others are done: {names}"
        raise RuntimeError(msg)
    return report
