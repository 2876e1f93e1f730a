"""Stored predictions made small enough to travel: logits in 205 steps, fine where a peak may be.

    python tests/benchmark/packing.py pack bench_output FOLDER
    python tests/benchmark/packing.py unpack FOLDER bench_output

A probability above 2 % is kept to a sixteenth of a logit, which moves a peak by less than a tenth
of a pixel; one below 0.01 % is only known to be that small. Prints how small each file has become.
"""

import argparse
import bz2
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FINE = np.arange(-4, 8, 1 / 16)
MIDDLE = np.arange(-9, -4, 0.5)
LEVELS = np.concatenate([[-20.0, -14.0, -11.0], MIDDLE, FINE]).astype(np.float32)
EDGES = (LEVELS[1:] + LEVELS[:-1]) / 2
CODES = "codes"


def main() -> None:
    """Pack or unpack all predictions and the curves of a bench's folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("pack", "unpack"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    change = pack if options.what == "pack" else unpack
    for file in sorted(options.source.glob("*/predictions/*/fold-*.npz")):
        target = target_of(file, options.source, options.target)
        change(file, target)
        sizes = [f"{path.stat().st_size / 1e6:.1f} MB" for path in (file, target)]
        print(file.relative_to(options.source), " -> ".join(sizes), flush=True)
    for file in sorted(options.source.glob("*/runs/*/fold-*/events.*")):
        shutil.copyfile(file, target_of(file, options.source, options.target))


def unpack_missing(packed: Path, work: Path) -> None:
    """Unpack the predictions that a bench's folder does not have."""
    for file in sorted(packed.glob("*/predictions/*/fold-*.npz")):
        target = target_of(file, packed, work)
        if not target.is_file():
            unpack(file, target)


def target_of(file: Path, source: Path, target: Path) -> Path:
    """Return the same place below another folder, which is made."""
    place = target / file.relative_to(source)
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def pack(source: Path, target: Path) -> None:
    """Write one fold's predictions small; coordinates stay as they are."""
    arrays = dict(np.load(source, allow_pickle=False))
    if arrays["outputs"].ndim == 4:
        outputs = arrays.pop("outputs")
        codes = np.searchsorted(EDGES, outputs).astype(np.uint8)
        arrays["logits_shape"] = np.array(outputs.shape)
        arrays[CODES] = np.frombuffer(bz2.compress(codes.tobytes()), np.uint8)
    np.savez_compressed(target, **arrays)


def unpack(source: Path, target: Path) -> None:
    """Write one fold's predictions as the training stored them, but for the rounding."""
    arrays = dict(np.load(source, allow_pickle=False))
    if CODES in arrays:
        codes = np.frombuffer(bz2.decompress(arrays.pop(CODES).tobytes()), np.uint8)
        arrays["outputs"] = logits(codes).reshape(arrays.pop("logits_shape"))
    np.savez_compressed(target, **arrays)


def logits(codes: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Return the logits that codes stand for."""
    return LEVELS.astype(np.float16)[codes]


if __name__ == "__main__":
    main()
