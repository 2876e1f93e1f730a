"""Label masks in: SPIDER's, or any whose labels a YAML file names."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from monai.data import MetaTensor
from numpy.typing import NDArray

from spine_monai.data.bodies import (
    body_before,
    canal_front,
    centroid_lps,
    is_cut,
    large_pieces,
    largest_piece,
)
from spine_monai.data.conversion import Conversion, LeftOutError
from spine_monai.data.datalists import Item
from spine_monai.data.folds import PUBLIC_KEY
from spine_monai.data.images import ImageFinder, image_in, name_of_folder
from spine_monai.data.levels import VERTEBRAE, level_name
from spine_monai.data.placing import placed_item
from spine_monai.files import place_of
from spine_monai.geometry import spacing_mm
from spine_monai.landmarks import LandmarkRegistry, level_kind
from spine_monai.readers import StudyError
from spine_monai.readers.volumes import is_volume_file, read_volume, volume_stem
from spine_monai.transforms.slices import upright

CANAL, PARTIAL = "canal", "partial"
MASK_STEM = "mask"
SPECK_SHARE = 0.1  # smaller pieces of the canal are specks; larger ones leave the slab and return
MOST_WITHOUT_CANAL = 0.2  # of a vertebra's voxels; what has no canal behind it counts as no body
Labels = Mapping[int, str]


def _spider_labels() -> dict[int, str]:
    """SPIDER counts from the foot: vertebrae from 1 = L5, discs from 201 = L5-S1.

    100 is the canal; 101 to 125 are vertebrae that are only partly in the image.
    Source: van der Graaf et al. 2024, doi 10.1038/s41597-024-03090-w.
    """
    known = [name for name in VERTEBRAE if name not in ("T13", "L6")]
    upwards = known[: known.index("S1") + 1][::-1]
    vertebrae = dict(enumerate(upwards[1:], start=1))
    discs = {200 + n: f"{above}-{below}" for n, (below, above) in enumerate(pairwise(upwards), 1)}
    return vertebrae | discs | {100: CANAL} | dict.fromkeys(range(101, 126), PARTIAL)


SPIDER_LABELS = _spider_labels()
SPIDER_NAME = re.compile(r"(\d+)_t[12](_space)?", re.IGNORECASE)


def datalist_from_masks(
    masks: Sequence[Path],
    registry: LandmarkRegistry,
    *,
    labels: Labels = SPIDER_LABELS,
    images: Path | None = None,
    bodies_only: bool = False,
    subject_key: bytes = PUBLIC_KEY,
) -> Conversion:
    """Build datalist items from label masks: discs and vertebral bodies by their centroids.

    Args:
        masks: mask files, or folders of them. With ``images``, every volume file is a mask, and its
            case is its stem; without, a mask is named ``mask``, lies beside its image, and its case
            is the folder.
        registry: landmarks that are expected; other levels are kept too.
        labels: level of each label, ``canal``, or ``partial`` for what is never used.
        images: folder of the images; see ``ImageFinder``.
        bodies_only: whether vertebrae are labelled without their posterior elements, so that no
            canal is needed.
        subject_key: of the subjects' digests; see ``read_subject_key``.

    Returns:
        One item for each mask whose image was found, and a remark on everything else. The series of
        one SPIDER patient (``1_t1``, ``1_t2``) share a subject.

    Raises:
        ValueError: there is no mask.
    """
    conversion = Conversion(registry, subject_key)
    finder = ImageFinder(images) if images else None
    for mask in conversion.each(_find_masks(masks, named=finder is None)):
        case = volume_stem(mask) if finder else name_of_folder(mask)
        with conversion.attempt(case):
            image = finder.find(case) if finder else image_in(mask.parent)
            volume = read_mask(mask)
            points = points_of_mask(volume, labels, case, conversion, bodies_only=bodies_only)
            conversion.add(_item(case, image, mask, points, conversion))
    return conversion


def read_labels(file: Path) -> dict[int, str]:
    """Read what the labels of a mask mean from a YAML file: label, then level or ``canal``.

    Raises:
        ValueError: the file is no such list, or a word in it is no level.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        labels = {int(label): _label_name(name) for label, name in content.items()}
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, TypeError, ValueError) as error:
        msg = f"{file} must name each label, as in '1: L5', by a level, {CANAL} or {PARTIAL}: "
        raise ValueError(msg + f"{error}.") from error
    twice = {name for name in labels.values() if list(labels.values()).count(name) > 1} - {PARTIAL}
    if not labels or 0 in labels or twice:
        msg = f"{file} must give each structure one label above 0: got {labels}."
        raise ValueError(msg)
    return labels


