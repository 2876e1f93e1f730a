"""Which series of a study is the sagittal T2 one, and why not each other one.

First the rules (``rules``) leave the candidates; then the preferences below are asked one after the
other, and each keeps the best of those left. If more than one is left at the end, none is chosen.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spine_monai.readers import vocabulary
from spine_monai.readers.errors import StudyError
from spine_monai.readers.rules import Candidate
from spine_monai.readers.series import Series

STRAIGHT_DEG = 15.0
# T12-L1 to L5-S1 spans 180 mm in an adult.
TALL_ENOUGH_MM = 150.0


class ChoiceError(StudyError):
    """No series can be chosen; the message says what each one lacks."""


@dataclass(frozen=True)
class Choice:
    """The candidates of a study and the chosen one.

    Args:
        verdicts: every series of the study, each with why it was not chosen; the chosen one's is
            empty.
        chosen: the one to read, or ``None``.
        reason: why that one, or why none.
    """

    verdicts: tuple[tuple[Candidate, str], ...]
    chosen: Candidate | None
    reason: str


@dataclass(frozen=True)
class Preference:
    """One step of the ranking.

    Args:
        name: what the series that are kept have in common, in words.
        is_met: whether a series has it; the second argument are all that are left.
    """

    name: str
    is_met: Callable[[Candidate, Sequence[Candidate]], bool]


def _is_half_as_wide(candidate: Candidate, left: Sequence[Candidate]) -> bool:
    widest_mm = max(one.layout.extent_mm[1] for one in left)
    return candidate.layout.extent_mm[1] >= 0.5 * widest_mm


def _is_corrected(candidate: Candidate, _left: Sequence[Candidate]) -> bool:
    return bool(candidate.series.image_types & vocabulary.CORRECTED)


PREFERENCES = (
    Preference("of no other level by its description", lambda one, _: one.level != "other"),
    Preference("lumbar by its description", lambda one, _: one.level == "lumbar"),
    Preference("original, not derived", lambda one, _: not one.series.is_derived),
    Preference("T2 by numbers, not by words", lambda one, _: not one.weighting.is_by_text),
    Preference("less oblique", lambda one, _: one.layout.oblique_deg <= STRAIGHT_DEG),
    Preference("tall enough", lambda one, _: one.layout.extent_mm[0] >= TALL_ENOUGH_MM),
    Preference("not half as wide as another", _is_half_as_wide),
    Preference("corrected for distortion", _is_corrected),
)


def choose(series: Iterable[Series]) -> Choice:
    """Choose the one sagittal T2 series of a study, if there is one.

    Args:
        series: all parts of all series of the study.
    """
    candidates = candidates_of(series)
    passed = [one for one in candidates if not one.failed_rule]
    studies = {one.series.instances[0].study for one in passed}
    if len(studies) > 1:
        beside = "it passes the rules, but another study's does too"
        reason = f"{len(passed)} of {len(candidates)} are one, of {len(studies)} studies. Name the "
        reason += "folder of one study"
        return _choice(candidates, dict.fromkeys(passed, beside), None, reason)
    best, lost = _ranked(passed)
    if len(best) == 1:
        lost[best[0]] = ""
        reason = f"the sagittal T2 series of {len(candidates)} found"
        return _choice(candidates, lost, best[0], f"{reason}; {_why(best[0], lost)}")
    others = len(best) - 1
    lost |= dict.fromkeys(best, f"nothing tells it from {others} other{'s' * (others > 1)}")
    reason = f"{len(best)} of {len(candidates)} are equally good"
    return _choice(candidates, lost, None, reason if best else f"none of {len(candidates)} is one")


def choose_named(series: Iterable[Series], name: str) -> Choice:
    """Choose the series that the user named, whatever it is weighted by.

    Args:
        series: all parts of all series of the study.
        name: a SeriesInstanceUID; ``UID:2`` is the second part of a series that has several, and
            without it the one part that the rules leave is meant.

    Raises:
        StudyError: there is no such series, or it cannot be read as sagittal slices.
    """
    candidates = candidates_of(series)
    named = [one for one in candidates if name in (one.series.uid, one.series.name)]
    if not named:
        known = ", ".join(dict.fromkeys(one.series.uid for one in candidates))
        msg = "series_uid must be the SeriesInstanceUID of a series of the study: "
        msg += f"got {name}. There are {known}."
        raise StudyError(msg)
    chosen = _best_part(named, name)
    but = f", although {chosen.failed_rule}" if chosen.failed_rule else ""
    lost = dict.fromkeys(candidates, "the user named another") | {chosen: ""}
    return _choice(candidates, lost, chosen, f"the user named it{but}")


def _best_part(named: list[Candidate], name: str) -> Candidate:
    """The part of a named series that can be read; of several the one that is T2, the first scan.

    Raises:
        StudyError: there is none, or more than one.
    """
    left = [one for one in named if not one.unreadable]
    left = [one for one in left if not one.failed_rule] or left
    left = [one for one in left if one.series.scan[0] == 1] or left
    if len(left) != 1:
        rules = (f"{one.series.label}: {one.unreadable or 'it can be read'}" for one in named)
        msg = f"series_uid must name one series of sagittal slices: got {name}. {'; '.join(rules)}."
        msg += " A part of a series is named by its UID, a colon and its number." * (len(left) > 1)
        raise StudyError(msg)
    return left[0]


def notes_about(choice: Choice) -> tuple[dict[str, str], ...]:
    """Return what a user of the chosen series should know, each with ``code`` and ``message``."""
    if choice.chosen is None:
        return ()
    found = {code: note(choice.chosen) for code, note in NOTES.items()}
    return tuple({"code": code, "message": text} for code, text in found.items() if text)


def candidates_of(series: Iterable[Series]) -> list[Candidate]:
    """Return the series as candidates, each with the other parts of its series."""
    parts: dict[str, list[Candidate]] = defaultdict(list)
    candidates = [Candidate(one, parts[one.uid]) for one in series]
    for candidate in candidates:
        parts[candidate.series.uid].append(candidate)
    return candidates


def choice_error(choice: Choice, path: Path) -> ChoiceError:
    """Return the error of a study of which none was chosen: each series and its rule, in a line.

    Args:
        choice: without a chosen series.
        path: of the study.
    """
    verdicts = "; ".join(f"{one.series.label}: {verdict}" for one, verdict in choice.verdicts)
    end = "" if verdicts.endswith("?") else "."
    msg = f"{path} must hold one sagittal T2 series: {choice.reason}. {verdicts}{end} A series can "
    return ChoiceError(f"{msg}be named by its UID.")


def _choice(
    candidates: Iterable[Candidate],
    lost: Mapping[Candidate, str],
    chosen: Candidate | None,
    reason: str,
) -> Choice:
    verdicts = tuple((one, one.failed_rule or lost[one]) for one in candidates)
    if chosen:
        verdicts = tuple((one, "" if one is chosen else verdict) for one, verdict in verdicts)
        reason = f"{chosen.series.label}: {reason}"
    return Choice(verdicts, chosen, reason)


def _ranked(passed: list[Candidate]) -> tuple[list[Candidate], dict[Candidate, str]]:
    """The best of the candidates, and why each other one is not among them."""
    left: list[Candidate] = passed
    lost: dict[Candidate, str] = {}
    for preference in PREFERENCES:
        met = [one for one in left if preference.is_met(one, left)]
        if met and len(met) < len(left):
            lost |= {one: f"another is {preference.name}" for one in left if one not in met}
            left = met
    return left, lost


def _why(chosen: Candidate, lost: Mapping[Candidate, str]) -> str:
    reason = f"T2 by {chosen.weighting.evidence}"
    steps = [step.name for step in PREFERENCES if f"another is {step.name}" in lost.values()]
    if steps:
        reason += f"; among {len(lost)} that pass the rules it is {' and '.join(steps)}"
    if chosen.series.is_derived:
        reason += "; it is DERIVED, but no original one passed"
    return reason


def _overruled(chosen: Candidate) -> str:
    if not chosen.failed_rule:
        return ""
    return f"the user named a series that the rules refuse: {chosen.failed_rule}"


def _derived(chosen: Candidate) -> str:
    if not chosen.series.is_derived:
        return ""
    return "the series is DERIVED: its pixels or geometry were changed after the scan"


def _of_other_level(chosen: Candidate) -> str:
    if chosen.level != "other":
        return ""
    return "the description of the series names another part of the body than the lumbar spine"


def _scanned_again(chosen: Candidate) -> str:
    number, count = chosen.series.scan
    if count == 1:
        return ""
    return f"the same places were scanned {count} times; scan {number} is used"


def _unreadable_beside(chosen: Candidate) -> str:
    files = chosen.series.unreadable_beside
    if not files:
        return ""
    return f"{len(files)} DICOM files cannot be read and may belong to the series: {files[0]} ..."


NOTES: dict[str, Callable[[Candidate], str]] = {
    "overruled_choice": _overruled,
    "derived_series": _derived,
    "other_level": _of_other_level,
    "repeated_scan": _scanned_again,
    "unreadable_files": _unreadable_beside,
}
