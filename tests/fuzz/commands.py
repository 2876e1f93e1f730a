"""Mutants through the command line: ``series`` a process each, ``localize`` one for all of them."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from fuzz.mutants import Mutant, make_mutant
from fuzz.seeds import Seed, make_seeds
from fuzz.trial import CRASH, ERROR, HANG, READ, REFUSED, VAGUE, WRONG, Outcome
from spine_monai.data import write_datalist
from spine_monai.landmarks import LUMBAR11
from spine_monai.readers.location import ONE_VOLUME

COMMAND = [sys.executable, "-m", "spine_monai.cli"]
PATIENCE_SECONDS = 120.0
# Starting the program and computing landmarks take time that reading has no part in.
SECONDS_PER_CASE = 60.0
EXIT_CODES = (0, 1)


def try_commands(home: Path, run_seed: int, numbers: Sequence[int]) -> Iterator[Outcome]:
    """Yield what both commands make of some mutants; pictures, which need an option, are left out.

    Args:
        home: folder of a run, prepared.
        run_seed: of the run.
        numbers: of the mutants.
    """
    seeds = make_seeds(home / "seeds")
    mutants = [_made(home, run_seed, number, seeds) for number in numbers]
    mutants = [mutant for mutant in mutants if mutant.seed.pixel_spacing_mm is None]
    for mutant in mutants:
        yield _try_series(mutant)
    yield from _try_localize(mutants, home / "commands")


def _made(home: Path, run_seed: int, number: int, seeds: Sequence[Seed]) -> Mutant:
    place = home / "commands" / f"mutant-{number}"
    return make_mutant(number, run_seed, seeds, home / "seeds", place)


def _try_series(mutant: Mutant) -> Outcome:
    started = time.monotonic()
    try:
        done = subprocess.run(
            [*COMMAND, "series", str(mutant.study), "--json"],
            capture_output=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return _outcome(mutant, HANG, "series")
    seconds = round(time.monotonic() - started, 1)
    if fault := _fault_of(done, EXIT_CODES):
        return _outcome(mutant, CRASH, f"series: {fault}", seconds)
    content = json.loads(done.stdout)
    is_found = content["chosen"] is not None or content["reason"] == ONE_VOLUME
    if (done.returncode == 0) != is_found:
        return _outcome(mutant, ERROR, f"series: exit code {done.returncode}: {content}", seconds)
    return _outcome(mutant, REFUSED if done.returncode else READ, content["reason"], seconds)


def _try_localize(mutants: Sequence[Mutant], folder: Path) -> Iterator[Outcome]:
    """All mutants as the cases of one datalist: none may end the others."""
    cases = {f"mutant-{mutant.number}": mutant for mutant in mutants}
    items = [{"id": case, "image": str(mutant.study)} for case, mutant in cases.items()]
    write_datalist(items, folder / "datalist.json", LUMBAR11.name, section="testing")
    arguments = ["localize", folder / "datalist.json", "--out", folder / "out", "--device", "cpu"]
    seconds = PATIENCE_SECONDS + SECONDS_PER_CASE * len(cases)
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, check=False, timeout=seconds
    )
    if fault := _fault_of(done, EXIT_CODES):
        yield from (_outcome(mutant, CRASH, f"localize: {fault}") for mutant in mutants)
        return
    report = json.loads((folder / "out" / "report.json").read_text())
    for case in report["cases"]:
        yield _judged(cases.pop(case["case"]), case, folder / "out" / case["case"])
    yield from (_outcome(mutant, WRONG, "localize: not in the report") for mutant in cases.values())


def _judged(mutant: Mutant, case: dict[str, str], folder: Path) -> Outcome:
    if case["status"] == "failed":
        is_vague = "mutant-" not in case["reason"] and not case["reason"].startswith("series ")
        return _outcome(mutant, VAGUE if is_vague else REFUSED, f"localize: {case['reason']}")
    if not (folder / "landmarks.json").is_file():
        return _outcome(mutant, WRONG, "localize: done without a result")
    return _outcome(mutant, READ, f"localize: {case['reason']}")


def _fault_of(done: "subprocess.CompletedProcess[bytes]", codes: Sequence[int]) -> str:
    said = done.stderr.decode(errors="replace")
    if done.returncode in codes and "Traceback" not in said:
        return ""
    return f"exit code {done.returncode}: {said[-2000:]}"


def _outcome(mutant: Mutant, verdict: str, detail: str, seconds: float = 0.0) -> Outcome:
    names = (mutant.number, mutant.seed.name, mutant.mutations)
    return Outcome(*names, verdict, detail, seconds)
