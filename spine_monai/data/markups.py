"""3D Slicer markups (``.mrk.json``) in: named points, and a datalist from folders of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spine_monai.data.checks import is_point
from spine_monai.data.conversion import Conversion, LeftOutError
from spine_monai.data.datalists import Item
from spine_monai.data.folds import PUBLIC_KEY, with_folds
from spine_monai.data.images import image_in, name_of_folder
from spine_monai.data.placing import placed_item
from spine_monai.files import place_of
from spine_monai.geometry import LPS_FROM_RAS, apply_affine
from spine_monai.landmarks import LandmarkRegistry

MARKUPS_SUFFIX = ".mrk.json"
MASK_FILE = "mask.nii.gz"


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


def conversion_from_markups(
    folders: Sequence[Path], registry: LandmarkRegistry, *, subject_key: bytes = PUBLIC_KEY
) -> Conversion:
    """Build datalist items from case folders with an image and its markups.

    Args:
        folders: case folders, or folders of case folders; a case folder holds one
            ``.mrk.json`` and the image beside it (a volume file that is no mask, or DICOM).
        registry: landmarks that are expected; other labels are kept too.
        subject_key: of the subjects' digests, for DICOM; see ``read_subject_key``.

    Returns:
        One item for each case whose markups and image can be read, its id the folder's name, and a
        remark on everything else.

    Raises:
        ValueError: there are no markups.
    """
    markups = sorted({f for folder in folders for f in folder.rglob(f"*{MARKUPS_SUFFIX}")})
    if not markups:
        msg = f"folders must hold *{MARKUPS_SUFFIX} files: none in {[str(f) for f in folders]}."
        raise ValueError(msg)
    conversion = Conversion(registry, subject_key)
    for file in conversion.each(markups):
        case = name_of_folder(file)
        with conversion.attempt(case):
            conversion.add(_item(case, file, conversion))
    return conversion


def datalist_from_markups(
    folders: Sequence[Path],
    registry: LandmarkRegistry,
    folds_file: Path | None = None,
    subject_key: bytes = PUBLIC_KEY,
) -> list[Item]:
    """Build the items of ``conversion_from_markups`` where every case must be usable.

    Args:
        folders: see ``conversion_from_markups``.
        registry: see ``conversion_from_markups``.
        folds_file: CSV with the columns ``case`` and ``fold``; without it, items have no fold.
        subject_key: see ``conversion_from_markups``.

    Returns:
        One item for each case, its image path absolute.

    Raises:
        ValueError: no case is found, one cannot be used, or the folds are wrong; see
            ``with_folds``.
    """
    conversion = conversion_from_markups(folders, registry, subject_key=subject_key)
    if conversion.left_out:
        first = conversion.left_out[0]
        msg = f"every case must be usable: {first.case} is not. {first.message}"
        raise ValueError(msg)
    items = conversion.items
    return with_folds(items, folds_file) if folds_file else items


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


def _item(case: str, markups: Path, conversion: Conversion) -> Item:
    try:
        points = read_markups(markups)
    except ValueError as error:
        raise LeftOutError(str(error), "unreadable_markups") from error
    known = {name: point for name, point in points.items() if point is not None}
    item = placed_item(case, image_in(markups.parent), known, conversion)
    mask = markups.parent / MASK_FILE
    return item | ({"mask": str(place_of(mask))} if mask.is_file() else {})
