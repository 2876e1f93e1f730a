"""What must hold before a bundle's workflow starts; a failure is an error, never a success."""

from collections.abc import Sized
from pathlib import Path
from typing import Any


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
