"""One mutant through the readers: what came of it, and what it cost."""

import json
import os
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fuzz.dicom_truth import Decoded, faults_of_dicom
from fuzz.mutants import Mutant
from fuzz.volume_truth import faults_of_file
from spine_monai.readers import LocatedStudy, StudyError, Volume, locate_study, read_study
from spine_monai.readers.decoding import WORKER
from spine_monai.readers.description import content_of, table_of
from spine_monai.readers.dicom import read_series
from spine_monai.readers.location import nothing_to_choose, survey_study

READ, REFUSED, NOT_CHOSEN = "read", "refused", "no series chosen"
WRONG, ERROR, VAGUE = "WRONG", "ERROR", "VAGUE MESSAGE"
CRASH, HANG, HUNGRY = "CRASH", "HANG", "TOO MUCH MEMORY"
FAULTS = (WRONG, ERROR, VAGUE, CRASH, HANG, HUNGRY)
MOST_SECONDS = 5.0
MOST_BYTES = 2 << 30
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Outcome:
    """What came of one mutant.

    Args:
        number: of the mutant.
        seed: name of the study it was made from.
        mutations: what was done to it.
        verdict: one of the words above; those of ``FAULTS`` break a promise.
        detail: the message, or what is wrong.
        seconds: processor time of this process and the decoder's.
        megabytes: the most that reading added to what both had in memory before, at the worst.
    """

    number: int
    seed: str
    mutations: tuple[str, ...]
    verdict: str
    detail: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0

    @property
    def line(self) -> str:
        """The outcome as a line of JSON."""
        return json.dumps(asdict(self))


def try_mutant(mutant: Mutant, decoded: Decoded) -> Outcome:
    """Hand a mutant to the calls of ``series`` and ``localize``, and judge what comes of it.

    Args:
        mutant: on disk.
        decoded: stored pixels of the seeds by the SHA-256 of their encoding.
    """
    _forget_peak()
    before, held = _processor_seconds(), _peak_bytes()
    verdict, detail = _verdict(mutant, decoded)
    seconds = _processor_seconds() - before
    megabytes = max(_peak_bytes() - held, 0) / 2**20
    if seconds > MOST_SECONDS:
        verdict, detail = HANG, f"{seconds:.1f} s of processor time; {verdict}: {detail}"
    elif megabytes > MOST_BYTES / 2**20:
        verdict, detail = HUNGRY, f"{megabytes:.0f} MiB; {verdict}: {detail}"
    names = (mutant.number, mutant.seed.name, mutant.mutations)
    return Outcome(*names, verdict, detail, round(seconds, 3), round(megabytes))


def _verdict(mutant: Mutant, decoded: Decoded) -> tuple[str, str]:
    try:
        return _judged(mutant, decoded)
    except Exception as error:  # that any is raised is what is looked for
        return ERROR, f"{type(error).__name__}: {error}; {_raised_in(error)}"


def _raised_in(error: BaseException) -> str:
    """The lines that led to an error, the last ones first."""
    calls = traceback.extract_tb(error.__traceback__)[::-1]
    return " < ".join(f"{Path(call.filename).name}:{call.lineno}" for call in calls[:6])


def _judged(mutant: Mutant, decoded: Decoded) -> tuple[str, str]:
    try:
        _survey(mutant.study)
        located, volume = _read(mutant)
    except StudyError as error:
        if not _names(str(error), mutant.study):
            return VAGUE, str(error)
        return _decode_all(mutant.study, str(error))
    faults = [*_faults(located, volume, decoded)]
    return (WRONG, "; ".join(faults[:3])) if faults else (READ, located.reason)


def _survey(study: Path) -> None:
    """What ``series`` does."""
    if nothing_to_choose(study):
        return
    index, choice = survey_study(study)
    json.dumps(content_of(index, choice)), table_of(index, choice)


def _read(mutant: Mutant) -> tuple[LocatedStudy, Volume]:
    """What ``localize`` does before the networks."""
    located = locate_study(mutant.study, pixel_spacing_mm=mutant.seed.pixel_spacing_mm)
    return located, read_study(located)


def _decode_all(study: Path, refused: str) -> tuple[str, str]:
    """Read what no rule lets through too, so that decoders meet its pixels."""
    if nothing_to_choose(study):
        return REFUSED, refused
    try:
        index, choice = survey_study(study)
    except StudyError:
        return REFUSED, refused
    if choice.chosen is not None:
        return REFUSED, refused
    for series in index:
        try:
            read_series(series)
        except StudyError as error:
            if not _names(str(error), study):
                return VAGUE, str(error)
    return NOT_CHOSEN, refused


def _faults(located: LocatedStudy, volume: Volume, decoded: Decoded) -> Iterator[str]:
    if not np.isfinite(volume.image.affine.numpy()).all():
        yield "an affine that is not finite"
    elif located.series:
        yield from faults_of_dicom(located, volume, decoded)
    else:
        yield from faults_of_file(located.path, volume)


def _names(message: str, study: Path) -> bool:
    """Whether a message says which file, folder or series it means."""
    return str(study) in message or message.startswith("series ")


def _decoder_pid() -> int | None:
    return WORKER.process.pid if WORKER.process and WORKER.process.poll() is None else None


def _processor_seconds() -> float:
    """Of this process, of decoders that ended, and of the one that runs."""
    times = os.times()
    seconds = times.user + times.system + times.children_user + times.children_system
    if (pid := _decoder_pid()) is None:
        return seconds
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return seconds + (int(fields[11]) + int(fields[12])) / TICKS


def _forget_peak() -> None:
    for process in ("self", _decoder_pid()):
        if process:
            Path(f"/proc/{process}/clear_refs").write_text("5")


def _peak_bytes() -> int:
    peaks = (_peak_of(process) for process in ("self", _decoder_pid()) if process)
    return sum(peaks)


def _peak_of(process: str | int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def wall_seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
