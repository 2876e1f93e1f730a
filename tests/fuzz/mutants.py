"""Mutant number n of a run: which study, which of its files, and what is done to them."""

import io
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fuzz.blocks import BLOCK_MUTATIONS, Mutation
from fuzz.containers import MUTATIONS_OF_SUFFIX
from fuzz.elements import ELEMENT_MUTATIONS
from fuzz.seeds import Seed

NO_SUFFIX_MUTATIONS = (*ELEMENT_MUTATIONS, *ELEMENT_MUTATIONS, *BLOCK_MUTATIONS)


@dataclass(frozen=True)
class Mutant:
    """A mutated study on disk.

    Args:
        number: in its run.
        seed: what it was made from.
        study: what a user would name.
        mutations: what was done, in words.
    """

    number: int
    seed: Seed
    study: Path
    mutations: tuple[str, ...]


def make_mutant(number: int, run_seed: int, seeds: Sequence[Seed], home: Path, to: Path) -> Mutant:
    """Write a mutant; the same numbers always give the same bytes.

    Args:
        number: of the mutant.
        run_seed: of the run.
        seeds: what to choose from.
        home: where their folders lie.
        to: folder that is to hold the study; made anew.
    """
    random = Random(f"{run_seed} {number}")
    seed = random.choices(seeds, [one.weight for one in seeds])[0]
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(home / seed.name, to)
    files = sorted(file for file in to.rglob("*") if file.is_file())
    changed = files if random.random() < 0.4 else random.sample(files, 1)
    mutations = _mutations(changed[0], random)
    if len(changed) > 1 and random.random() < 0.3:
        shutil.copy(random.choice(files), to / "copy")
    draws = random.getstate()
    for file in changed:
        random.setstate(draws)  # so that all files of a series change alike
        _mutate(file, mutations, random)
    names = tuple(mutation.__name__ for mutation in mutations)
    return Mutant(number, seed, to / seed.study, (*names, f"in {len(changed)} of {len(files)}"))


def _mutations(file: Path, random: Random) -> list[Mutation]:
    """One to three of those that fit the kind of file."""
    special = MUTATIONS_OF_SUFFIX.get(file.suffix.lower())
    known = (*special, *BLOCK_MUTATIONS) if special else NO_SUFFIX_MUTATIONS
    if file.suffix == ".zip":
        known += (_in_members,) * 6
    return random.choices(known, k=random.choice((1, 1, 1, 2, 3)))


def _mutate(file: Path, mutations: Sequence[Callable[[bytes, Random], bytes]], random: Random):
    data = file.read_bytes()
    for mutation in mutations:
        try:
            data = mutation(data, random)
        except (
            OSError,
            EOFError,
            ValueError,
            struct.error,
            zlib.error,
        ):  # what an earlier mutation left is no gzip, zip ...
            break
    file.write_bytes(data)


def _in_members(data: bytes, random: Random) -> bytes:
    """Mutate the DICOM files in a zip, all alike, and pack them again."""
    mutation, draws = random.choice(NO_SUFFIX_MUTATIONS), random.getstate()
    packed = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(packed, "w") as new:
            for info in old.infolist():
                random.setstate(draws)
                new.writestr(info.filename, mutation(old.read(info), random))
    except zipfile.BadZipFile:
        return data
    return packed.getvalue()
