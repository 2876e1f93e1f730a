"""How far from the truth: radial errors, success rates, level shifts, with intervals over subjects.

Points are LPS mm, NaN where absent. A missing prediction of a landmark that has a reference is an
infinite error in success rates and medians, and left out of the mean, which says its n. A landmark
without a reference is in no rate; a point given for it is a false positive.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from spine_monai.geometry import project_on_slice
from spine_monai.landmarks import HIT_RADIUS_MM, LandmarkRegistry, level_kind

FloatArray = NDArray[np.float64]
SDR_THRESHOLDS_MM = (2.0, 2.5, 3.0, 4.0, 6.0, 8.0)
IDENTIFICATION_RADIUS_MM = 20.0
BOOTSTRAP_SAMPLES = 2000


def radial_errors(predicted_lps: ArrayLike, reference_lps: ArrayLike) -> FloatArray:
    """Return the distance of each landmark to its reference.

    Args:
        predicted_lps: (..., N, 3) points in mm; NaN marks a missing landmark.
        reference_lps: same shape and frame.

    Returns:
        (..., N) distances in mm; NaN where either one is missing.

    Raises:
        ValueError: the shapes differ.
    """
    predicted, reference = np.asarray(predicted_lps), np.asarray(reference_lps)
    if predicted.shape != reference.shape:
        msg = f"predicted_lps and reference_lps must have one shape: got {predicted.shape} and "
        msg += f"{reference.shape}."
        raise ValueError(msg)
    return np.linalg.norm(predicted - reference, axis=-1)


@dataclass(frozen=True)
class CaseResult:
    """The predictions of one case beside all its reference points.

    Args:
        case: id.
        subject: cases of one subject are drawn together in the bootstrap.
        predicted_lps: (N, 3) in the registry's order; NaN where absent.
        reference_lps: LPS point of each annotated level, inside the registry or not.
        lps_from_column_row: (4, 4) matrix of the slice that the prediction was made on.
    """

    case: str
    subject: str
    predicted_lps: FloatArray
    reference_lps: Mapping[str, FloatArray]
    lps_from_column_row: FloatArray

    def references(self, registry: LandmarkRegistry) -> FloatArray:
        """Return (N, 3) reference points in the registry's order; NaN where not annotated."""
        absent = np.full(3, np.nan)
        return np.stack([self.reference_lps.get(name, absent) for name in registry.names])

    def in_plane_errors(self, registry: LandmarkRegistry) -> FloatArray:
        """Return (N,) distances in the plane of the slice; inf where missed, NaN where unknown."""
        references = project_on_slice(self.references(registry), self.lps_from_column_row)
        predicted = project_on_slice(self.predicted_lps, self.lps_from_column_row)
        return _missed_as_infinite(radial_errors(predicted, references), references)

    def errors(self, registry: LandmarkRegistry) -> FloatArray:
        """Return (N,) distances in space; inf where missed, NaN where there is no reference."""
        references = self.references(registry)
        return _missed_as_infinite(radial_errors(self.predicted_lps, references), references)

    def false_positives(self, registry: LandmarkRegistry) -> NDArray[np.bool_]:
        """Return (N,) whether a point was given for a landmark without a reference."""
        is_given = ~np.isnan(self.predicted_lps).any(-1)
        return np.asarray(is_given & np.isnan(self.references(registry)).any(-1))

    def level_shifts(self, registry: LandmarkRegistry) -> FloatArray:
        """Return (N,) 1 where another level of the same kind is nearest, else 0; NaN if unknown.

        The registry says of which kind a level is; of a level outside it, its name.
        """
        kinds = {name: level_kind(name) for name in self.reference_lps}
        kinds |= zip(registry.names, registry.kinds, strict=True)
        nearest = self._nearest(registry, lambda own, other: kinds[own] == kinds[other])
        return np.array([_as_flag(near, near != name) for name, near in nearest.items()])

    def identifications(self, registry: LandmarkRegistry) -> FloatArray:
        """Return (N,) 1 where the own landmark is nearest, within 20 mm; NaN if unknown."""
        nearest = self._nearest(registry, lambda _own, _other: True)
        errors = self.in_plane_errors(registry)
        flags = [
            _as_flag(near, near == name and error <= IDENTIFICATION_RADIUS_MM)
            for (name, near), error in zip(nearest.items(), errors, strict=True)
        ]
        return np.where(np.isinf(errors), 0.0, np.array(flags))

    def _nearest(
        self, registry: LandmarkRegistry, is_rival: Callable[[str, str], bool]
    ) -> dict[str, str | None]:
        """Name of the nearest rival reference, in the slice's plane; None without a pair."""
        flat = {
            name: project_on_slice(point, self.lps_from_column_row)
            for name, point in self.reference_lps.items()
            if not np.isnan(point).any()
        }
        nearest: dict[str, str | None] = {}
        for name, point_lps in zip(registry.names, self.predicted_lps, strict=True):
            rivals = {k: p for k, p in flat.items() if is_rival(name, k)}
            is_pair = name in flat and not np.isnan(point_lps).any()
            point = project_on_slice(point_lps, self.lps_from_column_row)
            distances = {k: float(np.linalg.norm(p - point)) for k, p in rivals.items()}
            nearest[name] = min(distances, key=distances.__getitem__) if is_pair else None
        return nearest


