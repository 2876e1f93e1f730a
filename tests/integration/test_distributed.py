"""Training in two real processes under ``torchrun``, with gloo, against training in one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from monai.bundle import run

from spine_monai.data import write_datalist
from spine_monai.data.synthetic import make_study
from spine_monai.landmarks import LUMBAR11
from spine_monai.workflows import distributed
from spine_monai.workflows.configuration import prepare_bundle
from spine_monai.workflows.training import _check_processes

EPOCHS = 4
TRAINED, HELD_OUT = 6, 3
OPTIMIZER = {
    "_target_": "torch.optim.SGD",
    "params": "$@network.parameters()",
    "lr": 2.0,
}
SCHEDULER = {"_target_": "torch.optim.lr_scheduler.ConstantLR", "factor": 1.0}
# Tiny, and without chance: the order of the cases is then all that could differ.
OVERLAY = {
    "spacing_mm": 4.0,
    "canvas_size": [80, 64],
    "roomy_size": [88, 64],
    "window_size": [72, 48],
    "coordinates_input_size": 64,
    "coordinates_width": 0.125,
    "target_sigma_px": 1.5,
    "precision": "float32",
    "training_slices": "annotated",
    "views": [[None, None]],
    "epochs": EPOCHS,
    "batch_size": 3,
    "val_interval": 1,
    "save_interval": 1,
    "heatmap_network_def": {
        "_target_": "DynUNet",
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": "@num_landmarks",
        "filters": [8, 16, 16],
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, 2],
        "upsample_kernel_size": [2, 2],
        "norm_name": ["group", {"num_groups": 8}],
    },
    "optimizer": OPTIMIZER,
    "lr_scheduler": SCHEDULER | {"optimizer": "@optimizer"},
    "coordinates_optimizer": OPTIMIZER,
    "coordinates_scheduler": SCHEDULER | {"optimizer": "@coordinates_optimizer"},
    "training_items": [{"_target_": "SelectItemsd", "keys": ["id", "image", "points_lps"]}],
}
# The heatmap training without chance, and without coordinates that place its windows.
CASES = {
    "_target_": "spine_monai.data.load_datalist",
    "path": "@datalist",
    "folds": "@val_folds",
    "landmark_set": "@landmark_set",
}
CROP = {"_target_": "ResizeWithPadOrCropd", "keys": "image", "spatial_size": "@window_size"}
HEATMAP = {
    "augmentation": [CROP],
    "field_of_view": [],
    "output_bias": -2.0,
    "window": [CROP],
    "validation_items": [{"_target_": "SelectItemsd", "keys": ["id", "image", "points_lps"]}],
    "validate::dataset::data": CASES,
    "predict::dataset::data": CASES,
}


@pytest.fixture(scope="module")
def datalist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    items = []
    for seed in range(TRAINED + HELD_OUT):
        study = make_study(shape=(72, 60, 3), spacing_mm=(4.0, 3.0, 4.0), seed=seed)
        image = study.write_nifti(folder / f"case-{seed}.nii.gz")
        items.append(study.datalist_item(image, case=f"case-{seed}", fold=int(seed < TRAINED)))
    items[-1]["points_lps"]["L3"] = None
    write_datalist(items, folder / "datalist.json", LUMBAR11.name)
    return folder / "datalist.json"


class Training:
    """A place to train in, and the words that start it."""

    def __init__(self, source, datalist, folder, network, **values):
        self.folder, self.datalist, self.network = folder, datalist, network
        self.bundle = folder / "bundle"
        self.witnessed = folder / "witnessed.jsonl"
        prepare_bundle(source, self.bundle)
        witness = {"_target_": "witness.Witness", "path": str(self.witnessed)}
        overlay = OVERLAY | {"+train::handlers": [witness], "train_folds": [1], "val_folds": [0]}
        (folder / "overlay.yaml").write_text(yaml.safe_dump(overlay | values))
        self.configs = [
            str(self.bundle / "configs" / f"train_{network}.yaml"),
            str(folder / "overlay.yaml"),
        ]
        self.multi_gpu = str(source / "configs" / "multi_gpu.yaml")

    def place(self, rank=0):
        """Where a process would write, each into a folder of its own."""
        return self.folder / f"rank-{rank}"

    def places(self, rank="0"):
        place = f"{self.folder}/rank-{rank}"
        names = {"output_dir": "runs", "weights": "model.pt", "predictions_dir": "predictions"}
        return {key: f"{place}/{name}" for key, name in names.items()}

    def start(self, *, of_each=False):
        """Start two processes; ``of_each`` gives each of them places of its own to write to."""
        values = self.places()
        if of_each:
            values = {k: f"$'{v}' % os.environ['RANK']" for k, v in self.places("%s").items()}
        words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
        words += ["-m", "monai.bundle", "run", "training"]
        words += ["--config_file", str([*self.configs, self.multi_gpu])]
        values |= {"bundle_root": str(self.bundle), "datalist": str(self.datalist)}
        words += [part for key, value in values.items() for part in (f"--{key}", value)]
        here = str(Path(__file__).parent)
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": here}
        return subprocess.Popen(
            [sys.executable, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )

    def lines(self):
        if not self.witnessed.is_file():
            return []
        return [json.loads(line) for line in self.witnessed.read_text().splitlines()]

    def checkpoint(self):
        return torch.load(self.place() / "runs" / "checkpoint.pt", weights_only=True)


def finish(process):
    said = process.communicate(timeout=240)[0]
    assert process.returncode == 0, said[-3000:]
    return said


def curve(folder, tag):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [event.value for event in events.Scalars(tag)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory, bundle, datalist):
    """One process with a batch of all cases."""
    folder = tmp_path_factory.mktemp("alone")
    training = Training(bundle, datalist, folder, "heatmap", **HEATMAP, batch_size=TRAINED)
    sys.path.insert(0, str(Path(__file__).parent))
    try:
        run(
            run_id="training",
            config_file=training.configs,
            bundle_root=str(training.bundle),
            logging_file=False,
            datalist=str(datalist),
            **training.places(),
        )
    finally:
        sys.path.remove(str(Path(__file__).parent))
    return training


@pytest.fixture(scope="module")
def together(tmp_path_factory, bundle, datalist):
    """Two processes with a batch of half the cases each, and places of their own."""
    folder = tmp_path_factory.mktemp("together")
    training = Training(bundle, datalist, folder, "heatmap", **HEATMAP)
    training.said = finish(training.start(of_each=True))
    return training


def test_two_processes_learn_what_one_learns_from_both_batches(alone, together):
    expected, got = (training.checkpoint()["network"] for training in (alone, together))
    assert expected.keys() == got.keys()
    for name, values in expected.items():
        torch.testing.assert_close(got[name], values, atol=1e-5, rtol=1e-4)


def test_the_network_has_learned_at_all(alone):
    losses = curve(alone.place() / "runs", "train_loss")
    assert losses[-1] < 0.95 * losses[0]


def test_every_case_is_seen_by_one_process_an_epoch_in_another_order_each_time(together):
    lines = together.lines()
    orders = []
    for epoch in range(1, EPOCHS + 1):
        seen = [line["cases"] for line in lines if line["epoch"] == epoch]
        assert sorted(case for cases in seen for case in cases) == [
            f"case-{i}" for i in range(TRAINED)
        ]
        shares = {line["rank"]: line["cases"] for line in lines if line["epoch"] == epoch}
        assert {len(share) for share in shares.values()} == {TRAINED // 2}
        orders.append((shares[0], shares[1]))
    assert len({str(order) for order in orders}) == EPOCHS


@pytest.mark.parametrize("tag", ["val_error_mm", "val_loss"])
def test_the_validation_of_both_is_that_of_one(alone, together, tag):
    expected, got = (curve(t.place() / "runs", tag) for t in (alone, together))
    assert len(expected) == EPOCHS
    assert got == pytest.approx(expected, rel=1e-4)


def test_the_first_process_alone_writes(together):
    names = {path.name for path in together.place().iterdir()}
    assert names == {"runs", "model.pt", "predictions"}
    assert (together.place() / "runs" / "checkpoint.pt").is_file()
    assert not together.place(rank=1).exists()


def test_the_first_process_alone_reports(together):
    assert together.said.count(f"Epoch[{EPOCHS}] Metrics") == 1


@pytest.mark.heavy
@pytest.mark.parametrize("network", ["coordinates", "heatmap"])
def test_a_killed_process_leaves_a_checkpoint_to_go_on_from(bundle, datalist, tmp_path, network):
    values = {"epochs": 60} | (HEATMAP if network == "heatmap" else {})
    training = Training(bundle, datalist, tmp_path, network, **values)
    process = training.start()
    limit = time.monotonic() + 120
    while len({line["epoch"] for line in training.lines()}) < 3 and time.monotonic() < limit:
        time.sleep(0.02)
    os.kill(next(line["pid"] for line in training.lines() if line["rank"] == 1), signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode != 0
    saved = training.checkpoint()["trainer"]
    steps_an_epoch = TRAINED // 2 // 3
    done = saved["iteration"] // steps_an_epoch
    assert 0 < done < 60
    assert not (training.place() / "model.pt").exists()
    training.witnessed.unlink()
    finish(training.start())
    epochs = [line["epoch"] for line in training.lines() if line["rank"] == 0]
    assert epochs == list(range(done + 1, 61))
    assert training.checkpoint()["trainer"]["iteration"] == 60 * steps_an_epoch
    assert (training.place() / "model.pt").is_file()


def test_a_process_that_torchrun_did_not_start_is_told_so(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(ValueError, match="must be started by torchrun: LOCAL_RANK is not set"):
        distributed.start()


def test_a_process_that_is_alone_writes_and_gathers_its_own():
    assert distributed.is_first()
    assert distributed.gathered(7) == [7]


def test_processes_that_found_different_checkpoints_are_an_error():
    with pytest.raises(ValueError, match=r"go on from epochs \[5, 0\]. Give an output_dir"):
        _check_processes(Path("runs") / "checkpoint.pt", [5, 0])
