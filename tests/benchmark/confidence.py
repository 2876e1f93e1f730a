"""Whether the headline's confidence means something: coverage, risk, and landmarks out of view.

For each fold, everything is fitted on the other folds' predictions; ``accuracy.py`` calls this and
keeps the figures in docs/benchmarks/accuracy.json.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spine_monai.joint import JointFusion
from spine_monai.landmarks import HIT_RADIUS_MM, LUMBAR11, LUMBAR13
from spine_monai.metrics import BOOTSTRAP_SAMPLES
from spine_monai.transforms.fuse import DOUBTFUL_HEAT
from spine_monai.workflows.fitting import (
    conformal_quantile,
    conformity_scores,
    decode_item,
    errors_mm,
)

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
MIN_CONFIDENCE = 0.5
ROWS = [LUMBAR13.names.index(name) for name in LUMBAR11.names]
MISSED = {"error": "missed", "coordinates_error": "missed by the coordinates alone"}
Item = Mapping[str, Any]
Record = dict[str, NDArray[Any]]


def fold_records(
    joint: JointFusion, items: Sequence[Item], fitted_on: Sequence[Item]
) -> list[Record]:
    """Decode one fold's whole and cut images, and scale their radii for each level."""
    with_quantile = float(joint.fusion.conformal_quantile)
    joint.fusion.conformal_quantile.fill_(torch.nan)
    scores, subjects = conformity_scores(joint, [i for i in fitted_on if i["is_whole"]])
    quantiles = np.array([conformal_quantile(scores, subjects, level) for level in LEVELS])
    records = [_record(joint, item, quantiles) for item in items]
    joint.fusion.conformal_quantile.fill_(with_quantile)
    return records


def summarize_confidence(records: Sequence[Record]) -> dict[str, Any]:
    """Return the JSON-ready figures of all folds' records."""
    whole = [record for record in records if record["is_whole"]]
    return {
        "coverage": _coverage(whole),
        "risk": _risk(whole),
        "level_in_doubt": sorted(
            str(r["subject"]) for r in whole if r["rival_heat"] > DOUBTFUL_HEAT
        ),
        "statuses": {
            "whole images": _statuses(whole),
            "cut images": _statuses([record for record in records if not record["is_whole"]]),
        },
        "shown": _missed_by_what_is_shown(records),
    }


def _record(joint: JointFusion, item: Item, quantiles: NDArray[np.float64]) -> Record:
    fused = decode_item(joint, item)
    radii = fused.radius95_mm[0].double().numpy()[ROWS]
    return {
        "subject": np.array(item["subject"]),
        "is_whole": np.array(item["is_whole"]),
        "error": errors_mm(fused.points_ij[0], item)[ROWS],
        "coordinates_error": errors_mm(item["predicted_ij"], item)[ROWS],
        "confidence": fused.confidence[0].double().numpy()[ROWS],
        "radii": radii[:, None] * quantiles,
        "in_view": item["in_view"].numpy()[ROWS],
        "rival_heat": np.array(float(fused.rival_heat[0, -1])),
    }


def _coverage(whole: Sequence[Record]) -> dict[str, Any]:
    """Share of the points within their radius, with its interval over subjects, at each level."""
    covered = np.stack([r["error"][:, None] <= r["radii"] for r in whole])
    found = np.stack([np.isfinite(r["error"]) for r in whole])[..., None]
    generator = np.random.default_rng(0)
    drawn = generator.integers(0, len(whole), (BOOTSTRAP_SAMPLES, len(whole)))
    shares = (covered * found)[drawn].sum((1, 2)) / found[drawn].sum((1, 2))
    low, high = np.percentile(shares, [2.5, 97.5], axis=0)
    radii = np.stack([r["radii"] for r in whole])
    return {
        f"{level:g}": {
            "share": float((covered * found)[..., i].sum() / found.sum()),
            "interval": [float(low[i]), float(high[i])],
            "median_radius_mm": float(np.nanmedian(radii[..., i])),
        }
        for i, level in enumerate(LEVELS)
    }


def _risk(whole: Sequence[Record]) -> dict[str, Any]:
    """Misses that remain when the least certain landmarks are set aside; absent ones go first."""
    errors = np.concatenate([r["error"] for r in whole])
    confidence = np.concatenate([r["confidence"] for r in whole])
    order = np.argsort(-np.nan_to_num(confidence, nan=-1.0), kind="stable")
    missed = ~(errors[order] <= HIT_RADIUS_MM)
    counts = missed.cumsum()
    shares = (1.0, 0.99, 0.98, 0.97, 0.95, 0.9, 0.8)
    kept = {f"{share:g}": round(share * len(errors)) for share in shares}
    return {share: {"kept": n, "misses": int(counts[n - 1])} for share, n in kept.items()}


def _statuses(records: Sequence[Record]) -> dict[str, int]:
    """How often each status was given to landmarks in view (hit or missed) and out of view."""
    counts: dict[str, int] = {}
    index = LEVELS.index(0.95)
    for record in records:
        rows = zip(
            record["error"],
            record["confidence"],
            record["radii"][:, index],
            record["in_view"],
            strict=True,
        )
        for error, confidence, radius, in_view in rows:
            truth = _truth(error, in_view)
            counts_key = f"{truth}: {_status(confidence, radius)}"
            counts[counts_key] = counts.get(counts_key, 0) + 1
    return dict(sorted(counts.items()))


def _missed_by_what_is_shown(records: Sequence[Record]) -> dict[str, dict[str, int]]:
    """Landmarks in view, and those missed by the chain and by coordinates alone, by what shows."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        seen = record["in_view"]
        if not seen.any():
            continue
        first, last = np.flatnonzero(seen)[[0, -1]]
        missed = {key: ~(record[key] <= HIT_RADIUS_MM) & seen for key in MISSED}
        own = {"in view": seen} | {MISSED[key]: value for key, value in missed.items()}
        shown = f"{LUMBAR11.names[first]} to {LUMBAR11.names[last]}"
        counts[shown].update({key: int(value.sum()) for key, value in own.items()})
    return {shown: dict(count) for shown, count in counts.items()}


def _truth(error: float, in_view: bool) -> str:
    if not in_view:
        return "out of view"
    return "in view, within 8 mm" if error <= HIT_RADIUS_MM else "in view, missed"


def _status(confidence: float, radius_mm: float) -> str:
    if np.isnan(confidence):
        return "absent"
    is_sure = confidence >= MIN_CONFIDENCE and radius_mm <= HIT_RADIUS_MM
    return "found" if is_sure else "uncertain"