def read_mask(file: Path) -> MetaTensor:
    """Read a mask and turn it upright.

    Returns:
        (1, H, W, K) labels as whole numbers, with their affine.

    Raises:
        LeftOutError: the file cannot be read, or holds other than whole numbers.
    """
    try:
        reading = read_volume(file)
    except StudyError as error:
        raise LeftOutError(str(error), "unreadable_mask") from error
    if not np.array_equal(reading.array, np.rint(reading.array)):
        msg = f"{file} must hold labels, whole numbers: it holds others. Is it the image?"
        raise LeftOutError(msg, "unreadable_mask")
    labels = torch.from_numpy(reading.array.astype(np.int32))
    return upright(MetaTensor(labels[None], affine=torch.from_numpy(reading.affine)))


def points_of_mask(
    volume: MetaTensor, labels: Labels, case: str, conversion: Conversion, *, bodies_only: bool
) -> dict[str, NDArray[np.float64]]:
    """Return the (3,) LPS point in mm of each labelled level that is wholly in the image.

    Args:
        volume: upright labels, as ``read_mask`` gives them.
        labels: what each label means.
        case: for the remarks.
        conversion: takes a remark on every label that gives no point.
        bodies_only: see ``datalist_from_masks``.
    """
    array, affine = volume[0].numpy(), volume.affine.numpy()
    canal = np.isin(array, [label for label, name in labels.items() if name == CANAL])
    row_mm = float(spacing_mm(affine)[0])
    front = None if bodies_only else canal_front(large_pieces(canal, SPECK_SHARE), row_mm)
    points = {}
    for label in np.unique(array[(array != 0) & ~canal]).tolist():
        name = labels.get(label, "")
        try:
            points[name] = centroid_lps(_piece(array == label, name, front), affine)
        except LeftOutError as error:
            msg = f"label {label} of {case} ({name or 'unknown'}) {error}. It is left out."
            conversion.remark(error.code, msg, case=case, landmark=name)
    return points


def _piece(
    structure: NDArray[np.bool_], name: str, front: NDArray[np.float64] | None
) -> NDArray[np.bool_]:
    """The voxels whose centroid is the landmark: of a disc all, of a vertebra its body."""
    if name in ("", PARTIAL):
        msg = "is only partly in the image, by its label" if name else "has no level"
        raise LeftOutError(msg, "partly_visible" if name else "unknown_label")
    piece = largest_piece(structure)
    if level_kind(name) == "vertebra" and front is not None:
        if np.isnan(front[np.nonzero(piece)[0]]).mean() > MOST_WITHOUT_CANAL:
            msg = "has no canal behind it, which would bound its body"
            raise LeftOutError(msg, "no_canal")
        piece = body_before(structure, front)
    if not piece.any():
        msg = "has no voxel before the canal"
        raise LeftOutError(msg, "no_body")
    if is_cut(piece):
        msg = "runs out of the picture"
        raise LeftOutError(msg, "cut_by_edge")
    return piece


def _item(
    case: str,
    image: Path,
    mask: Path,
    points: Mapping[str, NDArray[np.float64]],
    conversion: Conversion,
) -> Item:
    item = placed_item(case, image, points, conversion)
    if patient := SPIDER_NAME.fullmatch(case):
        item["subject"] = patient[1]
    return item | {"mask": str(place_of(mask))}


def _find_masks(paths: Sequence[Path], *, named: bool) -> list[Path]:
    """The masks: the files that are given, and those in folders."""
    found: dict[Path, None] = {}
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        volumes = [file for file in files if file.is_file() and is_volume_file(file)]
        chosen = [file for file in volumes if not named or volume_stem(file) == MASK_STEM]
        if not chosen:
            what = f"a file {MASK_STEM}.nii.gz or {MASK_STEM}.mha" if named else "a volume file"
            msg = f"masks must be volume files or folders of them: {path} holds no {what[2:]}."
            raise ValueError(msg)
        found |= dict.fromkeys(chosen)
    return list(found)


def _label_name(word: Any) -> str:
    text = str(word).strip()
    name = text.lower() if text.lower() in (CANAL, PARTIAL) else level_name(text)
    if name is None:
        msg = f"got {text!r}"
        raise ValueError(msg)
    return name
