"""A short run of the fuzzer; and that it sees crashes, hangs and wrong readings."""

import sys
from dataclasses import replace

import pytest
import torch
from fuzz.dicom_truth import decoded_pixels, faults_of_dicom
from fuzz.mutants import Mutant, make_mutant
from fuzz.run import batch_command, prepare, run_batches, summary_of
from fuzz.seeds import PYDICOM_FILES, make_seeds
from fuzz.trial import CRASH, FAULTS, HANG, NOT_CHOSEN, READ, WRONG, try_mutant
from fuzz.volume_truth import faults_of_file

from spine_monai.readers import locate_study, read_study

MUTANTS = 60
# No sagittal T2, so refused; but only after their pixels are decoded.
NOT_CHOSEN_SEEDS = {
    *(*PYDICOM_FILES, "canon_sag", "hitachi_sag", "rgb", "siemens_spine_axial_1slice"),
    "ts_all9_siemens",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    prepare(folder)
    return folder


@pytest.fixture(scope="module")
def seeds(home):
    return {seed.name: seed for seed in make_seeds(home / "seeds")}


@pytest.fixture(autouse=True)
def child_finds_tests(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(next(p for p in sys.path if p.endswith("tests"))))


def test_damaged_studies_are_refused_or_read_as_their_headers_say(home):
    outcomes = [*run_batches(batch_command(home, 2024), range(MUTANTS))]
    summary = summary_of(outcomes, 2024)
    assert summary["faults"] == []
    assert [outcome.number for outcome in outcomes] == [*range(MUTANTS)]
    assert len(summary["outcomes"]) == 3
    assert min(summary["outcomes"].values()) > MUTANTS / 20


def test_what_is_mutated_is_whole(home, seeds):
    """Else its mutants would all be refused for what is wrong with it anyway."""
    decoded = decoded_pixels(home / "seeds")
    verdicts = {}
    for name, seed in seeds.items():
        mutant = Mutant(0, seed, home / "seeds" / name / seed.study, ())
        verdicts[name] = try_mutant(mutant, decoded).verdict
    assert {name for name, verdict in verdicts.items() if verdict != READ} == NOT_CHOSEN_SEEDS
    assert {verdicts[name] for name in NOT_CHOSEN_SEEDS} == {NOT_CHOSEN}


def test_a_mutant_is_the_same_whenever_it_is_made(home, seeds, tmp_path):
    made = [
        make_mutant(7, 3, [*seeds.values()], home / "seeds", tmp_path / name) for name in ("a", "b")
    ]
    contents = [
        {file.name: file.read_bytes() for file in (tmp_path / name).rglob("*") if file.is_file()}
        for name in ("a", "b")
    ]
    assert contents[0] == contents[1]
    assert made[0].mutations == made[1].mutations


# Says that number 3 begins, and ends: by a signal, by an error, never.
ENDS = {
    "os.abort()": CRASH,
    "raise MemoryError": CRASH,
    "time.sleep(100)": HANG,
}


@pytest.mark.parametrize("end", ENDS)
def test_a_child_that_ends_or_stalls_costs_one_mutant(end):
    outcome = "{'number': n, 'seed': 's', 'mutations': [], 'verdict': 'read'}"
    script = (
        "import json, os, sys, time\n"
        "for n in range(int(sys.argv[1]), int(sys.argv[2])):\n"
        "    print(n, flush=True)\n"
        f"    if n == 3: {end}\n"
        f"    print(json.dumps({outcome}), flush=True)\n"
    )

    def command(start, stop):
        return [sys.executable, "-c", script, str(start), str(stop)]

    outcomes = [*run_batches(command, range(6), patience_seconds=2.0)]
    assert [one.number for one in outcomes] == [*range(6)]
    assert [one.verdict for one in outcomes if one.verdict != "read"] == [ENDS[end]]
    assert outcomes[3].verdict == ENDS[end]
    assert set(ENDS.values()) < set(FAULTS)


def spoilt(volume, how):
    image = volume.image.clone()
    if how == "spacing":
        image.affine[:3, :3] = torch.eye(3)
    elif how == "place":
        image.affine[1, 3] += 3.0
    elif how == "pixels":
        image[0, 5, 6, 2] += 40
    else:
        image = image[..., :-1]
    return replace(volume, image=image)


@pytest.mark.parametrize("how", ["spacing", "place", "pixels"])
@pytest.mark.parametrize("name", ["uncompressed", "run_length", "jpeg_ls", "enhanced", "zipped"])
def test_a_wrong_reading_of_dicom_is_found(home, seeds, name, how):
    located = locate_study(home / "seeds" / name / seeds[name].study)
    volume, decoded = read_study(located), decoded_pixels(home / "seeds" / name)
    assert [*faults_of_dicom(located, volume, decoded)] == []
    assert [*faults_of_dicom(located, spoilt(volume, how), decoded)]


def test_a_slice_that_was_lost_is_found(home, seeds):
    located = locate_study(home / "seeds" / "uncompressed")
    volume = spoilt(read_study(located), "slice")
    assert "without a word" in next(faults_of_dicom(located, volume, {}))


@pytest.mark.parametrize("how", ["spacing", "place", "pixels", "slice"])
@pytest.mark.parametrize("name", ["sform_alone", "qform_alone", "volume.mha", "packed.nrrd"])
def test_a_wrong_reading_of_a_volume_file_is_found(home, seeds, name, how):
    path = home / "seeds" / name / seeds[name].study
    volume = read_study(path)
    assert [*faults_of_file(path, volume)] == []
    assert [*faults_of_file(path, spoilt(volume, how))]


def test_a_wrong_reading_becomes_a_fault(home, seeds, tmp_path, monkeypatch):
    mutant = make_mutant(0, 0, [seeds["qform_alone"]], home / "seeds", tmp_path / "study")
    mutant.study.write_bytes((home / "seeds" / "qform_alone" / "t2.nii").read_bytes())
    assert try_mutant(mutant, {}).verdict == READ
    monkeypatch.setattr("fuzz.trial.read_study", lambda s: spoilt(read_study(s), "spacing"))
    outcome = try_mutant(mutant, {})
    assert (outcome.verdict, outcome.verdict in FAULTS) == (WRONG, True)
    assert "another affine" in outcome.detail
