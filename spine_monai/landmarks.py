"""The landmarks: which there are, in which order, and what was found of them.

A *registry* names the landmarks of one anatomy in channel order (the order of every array in this
package). A *LandmarkSet* is the result for one image: a point in patient space for each name.
Points are LPS millimetres (x towards the patient's left, y towards posterior, z towards the head);
NaN marks an absent landmark.
"""

from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import yaml
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Kind = Literal["disc", "vertebra"]
Status = Literal["found", "uncertain", "absent"]
LEAST_STEP_MM = 5.0
HIT_RADIUS_MM = 8.0  # Huang, Yang, Hou 2020: a landmark within 8 mm of its reference is a hit


@dataclass(frozen=True)
class Landmark:
    """One named anatomical point.

    Args:
        name: level as radiologists write it, such as ``L4`` or ``L4-L5``.
        kind: ``disc`` or ``vertebra``: which of the two levels the point marks.
        snomed_code: SNOMED CT code of the structure (DICOM PS3.16 CID 7603 and 7604), or ``None``.
    """

    name: str
    kind: Kind
    snomed_code: str | None = None


@dataclass(frozen=True)
class LandmarkRegistry:
    """The landmarks of one anatomy, head to foot, in channel order."""

    name: str
    landmarks: tuple[Landmark, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.landmarks) or not self.landmarks:
            msg = f"landmark set {self.name!r} must name each landmark once: got {self.names}."
            raise ValueError(msg)

    def __len__(self) -> int:
        return len(self.landmarks)

    @property
    def names(self) -> tuple[str, ...]:
        """Landmark names in channel order."""
        return tuple(landmark.name for landmark in self.landmarks)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Landmark kinds in channel order."""
        return tuple(landmark.kind for landmark in self.landmarks)


LUMBAR11 = LandmarkRegistry(
    "lumbar11",
    (
        Landmark("T12-L1", "disc", "76206002"),
        Landmark("L1", "vertebra", "66794005"),
        Landmark("L1-L2", "disc", "80064006"),
        Landmark("L2", "vertebra", "14293000"),
        Landmark("L2-L3", "disc", "67459009"),
        Landmark("L3", "vertebra", "36470004"),
        Landmark("L3-L4", "disc", "62551000"),
        Landmark("L4", "vertebra", "11994002"),
        Landmark("L4-L5", "disc", "84020006"),
        Landmark("L5", "vertebra", "49668003"),
        Landmark("L5-S1", "disc", "715056000"),
    ),
)
# What the networks of the shipped bundle look for: two levels more at the head, which help to tell
# the levels apart and are not reported.
LUMBAR13 = LandmarkRegistry(
    "lumbar13",
    (
        Landmark("T11-T12", "disc", "1537001"),
        Landmark("T12", "vertebra", "23215003"),
        *LUMBAR11.landmarks,
    ),
)
# What RSNA 2024 annotates: the spinal canal behind each disc. The names are not those of the
# discs, so that no network ever learns one for the other.
RSNA_CANAL5 = LandmarkRegistry(
    "rsna_canal5",
    tuple(Landmark(f"canal {disc.name}", "disc") for disc in LUMBAR11.landmarks[2::2]),
)
REGISTRIES = {registry.name: registry for registry in (LUMBAR11, LUMBAR13, RSNA_CANAL5)}


def load_registry(name_or_file: str | Path) -> LandmarkRegistry:
    """Return a registry by its name, or read one from a YAML file.

    The file holds ``name`` and ``landmarks``: a list of ``{name, kind, snomed_code}``.

    Args:
        name_or_file: ``lumbar11``, ``lumbar13``, ``rsna_canal5``, or the path of a ``.yaml`` file.

    Raises:
        ValueError: no registry has this name, or the file does not describe one.
    """
    if str(name_or_file) in REGISTRIES:
        return REGISTRIES[str(name_or_file)]
    path = Path(name_or_file)
    if not path.is_file():
        msg = (
            f"landmark set must be one of {sorted(REGISTRIES)} or a YAML file: got {name_or_file}."
        )
        raise ValueError(msg)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return LandmarkRegistry(content["name"], tuple(map(_landmark, content["landmarks"])))
    except (KeyError, TypeError, yaml.YAMLError) as error:
        msg = f"{path} must hold 'name' and 'landmarks' (name, kind each): {error!r}."
        raise ValueError(msg) from error


def describe_set(name_or_file: str | Path) -> str | dict[str, Any]:
    """Return what tells a registry from others: a name, or what a file holds; ready for JSON."""
    if str(name_or_file) in REGISTRIES:
        return str(name_or_file)
    registry = load_registry(name_or_file)
    return {"name": registry.name, "landmarks": [asdict(own) for own in registry.landmarks]}


def kind_groups(name_or_file: str | Path) -> list[int]:
    """Return 0 for each disc and 1 for each vertebra of a registry, in channel order."""
    return [("disc", "vertebra").index(kind) for kind in load_registry(name_or_file).kinds]


def level_kind(name: str) -> Kind:
    """Return the kind that a level's name implies: ``L4-L5`` is a disc, ``L4`` a vertebra."""
    return "disc" if "-" in name else "vertebra"


