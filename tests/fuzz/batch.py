"""The child process of a run: ``python -m fuzz.batch HOME RUN_SEED START STOP``.

For each mutant it prints its number when it begins, and its outcome as JSON when it is done. So the
parent sees which one ended the process, or holds it up.
"""

import faulthandler
import resource
import sys
from pathlib import Path

import numpy as np

from fuzz.mutants import make_mutant
from fuzz.seeds import make_seeds
from fuzz.trial import try_mutant

# Far above what a reading may take, so that a runaway one ends this process and not the machine.
ADDRESS_SPACE_BYTES = 16 << 30


def main(home: Path, run_seed: int, numbers: range) -> None:
    """Try the mutants of some numbers."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    faulthandler.enable()
    seeds = make_seeds(home / "seeds")
    with np.load(home / "decoded.npz") as stored:
        decoded = dict(stored)
    for number in numbers:
        _say(str(number))
        mutant = make_mutant(number, run_seed, seeds, home / "seeds", _place(home, numbers))
        _say(try_mutant(mutant, decoded).line)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _place(home: Path, numbers: range) -> Path:
    return home / f"mutant-{numbers.start}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), range(int(sys.argv[3]), int(sys.argv[4])))
