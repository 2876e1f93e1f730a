"""3D Slicer markups (``.mrk.json``) in: named points, and a datalist from folders of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spine_monai.data.checks import is_point
from spine_monai.data.datalists import Item
from spine_monai.data.folds import PUBLIC_KEY, read_folds
from spine_monai.data.placing import nearest_slice, subject_of_study
from spine_monai.geometry import LPS_FROM_RAS, apply_affine
from spine_monai.landmarks import LandmarkRegistry
from spine_monai.readers import StudyError, locate_study, read_study
from spine_monai.readers.volumes import NIFTI_SUFFIXES

MARKUPS_SUFFIX = ".mrk.json"


def read_markups(path: Path) -> dict[str, NDArray[np.float64] | None]:
    """Read the control points of a markups file.

    Args:
        path: a ``.mrk.json`` file, in LPS (also its default) or RAS, in mm.

    Returns:
        (3,) LPS point in mm of each label; ``None`` where the position is not defined.

    Raises:
        ValueError: the file is no markups file, or its coordinate system is unknown.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        points: dict[str, NDArray[np.float64] | None] = {}
        for markup in content["markups"]:
            for point in markup["controlPoints"]:
                _check_label(point["label"], points, path)
                points[point["label"]] = _point_lps(point, markup, path)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        msg = f"{path} must be a 3D Slicer markups file with labelled control points: {error!r}."
        raise ValueError(msg) from error
    return points


def datalist_from_markups(
    folders: list[Path],
    registry: LandmarkRegistry,
    folds_file: Path | None = None,
    subject_key: bytes = PUBLIC_KEY,
) -> list[Item]:
    """Build datalist items from case folders with an image and its markups.

    Args:
        folders: case folders, or folders of case folders; a case folder holds one
            ``.mrk.json`` and the image beside it (a NIfTI file that is no mask, or DICOM).
        registry: landmarks that choose the slice; other labels are kept too.
        folds_file: CSV with the columns ``case`` and ``fold``.
        subject_key: of the subjects' digests, for DICOM; see ``read_subject_key``.

    Returns:
        One item for each case, its image path absolute.

    Raises:
        ValueError: no case is found, an image cannot be read, or a case has no fold.
    """
    markups = sorted({f for folder in folders for f in folder.rglob(f"*{MARKUPS_SUFFIX}")})
    if not markups:
        msg = f"folders must hold *{MARKUPS_SUFFIX} files: none in {[str(f) for f in folders]}."
        raise ValueError(msg)
    folds = read_folds(folds_file) if folds_file else {}
    items = [_item(path, registry, subject_key) for path in markups]
    return [item | _fold_of(item["id"], folds, folds_file) for item in items]


def _point_lps(
    point: dict[str, Any], markup: dict[str, Any], path: Path
) -> NDArray[np.float64] | None:
    if point.get("positionStatus", "defined") != "defined":
        return None
    system, unit = markup.get("coordinateSystem", "LPS"), markup.get("coordinateUnits", "mm")
    if system not in ("LPS", "RAS") or unit not in ("mm", ["mm", "UCUM", "millimeter"]):
        msg = f"{path} must have coordinateSystem LPS or RAS in mm: got {system!r} in {unit!r}."
        raise ValueError(msg)
    if not is_point(point["position"]):
        msg = f"{path} must give {point['label']} three finite numbers as position: got "
        msg += f"{point['position']!r}."
        raise ValueError(msg)
    position = np.asarray(point["position"], dtype=np.float64)
    return position if system == "LPS" else apply_affine(LPS_FROM_RAS, position)


def _check_label(label: str, points: dict[str, Any], path: Path) -> None:
    if label in points:
        msg = f"{path} must name each point once: got {label!r} twice."
        raise ValueError(msg)


def _fold_of(case: str, folds: dict[str, int], folds_file: Path | None) -> dict[str, int]:
    if folds_file and case not in folds:
        msg = f"{folds_file} must name a fold for each case: {case} is missing."
        raise ValueError(msg)
    return {"fold": folds[case]} if case in folds else {}


def _item(path: Path, registry: LandmarkRegistry, subject_key: bytes) -> Item:
    case = path.parent.name
    points = read_markups(path)
    image = _image_beside(path)
    slice_index = _nearest_slice(image, points, registry)
    subject = subject_of_study(case, locate_study(image), subject_key)
    item: Item = {"id": case, "subject": subject, "image": str(image.resolve())}
    mask = path.parent / "mask.nii.gz"
    if mask.is_file():
        item["mask"] = str(mask.resolve())
    item["slice_index"] = slice_index
    item["points_lps"] = {k: None if p is None else p.tolist() for k, p in points.items()}
    return item


def _image_beside(markups: Path) -> Path:
    images = [f for f in sorted(markups.parent.iterdir()) if f.name.endswith(NIFTI_SUFFIXES)]
    images = [f for f in images if not f.name.startswith("mask")]
    if len(images) > 1:
        msg = f"{markups.parent} must hold one image beside its markups: got {len(images)}."
        raise ValueError(msg)
    return images[0] if images else markups.parent


def _nearest_slice(
    image: Path, points: dict[str, NDArray[np.float64] | None], registry: LandmarkRegistry
) -> int:
    known = [p for name in registry.names if (p := points.get(name)) is not None]
    try:
        volume = read_study(image)
    except StudyError as error:
        msg = f"the image beside the markups must be readable: {error}"
        raise ValueError(msg) from error
    if not known:
        msg = f"{image.parent} must have a point named as one of {registry.name}: got none."
        raise ValueError(msg)
    return nearest_slice(volume, np.stack(known))