@dataclass(frozen=True)
class LandmarkSet:
    """Where the landmarks of one image lie, and how sure that is.

    Args:
        registry: names and order of the N landmarks.
        points_lps: (N, 3) points in mm, LPS; NaN marks an absent landmark.
        confidence: (N,) probability that the point lies within 8 mm, 0 to 1; NaN where absent.
        radius95_mm: (N,) radius about the point that holds 95 % of the belief; NaN where absent.
        calibrated: whether confidence and radius were calibrated on held-out subjects.
        min_confidence: below it, or with a radius above 8 mm, a landmark is ``uncertain``.
        level_in_doubt: whether the last landmark is seen at another level too, so that all of them
            may be named a level off.

    Raises:
        ValueError: an array's shape does not fit the registry.
    """

    registry: LandmarkRegistry
    points_lps: FloatArray
    confidence: FloatArray
    radius95_mm: FloatArray
    calibrated: bool = False
    min_confidence: float = 0.5
    level_in_doubt: bool = False

    def __post_init__(self) -> None:
        count = len(self.registry)
        expected = {"points_lps": (count, 3), "confidence": (count,), "radius95_mm": (count,)}
        for field, shape in expected.items():
            array = getattr(self, field)
            if array.shape != shape:
                msg = (
                    f"{field} must have shape {shape} for {self.registry.name}: got {array.shape}."
                )
                raise ValueError(msg)

    @property
    def statuses(self) -> tuple[Status, ...]:
        """``found``, ``uncertain`` or ``absent``, in channel order."""
        rows = zip(self.points_lps, self.confidence, self.radius95_mm, strict=True)
        return tuple(self._status(*row) for row in rows)

    @property
    def out_of_order(self) -> list[tuple[str, str]]:
        """Neighbouring landmarks that do not follow each other head to foot by at least 5 mm.

        A sign that one of them was found at another level.
        """
        is_there = np.asarray(~np.isnan(self.points_lps).any(-1))
        names = [name for name, there in zip(self.registry.names, is_there, strict=True) if there]
        points = self.points_lps[is_there]
        if len(points) < 3:
            return []
        downwards = points[-1] - points[0]
        steps_mm = np.diff(points, axis=0) @ downwards / max(float(np.linalg.norm(downwards)), 1e-9)
        pairs = zip(pairwise(names), steps_mm, strict=True)
        return [pair for pair, step_mm in pairs if step_mm < LEAST_STEP_MM]

    def _status(self, point_lps: FloatArray, confidence: float, radius95_mm: float) -> Status:
        if np.isnan(point_lps).any():
            return "absent"
        is_sure = confidence >= self.min_confidence and radius95_mm <= HIT_RADIUS_MM
        return "found" if is_sure else "uncertain"


def _landmark(entry: dict[str, str]) -> Landmark:
    kind = entry["kind"]
    if kind not in ("disc", "vertebra"):
        msg = f"kind of landmark {entry['name']!r} must be 'disc' or 'vertebra': got {kind!r}."
        raise ValueError(msg)
    return Landmark(entry["name"], cast(Kind, kind), entry.get("snomed_code"))