def summarize(
    results: Sequence[CaseResult], registry: LandmarkRegistry, *, seed: int = 0
) -> dict[str, Any]:
    """Sum up all cases: each figure with its 95 % interval from a bootstrap over subjects.

    Args:
        results: at least one case.
        registry: names and order of the landmarks.
        seed: of the bootstrap.

    Returns:
        A JSON-ready dictionary: ``overall``, and one entry for each landmark under ``landmarks``,
        all in-plane but for ``mre_3d_mm``.

    Raises:
        ValueError: there is no case.
    """
    if not results:
        msg = "results must hold at least one case: got none."
        raise ValueError(msg)
    table = _Table.of(results, registry)
    per_landmark = {name: table.only(index).figures() for index, name in enumerate(registry.names)}
    subjects = sorted({result.subject for result in results})
    return {
        "criterion": "radial error in the plane of the slice, mm",
        "cases": len(results),
        "subjects": len(subjects),
        "interval": f"95 %, bootstrap over subjects, {BOOTSTRAP_SAMPLES} samples, seed {seed}",
        "overall": table.figures() | {"intervals": _intervals(table, seed)},
        "landmarks": per_landmark,
    }


class RadialErrorMetric(CumulativeIterationMetric):
    """Mean radial error in mm for MONAI engines; landmarks without a reference are left out."""

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **_: Any) -> Tensor:
        """Return (B, N) distances in mm of (B, N, 3) points_lps; NaN where either is missing."""
        return torch.as_tensor(radial_errors(y_pred.cpu(), torch.as_tensor(y).cpu()))

    def aggregate(self) -> Tensor:
        """Return the mean over all landmarks that have both points."""
        buffer = self.get_buffer()
        return torch.nanmean(torch.as_tensor(buffer))


@dataclass(frozen=True)
class _Table:
    """(cases, N) arrays of everything that is averaged."""

    subjects: NDArray[np.str_]
    in_plane: FloatArray
    in_space: FloatArray
    shifts: FloatArray
    identified: FloatArray
    false_positives: FloatArray

    @classmethod
    def of(cls, results: Sequence[CaseResult], registry: LandmarkRegistry) -> "_Table":
        return cls(
            np.array([result.subject for result in results]),
            np.stack([result.in_plane_errors(registry) for result in results]),
            np.stack([result.errors(registry) for result in results]),
            np.stack([result.level_shifts(registry) for result in results]),
            np.stack([result.identifications(registry) for result in results]),
            np.stack([result.false_positives(registry).astype(float) for result in results]),
        )

    def only(self, landmark: int) -> "_Table":
        columns = (array[:, landmark : landmark + 1] for array in self._arrays())
        return _Table(self.subjects, *columns)

    def rows(self, indices: NDArray[np.intp]) -> "_Table":
        return _Table(self.subjects[indices], *(array[indices] for array in self._arrays()))

    def _arrays(self) -> tuple[FloatArray, ...]:
        return (
            self.in_plane,
            self.in_space,
            self.shifts,
            self.identified,
            self.false_positives,
        )

    def figures(self) -> dict[str, Any]:
        known = self.in_plane[~np.isnan(self.in_plane)]
        found = known[np.isfinite(known)]
        if not len(known):
            return {"n": 0, "false_positives": int(self.false_positives.sum())}
        has_reference = ~np.isnan(self.in_plane)
        is_near = (self.in_plane <= HIT_RADIUS_MM) | ~has_reference
        sdr = {f"{t:g}": float((known <= t).mean()) for t in SDR_THRESHOLDS_MM}
        return {
            "n": len(known),
            "missing": int(np.isinf(known).sum()),
            "false_positives": int(self.false_positives.sum()),
            "mre_n": len(found),
            "mre_mm": float(found.mean()) if len(found) else None,
            "mre_3d_mm": _mean(self.in_space[np.isfinite(self.in_space)]),
            "median_mm": _finite(np.median(known)),
            "sdr": sdr,
            "level_shifts": int(np.nansum(self.shifts)),
            "level_shift_rate": _mean(self.shifts[~np.isnan(self.shifts)]),
            "identification_rate": _mean(self.identified[~np.isnan(self.identified)]),
            "all_within_8mm": float(np.mean(is_near.all(1), where=has_reference.any(1))),
        }


def _intervals(table: _Table, seed: int) -> dict[str, Any]:
    """95 % percentile intervals; whole subjects are drawn."""
    generator = np.random.default_rng(seed)
    subjects = np.unique(table.subjects)
    rows = {subject: np.flatnonzero(table.subjects == subject) for subject in subjects}
    samples: dict[str, list[float]] = {}
    for _ in range(BOOTSTRAP_SAMPLES):
        drawn = generator.choice(subjects, len(subjects))
        figures = table.rows(np.concatenate([rows[subject] for subject in drawn])).figures()
        for name, value in _flat(figures):
            samples.setdefault(name, []).append(value)
    return {name: [_finite(v) for v in _percentiles(values)] for name, values in samples.items()}


def _percentiles(values: Sequence[float]) -> FloatArray:
    return np.percentile(values, [2.5, 97.5], method="nearest")


def _flat(figures: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The rates and distances of a figures dictionary, an infinite median kept as infinite."""
    names = ("mre_mm", "mre_3d_mm", "median_mm", "level_shift_rate", "identification_rate")
    values = [(name, figures.get(name)) for name in (*names, "all_within_8mm")]
    values += [(f"sdr_{t}", value) for t, value in figures.get("sdr", {}).items()]
    if figures["n"] and figures["median_mm"] is None:  # more than half are missed
        values.append(("median_mm", np.inf))
    return [(name, float(value)) for name, value in values if value is not None]


def _missed_as_infinite(errors: FloatArray, references: FloatArray) -> FloatArray:
    is_known = ~np.isnan(references).any(-1)
    return np.where(is_known & np.isnan(errors), np.inf, errors)


def _as_flag(nearest: str | None, is_true: bool) -> float:
    return np.nan if nearest is None else float(is_true)


def _mean(values: FloatArray) -> float | None:
    return float(values.mean()) if len(values) else None


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
