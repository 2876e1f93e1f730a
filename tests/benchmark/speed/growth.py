"""How `localize` grows: 10, 100 and, with ``GROWTH_FULL=1``, 1000 studies; one worker and two.

The studies are synthetic, small and on disk; every run is the command in a process of its own.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from speed import timing
from spine_monai.data import write_datalist
from spine_monai.data.synthetic import make_study
from spine_monai.landmarks import LUMBAR11

SIZES = (10, 50, 100)
FULL_SIZES = (10, 100, 1000)
FULL_VARIABLE = "GROWTH_FULL"
WORKERS_SIZE = 200  # an archive: two workers take longer to start, and that must not decide
WORKERS = (1, 2)
REPEATS = 2
COMMAND = (sys.executable, "-m", "spine_monai.cli", "localize", "--device", "cpu")


class Run(NamedTuple):
    """What one run took."""

    seconds: float
    peak_mib: float


def measure() -> dict[str, Any]:
    """Measure time and memory by number of studies, and two workers against one."""
    sizes = FULL_SIZES if os.environ.get(FULL_VARIABLE) else SIZES
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_studies(folder, max(*sizes, WORKERS_SIZE))
        runs = {size: localize(folder, size, workers=1) for size in sizes}
        kib = kib_of_a_case(folder / f"out-{max(sizes)}-1")
        slower = late_against_early(folder / f"out-{max(sizes)}-1")
        rates = side_by_side(folder)
    rows = [_row(f"{size} studies", size, 1, run) for size, run in runs.items()]
    rows += [_row("side by side", WORKERS_SIZE, n, run) for n, run in rates.items()]
    rows.append({"what": "files of a case, without pictures", "kib": kib})
    return {
        "title": "Growth",
        "rows": rows,
        "goals": [*_growth_goals(runs, slower), _workers_goal(rates)],
        "notes": [
            "Synthetic DICOM studies of five slices of 96 x 80 pixels; whole processes, start-up "
            "included, with json, csv and markups written.",
            "Growth compares the seconds that a study takes in the second half of the longest list "
            "with those it takes in the first, by when its file appeared; start-up is in neither.",
        ],
    }


def write_studies(folder: Path, count: int) -> None:
    """Write studies 0, 1, ... below ``folder``."""
    for seed in range(count):
        make_study(seed=seed).write_dicom(folder / "studies" / str(seed), seed=str(seed))


def localize(folder: Path, size: int, *, workers: int, again: int = 0) -> Run:
    """Run the command over the first studies and say what it took."""
    items = [{"id": f"case-{n}", "image": str(folder / "studies" / str(n))} for n in range(size)]
    datalist = folder / f"list-{size}.json"
    write_datalist(items, datalist, LUMBAR11.name, section="testing")
    out = folder / f"out-{size}-{workers}{again or ''}"
    words = [*COMMAND, datalist, "--out", out, "--workers", workers]
    started = time.perf_counter()
    process = subprocess.Popen(list(map(str, words)), stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        msg = f"localize must end with 0: got {process.returncode}."
        raise RuntimeError(msg)
    return Run(seconds, usage.ru_maxrss / 1024)


def side_by_side(folder: Path) -> dict[int, Run]:
    """Run with one worker and with two in turns, and give the median times."""
    runs: dict[int, list[Run]] = {workers: [] for workers in WORKERS}
    for repeat in range(1, REPEATS + 1):
        for workers, own in runs.items():
            own.append(localize(folder, WORKERS_SIZE, workers=workers, again=repeat))
    return {
        workers: Run(statistics.median(run.seconds for run in own), max(r.peak_mib for r in own))
        for workers, own in runs.items()
    }


def kib_of_a_case(out: Path) -> float:
    """Return the mean size of a case's folder in KiB."""
    folders = [path for path in out.iterdir() if path.is_dir()]
    sizes = [file.stat().st_size for folder in folders for file in folder.iterdir()]
    return round(sum(sizes) / len(folders) / 1024, 1)


def late_against_early(out: Path) -> float:
    """Return how much longer a study took in the second half of a run than in the first."""
    times = sorted(file.stat().st_mtime for file in out.glob("*/landmarks.json"))
    middle = len(times) // 2
    early = (times[middle] - times[0]) / middle
    late = (times[-1] - times[middle]) / (len(times) - 1 - middle)
    return late / early


def _row(what: str, studies: int, workers: int, run: Run) -> dict[str, Any]:
    return {
        "what": what,
        "studies": studies,
        "workers": workers,
        "seconds": round(run.seconds, 2),
        "seconds_a_study": round(run.seconds / studies, 3),
        "peak_memory_mib": round(run.peak_mib),
    }


def _growth_goals(runs: dict[int, Run], slower: float) -> list[dict[str, Any]]:
    few, many = min(runs), max(runs)
    memory = f"peak memory with {many} studies against {few}"
    return [
        timing.goal(f"a study late in a list of {many} against one early", slower, "<=", 1.1),
        timing.goal(memory, runs[many].peak_mib / runs[few].peak_mib, "<=", 1.1),
    ]


def _workers_goal(rates: dict[int, Run]) -> dict[str, Any]:
    what = f"--workers 2 against 1, {WORKERS_SIZE} studies, whole processes"
    return timing.goal(what, rates[1].seconds / rates[2].seconds, ">=", 1.3)
